"""Marks one submission: its answers as far as they can be done, and its translator.

A file that is half wrong gets the marks for its other half. What cannot be read gets no points and
a reason. What this machine could not do is an error, and never no points.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from napt_lab.labs.classroom.assignment import TRANSLATOR, Assignment
from napt_lab.labs.classroom.marked import Marked, PartMarks
from napt_lab.labs.classroom.submissions import Submission
from napt_lab.labs.exercises.answers import load_answers
from napt_lab.labs.exercises.exercise import Exercise
from napt_lab.labs.exercises.grade import Graded, grade, one_as_json
from napt_lab.labs.exercises.marking import unanswered
from napt_lab.labs.exercises.tasks import Task, as_far_as_possible
from napt_lab.labs.translator.claims import Earned
from napt_lab.labs.translator.grade import CannotGrade, load, try_all
from napt_lab.labs.translator.score import Mark
from napt_lab.labs.translator.trial import Trial, faults
from napt_lab.labs.verdict.exit_status import WRONG_USAGE
from napt_lab.labs.verdict.verdicts import Verdict, verdict_of
from napt_lab.topologies.network.build_error import BuildError
from napt_lab.topologies.spec.errors import TopologyError

_NO_TRANSLATOR = "no translator was handed in"
_NO_ANSWERS = "no answers were handed in"


def mark_submission(submission: Submission, wanted: Assignment, *, alone: bool) -> Marked:
    """Mark it, in this sandbox. `alone`: nothing else keeps the machine busy."""
    parts, said = _mark_answers(submission, wanted.variants())
    if wanted.claims:
        parts.append(_mark_translator(submission, wanted.claims, alone=alone))
    return Marked(submission.id, submission.name, tuple(parts), tuple(said))


def could_not_be_marked(submission: Submission, wanted: Assignment, why: str) -> Marked:
    """The marks of one whose process has failed."""
    parts = [_not_done(exercise, why, error=True) for exercise in wanted.variants()]
    if wanted.claims:
        parts.append(_no_claims(wanted.claims, why, error=True))
    return Marked(submission.id, submission.name, tuple(parts))


# ── answers ────────────────────────────────────────────────────────────────────────────────


def _mark_answers(
    submission: Submission, exercises: Sequence[Exercise]
) -> tuple[list[PartMarks], list[str]]:
    if not exercises:
        return [], []
    path = submission.answers
    if path is None:
        why = submission.problem or _NO_ANSWERS
        return [_not_done(exercise, why) for exercise in exercises], [why]
    try:
        answers = load_answers(path, [exercise.name for exercise in exercises], in_pieces=True)
    except TopologyError as error:
        said = [f"line {problem.removeprefix(f'{path}:')}" for problem in error.problems]
        return [_not_done(exercise, "the file cannot be read") for exercise in exercises], said
    tasks = as_far_as_possible(exercises, answers)
    said = answers.problems.outside([exercise.name for exercise in exercises])
    try:
        return [_part(graded) for graded in grade(tasks, lambda _: None)], said
    except BuildError as error:
        why = error.explain()
        return [_not_done(exercise, why, error=True) for exercise in exercises], said


def _part(graded: Graded) -> PartMarks:
    told = one_as_json(graded)
    checks = told["checks"]
    failed = [check for check in checks if check["verdict"] != Verdict.PASSED.value]
    why = map(_why, failed) if told["answered"] else ("there are no lines for it",)
    return PartMarks(
        graded.task.exercise.id,
        told["title"],
        told["points"],
        told["of"],
        (*told["refused"], *why, *(f"→ {advice}" for advice in told["advice"])),
        tuple(checks),
        told["seconds"],
        next((_why(check) for check in failed if check["verdict"] == Verdict.ERROR.value), ""),
    )


def _why(check: dict[str, object]) -> str:
    return ": ".join(filter(None, [str(check["text"]), str(check["message"])]))


def _not_done(exercise: Exercise, why: str, *, error: bool = False) -> PartMarks:
    """No points, for one reason."""
    topology = exercise.topology()
    verdict = Verdict.ERROR if error else Verdict.FAILED
    marks = unanswered(exercise, topology, verdict, why)
    part = _part(Graded(Task(exercise, topology, None), marks, (), 0.0))
    return replace(part, messages=(), error=why if error else "")


# ── a translator ───────────────────────────────────────────────────────────────────────────


def _mark_translator(submission: Submission, claims: Sequence[Earned], *, alone: bool) -> PartMarks:
    path = submission.translator
    if path is None:
        return _no_claims(claims, submission.problem or _NO_TRANSLATOR)
    began = time.monotonic()
    status, wrong = load(path)
    if status:
        why = wrong.replace(f"{path}:", f"{path.name}:") or "the file cannot be loaded"
        return _no_claims(claims, why, error=status != WRONG_USAGE)
    try:
        with tempfile.TemporaryDirectory() as folder:
            marks, trials = try_all(path, claims, Path(folder), lambda _: None)
    except CannotGrade as error:
        return _no_claims(claims, str(error), error=True)
    marks = [mark for mark in marks if mark.earned in claims]
    checks = tuple(map(_claim, marks))
    told = [fault["text"].splitlines()[-1] for trial in trials for fault in faults(trial)]
    return PartMarks(
        TRANSLATOR,
        path.name,
        sum(mark.held for mark in marks),
        len(marks),
        (*dict.fromkeys(told), *(_why(check) for check in checks if not check["points"])),
        checks,
        round(time.monotonic() - began, 3),
        _failure(trials, alone=alone),
    )


def _failure(trials: Sequence[Trial], *, alone: bool) -> str:
    """What the machine did not do in time, or at all: no fault of the translator's."""
    for trial in trials:
        where = f"level {trial.lab}, {trial.part}"
        if trial.overdue and not trial.fault and not alone:
            return f"{where}: stopped after {trial.seconds:.0f} s"
        if trial.status and not trial.overdue:
            return f"{where}: ended with status {trial.status}"
    return ""


def _claim(mark: Mark) -> dict[str, object]:
    return {
        "text": f"{mark.earned.claim}: {mark.text}",
        "points": int(mark.held),
        "of": 1,
        "verdict": verdict_of(passed=mark.held).value,
        "message": ": ".join((*mark.why[:1], *mark.why[1:][-1:])),
        "evidence": list(mark.why),
    }


def _no_claims(claims: Sequence[Earned], why: str, *, error: bool = False) -> PartMarks:
    """None is earned, for one reason."""
    marks = [Mark(earned, False, 0, 0, False, (why,)) for earned in claims]
    checks = tuple(map(_claim, marks))
    return PartMarks(TRANSLATOR, "", 0, len(marks), (why,), checks, 0.0, why if error else "")
