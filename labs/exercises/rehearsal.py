"""Whether an exercise is sound: its solution, no answer, and each mistake, done and marked.

The solution must give full marks, an empty answer no points, and each mistake less than full marks
with its message and no other. A student's variant must be solved by its own solution, and hardly
by another's. `napt-lab exercise --test FILE` and the project's tests do this.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import chain
from types import TracebackType
from typing import Self

from napt_lab.labs.exercises.answers import Answers, parse_line
from napt_lab.labs.exercises.attempt import Attempt, fresh_network
from napt_lab.labs.exercises.exercise import Exercise, Mistake, cases, distinctive, load, unnamed
from napt_lab.labs.exercises.grade import lines_of
from napt_lab.labs.exercises.marking import Marks, mark
from napt_lab.labs.exercises.tasks import as_far_as_possible, settings
from napt_lab.labs.exercises.variant import Student
from napt_lab.labs.verdict.exit_status import FAILED, PASSED
from napt_lab.labs.verdict.run_errors import NETWORK_ERRORS, tell_network_error
from napt_lab.labs.verdict.verdicts import Verdict, verdict_of
from napt_lab.topologies.network.builder import Network
from napt_lab.topologies.network.nursery import from_template
from napt_lab.topologies.network.processes import Process
from napt_lab.topologies.spec.errors import Problems

NO_VARIANTS = "all students have one answer: `vary` lists no address and no port"
MORE = "let more addresses or ports of its solution vary"


@dataclass(frozen=True, slots=True)
class Rehearsed:
    """An answer that was done; `problem` says what is wrong with its marks, "" if nothing is."""

    what: str
    marks: Marks
    problem: str


class RehearsalNetwork:
    """One network for one answer after the other; a fresh one where settings differ."""

    def __init__(self, exercise: Exercise) -> None:
        self._exercise = exercise
        self._settings: list[str] | None = None
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        self._stack.close()

    def marks(self, answer: Sequence[str]) -> Marks:
        """The marks for an answer. BuildError if there can be no network."""
        lines = [parse_line(text) for text in answer]
        wanted = sets(answer)
        if wanted != self._settings:
            self._stack.close()
            topology = self._exercise.topology(settings(lines, self._exercise.path))
            self._net, self._wire = self._stack.enter_context(fresh_network(topology))
            self._settings = wanted
            self._rules = _rules(self._net)
        self._tidy()
        services = {process.pid for process in _processes(self._net)}
        attempt = Attempt(self._exercise, self._net, self._wire)
        for line in lines:
            attempt.do(line)
        marks = mark(attempt)
        for process in _processes(self._net):
            if process.pid not in services:  # what the answer has left in the background
                process.kill()
                process.await_end()
        return marks

    def _tidy(self) -> None:
        """The explicit rules of the beginning and no others, and no files."""
        there = _rules(self._net)
        for name, protocol, external, _ in there - self._rules:
            self._net.napt(name).remove(protocol, external)
        for name, *rule in self._rules - there:
            self._net.napt(name).add(*rule)
        for node in self._net:
            for path in (*node.home.iterdir(), *(node.home / "files").glob("*")):
                if path.is_file():
                    path.unlink()


def _rules(net: Network) -> set[tuple[str, str, str, str]]:
    """The explicit rules of all NAPTs."""
    return {
        (node.name, rule["protocol"], rule["external"], rule["internal"])
        for node in net
        if node.napt is not None
        for rule in node.napt.rules()
        if rule["explicit"]
    }


def _processes(net: Network) -> list[Process]:
    return [process for node in net for process in node.processes]


def sets(answer: Sequence[str]) -> list[str]:
    """The lines of an answer with which the network is built."""
    return [line for line in answer if line.startswith("set ")]


def rehearse(
    exercise: Exercise, more: Sequence[tuple[tuple[str, ...], Mistake]] = ()
) -> Iterator[Rehearsed]:
    """All answers that the exercise has, and `more` that are like some of its mistakes."""
    answers: list[tuple[str, tuple[str, ...], Mistake | None]] = [
        ("nothing done", (), None),
        ("the solution", exercise.solution, None),
        *((f"the mistake `{m.answer[0]}` …", m.answer, m) for m in exercise.mistakes),
        *((f"the mistake `{answer[0]}` …", answer, mistake) for answer, mistake in more),
    ]
    answers.sort(key=lambda entry: (sets(entry[1]), len(entry[1])))
    with RehearsalNetwork(exercise) as network:
        for what, answer, mistake in answers:
            marks = network.marks(answer)
            yield Rehearsed(what, marks, _problem(marks, answer == exercise.solution, mistake))


def _problem(marks: Marks, solved: bool, mistake: Mistake | None) -> str:
    if marks.unknown:
        return "not all of it could be checked"
    if solved:
        return "" if marks.full else "it does not get full marks"
    if marks.full:
        return "it gets full marks"
    if mistake is None:
        held = "; ".join(mark.text for mark in marks.marks if mark.got)
        return (
            f"it gets {marks.got} of {marks.of} points, because this holds from the start: {held} "
            "(write `points: 0` there)"
            if marks.got
            else ""
        )
    if marks.advice == (mistake.says,):
        return ""
    got = " / ".join(f"“{text}”" for text in marks.advice) or "no message"
    return f"its message should be “{mistake.says}”; it gets {got}"


def rehearse_variants(exercise: Exercise) -> Iterator[Rehearsed]:
    """Whether two students' variants can be solved, and neither by the other's solution."""
    students = [Student.of(who, b"only for this test") for who in ("one", "another")]
    variants = [load(exercise.path, student) for student in students]
    for mine, theirs in (variants, reversed(variants)):
        with RehearsalNetwork(mine) as network:
            marks = network.marks(mine.solution)
            problem = "" if marks.full else "its solution does not get full marks"
            yield Rehearsed("a student's variant", marks, problem)
        lines = tuple(map(parse_line, theirs.solution))
        answers = Answers(exercise.path, {mine.name: lines}, Problems(str(exercise.path)))
        [task] = as_far_as_possible([mine], answers)
        with RehearsalNetwork(mine) as network:
            marks = network.marks([line.text for line in task.lines or ()])
            problem = f"it gets {marks.got} of {marks.of} points: {MORE}"
            fair = 2 * marks.got <= marks.of
            yield Rehearsed("another variant's solution", marks, "" if fair else problem)


@from_template()
def run_rehearsal(exercises: Sequence[Exercise]) -> int:
    """Rehearse exercises and tell about it; returns the exit status.

    Raises TopologyError if there can be no variant.
    """
    sound = True
    try:
        for exercise in (case for each in exercises for case in cases(each)):
            which = f", cases[{exercise.case}]" if len(cases(exercise)) > 1 else ""
            print(f"{exercise.known_as}{which}: {exercise.title}")
            for problem in unnamed(exercise):
                print(f"  {Verdict.FAILED.sign} {problem}")
                sound = False
            runs = rehearse(exercise)
            if exercise.student is None and exercise.case == 0:
                if distinctive(exercise.path):
                    runs = chain(runs, rehearse_variants(exercise))
                else:
                    print(f"  {Verdict.NOT_APPLICABLE.sign} {NO_VARIANTS}")
            for done in runs:
                sign = verdict_of(passed=not done.problem).sign
                print(f"  {sign} {done.what}" + (f": {done.problem}" if done.problem else ""))
                if done.problem:
                    print("\n".join(f"  {line}" for line in lines_of(done.marks)))
                    sound = False
    except NETWORK_ERRORS as error:
        return tell_network_error(error)
    return PASSED if sound else FAILED
