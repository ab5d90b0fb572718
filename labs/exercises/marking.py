"""Marking an attempt: which of the exercise's assertions hold, for how many points, and what helps.

First what the student's own doing has led to (`done:`), for probing leaves traces of its own; then
what must hold from now on (`expect:`, by labs/check). If not all of it holds, each known mistake
whose facts are there says its message. What was not checked gives no points, and is an error,
not a failure of the student.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from napt_lab.labs.check.outcome import Outcome
from napt_lab.labs.check.run import run_checks
from napt_lab.labs.exercises.attempt import Attempt
from napt_lab.labs.exercises.exercise import Exercise
from napt_lab.labs.exercises.patterns import Pattern
from napt_lab.labs.verdict.verdicts import Verdict
from napt_lab.topologies.spec.model import Topology

SETTLE_SECONDS = 2.0  # until what programs report of the last line has arrived
MISTAKEN_SECONDS = 0.4  # … if it looks like a known mistake
ROUND_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class Mark:
    """One assertion and what came of it."""

    text: str
    points: int
    verdict: Verdict
    message: str = ""
    evidence: tuple[str, ...] = ()

    @property
    def got(self) -> int:
        return self.points if self.verdict is Verdict.PASSED else 0


@dataclass(frozen=True, slots=True)
class Marks:
    """All marks of one attempt, and the messages of the mistakes that were recognized."""

    marks: tuple[Mark, ...]
    advice: tuple[str, ...] = ()

    @property
    def got(self) -> int:
        """All points only if all of it holds: what gives no points costs one if it does not."""
        points = sum(mark.got for mark in self.marks)
        return points if self.full else min(points, max(0, self.of - 1))

    @property
    def of(self) -> int:
        return sum(mark.points for mark in self.marks)

    @property
    def full(self) -> bool:
        """Whether all of it holds, also what gives no points."""
        return all(mark.verdict is Verdict.PASSED for mark in self.marks)

    @property
    def unknown(self) -> bool:
        """Whether something was not checked."""
        return any(mark.verdict is Verdict.ERROR for mark in self.marks)


def unanswered(
    exercise: Exercise,
    topology: Topology,
    verdict: Verdict = Verdict.FAILED,
    why: str = "your file has no lines for this exercise",
) -> Marks:
    """The same mark for each assertion: the file has no lines for it, or it could not be marked."""
    wanted = [(done.text, done.points) for done in exercise.done]
    wanted += [(expected.text, expected.points) for expected in topology.expect]
    return Marks(tuple(Mark(text, points, verdict, why) for text, points in wanted))


def mark(attempt: Attempt) -> Marks:
    """The marks for what was done so far."""
    exercise = attempt.exercise
    wanted = [done.fact for done in exercise.done]
    known = [pattern for mistake in exercise.mistakes for pattern in mistake.when]
    facts = _settled(attempt, wanted, [*wanted, *known])
    missed = not all(fact.holds(facts) for fact in wanted)
    fault = attempt.net.machine_fault() if missed else ""
    marks = [
        Mark(
            done.text,
            done.points,
            Verdict.PASSED if done.fact.holds(facts) else _missed(fault),
            f"cannot tell: error of this machine: {fault}" if fault else done.message,
            tuple(filter(None, [done.fact.find(facts)])),
        )
        for done in exercise.done
    ]
    with attempt.probing():
        outcomes = run_checks(attempt.net, attempt.wire, attempt.net.topology.expect)
    marks += [_of(outcome) for outcome in outcomes]
    if all(mark.verdict is Verdict.PASSED for mark in marks):
        return Marks(tuple(marks))
    return Marks(tuple(marks), tuple(recognized(exercise, facts)))


def _missed(fault: str) -> Verdict:
    return Verdict.ERROR if fault else Verdict.FAILED


def _settled(attempt: Attempt, wanted: list[Pattern], asked: list[Pattern]) -> list[str]:
    """The facts, as soon as all that is wanted holds, or nothing more is to be expected."""
    began = time.monotonic()
    patience = SETTLE_SECONDS if attempt.touched else 0.0
    while True:
        facts = attempt.facts(asked)
        passed = time.monotonic() - began
        settled = passed > MISTAKEN_SECONDS and not attempt.waits
        mistaken = settled and recognized(attempt.exercise, facts)
        if mistaken or passed > patience or all(pattern.holds(facts) for pattern in wanted):
            return facts
        time.sleep(ROUND_SECONDS)


def recognized(exercise: Exercise, facts: Sequence[str]) -> list[str]:
    """What the mistakes say whose facts are there, each once."""
    says = [m.says for m in exercise.mistakes if all(p.holds(facts) for p in m.when)]
    return list(dict.fromkeys(says))


def _of(outcome: Outcome) -> Mark:
    expected = outcome.expectation
    return Mark(expected.text, expected.points, outcome.verdict, expected.message, outcome.evidence)
