"""Grading without a person: a file of answers -> a score, and why.

Each exercise gets a network of its own, on which its lines are done in their order. One that the
file has no answer to gives no points; an empty list is an answer: the exercise left as it was.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from napt_lab.labs.capture.wire import CaptureIncomplete
from napt_lab.labs.exercises.answers import Line
from napt_lab.labs.exercises.attempt import Attempt, Reply, fresh_network
from napt_lab.labs.exercises.marking import Mark, Marks, mark, unanswered
from napt_lab.labs.exercises.tasks import Task
from napt_lab.labs.stage.rule_lines import count
from napt_lab.labs.verdict.exit_status import exit_status
from napt_lab.labs.verdict.junit import Case, Suite, write_junit
from napt_lab.labs.verdict.run_errors import tell_network_error, tell_unwritten
from napt_lab.labs.verdict.verdicts import Verdict
from napt_lab.topologies.network.build_error import BuildError
from napt_lab.topologies.network.napt_control import ControlError
from napt_lab.topologies.network.processes import DeadlinePassed, ProgramEnded
from napt_lab.topologies.network.programs import ProgramError

ANSWER_SECONDS = 120.0  # that all lines of an answer may take
TOO_LONG = f"all lines together may take {ANSWER_SECONDS:g} s"
UNKNOWN = (ControlError, CaptureIncomplete, DeadlinePassed, ProgramEnded, ProgramError)


@dataclass(frozen=True, slots=True)
class Graded:
    """What came of one exercise; `seconds` with the building of its network."""

    task: Task
    marks: Marks
    said: tuple[str, ...]  # by lines that were refused, or failed in the background
    seconds: float
    broken: bool = False  # it could not be marked


def grade(tasks: Sequence[Task], listen: Callable[[Graded], None]) -> list[Graded]:
    """Do and mark all of them, one after the other. BuildError if a network cannot be built."""
    graded = []
    for task in tasks:
        graded.append(_grade(task))
        listen(graded[-1])
    return graded


def _grade(task: Task) -> Graded:
    began = time.monotonic()
    if task.lines is None:
        return Graded(task, unanswered(task.exercise, task.topology), (), 0.0)
    if not task.lines and task.refused:
        marks = unanswered(task.exercise, task.topology, why="no line of your answer can be done")
        return Graded(task, marks, task.refused, 0.0)
    replies: list[tuple[Line, Reply]] = []
    failed_later: list[str] = []
    broken = ""
    try:
        with fresh_network(task.topology) as (net, wire):
            attempt = Attempt(task.exercise, net, wire)
            for line in task.lines:
                late = time.monotonic() - began > ANSWER_SECONDS
                reply = Reply(f"not done: {TOO_LONG}", False) if late else attempt.do(line)
                replies.append((line, reply))
            marks = mark(attempt)
            failed_later = attempt.news()
    except UNKNOWN as error:  # so it cannot be marked
        broken = f"{type(error).__name__}: {error}"
        marks = unanswered(task.exercise, task.topology, Verdict.ERROR, broken)
    said = [f"{line.text}: {_last(reply.text)}" for line, reply in replies if not reply.well]
    said = [*task.refused, *said, *failed_later]
    return Graded(task, marks, tuple(said), time.monotonic() - began, bool(broken))


def _last(text: str) -> str:
    return "; ".join([line.strip() for line in text.splitlines() if line.strip()][-2:])


# ── telling ────────────────────────────────────────────────────────────────────────────────


def lines_of(marks: Marks) -> list[str]:
    """Marks and messages for a person."""
    lines = []
    for made in marks.marks:
        points = f" ({count(made.points, 'point')})" if made.points else ""
        lines.append(f"  {made.verdict.sign} {made.text}{points}")
        if made.verdict is not Verdict.PASSED:
            lines += [f"    {text}" for text in (made.message, *made.evidence[-1:]) if text]
    return [*lines, *(f"  → {advice}" for advice in marks.advice)]


def summary(graded: Graded) -> list[str]:
    """One graded exercise for a person."""
    exercise, marks = graded.task.exercise, graded.marks
    score = f"{marks.got} of {count(marks.of, 'point')}"
    return [
        f"{exercise.id}: {exercise.title}: {score}",
        *(f"    {said}" for said in graded.said),
        *lines_of(marks),
    ]


def as_json(graded: Sequence[Graded]) -> dict[str, Any]:
    """The stable interface for other programs."""
    return {
        "level": graded[0].task.exercise.level,
        "points": sum(g.marks.got for g in graded),
        "of": sum(g.marks.of for g in graded),
        "passed": all(g.marks.full for g in graded),
        "exercises": [one_as_json(g) for g in graded],
    }


def one_as_json(graded: Graded) -> dict[str, Any]:
    """One exercise of these."""
    return {
        "name": graded.task.exercise.name,
        "title": graded.task.exercise.title,
        "answered": graded.task.lines is not None,
        "points": graded.marks.got,
        "of": graded.marks.of,
        "seconds": round(graded.seconds, 3),
        "checks": [_check(made) for made in graded.marks.marks],
        "advice": list(graded.marks.advice),
        "refused": list(graded.said),
    }


def _check(made: Mark) -> dict[str, Any]:
    return {
        "text": made.text,
        "points": made.got,
        "of": made.points,
        "verdict": made.verdict.value,
        "message": made.message if made.verdict is not Verdict.PASSED else "",
        "evidence": list(made.evidence),
    }


def write_json(path: Path, graded: Sequence[Graded]) -> None:
    """As JSON, to a file. Raises OSError."""
    text = json.dumps(as_json(graded), indent=2, ensure_ascii=False)
    path.write_text(text + "\n", encoding="utf-8")


def suite(graded: Graded) -> Suite:
    """One exercise for JUnit: a case for each assertion."""
    name = f"exercise {graded.task.exercise.id}"
    return Suite(name, graded.seconds, [_case(name, graded, m) for m in graded.marks.marks])


def _case(group: str, graded: Graded, made: Mark) -> Case:
    why = made.message or (made.evidence[-1] if made.evidence else "it does not hold")
    told: tuple[str, ...] = made.evidence
    if made.verdict is not Verdict.PASSED:
        told = (*graded.said, *told, *graded.marks.advice)
    points = (made.got, made.points)
    return Case(group, made.text, made.verdict, why, "\n".join(told), points=points)


def run_grade(tasks: Sequence[Task], json_path: Path | None, junit: Path | None) -> int:
    """Grade, tell, write; returns the exit status."""

    def tell(graded: Graded) -> None:
        print("\n".join(summary(graded)), flush=True)

    try:
        graded = grade(tasks, tell)
    except BuildError as error:
        return tell_network_error(error)
    got, of = (sum(getattr(g.marks, key) for g in graded) for key in ("got", "of"))
    print(f"Score: {got} of {count(of, 'point')}.")
    try:
        if json_path is not None:
            write_json(json_path, graded)
        if junit is not None:
            write_junit(junit, map(suite, graded))
    except OSError as error:
        return tell_unwritten(error, "the marks")
    return exit_status(
        passed=all(g.marks.full for g in graded), error=any(g.broken for g in graded)
    )
