"""`napt-lab grade LEVEL --folder submissions/`: a class is marked, side by side on all processors.

Each submission is marked in a sandbox of its own. Its marks are kept as soon as they are there, so
that the same command goes on where it was stopped.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from napt_lab.labs.classroom import mark_tables
from napt_lab.labs.classroom.assignment import Assignment
from napt_lab.labs.classroom.mark_page import write_mark_page
from napt_lab.labs.classroom.marked import CannotKeep, KeptMarks, Marked, as_text, from_text, key_of
from napt_lab.labs.classroom.one_submission import could_not_be_marked, mark_submission
from napt_lab.labs.classroom.right_secret import about_key, about_secret
from napt_lab.labs.classroom.submissions import Submission
from napt_lab.labs.classroom.whose import whose, words_of_variants
from napt_lab.labs.classroom.workers import Piece, side_by_side
from napt_lab.labs.records.rundir import RUNS
from napt_lab.labs.stage.rule_lines import count
from napt_lab.labs.verdict.exit_status import INTERRUPTED, exit_status
from napt_lab.labs.verdict.run_errors import tell_unwritten

KEPT_IN = "marked"  # in runs/
PER_PROCESSOR = 4  # at a time: they mostly wait; a translator that fails, for nearly a minute


@dataclass(frozen=True, slots=True)
class Outputs:
    """Files to write, by their kind."""

    csv: Path | None = None
    html: Path | None = None
    gradescope: Path | None = None
    junit: Path | None = None
    json: Path | None = None


def mark_many(
    title: str,
    submissions: Sequence[Submission],
    wanted: Mapping[str, Assignment],
    outputs: Outputs,
    *,
    fresh: bool = False,
) -> int:
    """Mark all of them, tell about each, write the outputs. Returns the exit status.

    `wanted`: what is marked, by a student's ID. `fresh`: also what is marked already.
    """
    try:
        kept = KeptMarks(RUNS / KEPT_IN)
        marked = _mark(submissions, wanted, kept, fresh=fresh)
        marked, warning = _with_hints(submissions, wanted, marked)
    except KeyboardInterrupt:
        print("\nStopped. The same command goes on from here.", file=sys.stderr)
        return INTERRUPTED
    except CannotKeep as error:
        return tell_unwritten(error.error, "the marks")
    try:
        kept.give_to_owner()
        _write(title, marked, outputs)
    except OSError as error:
        return tell_unwritten(error, "the marks")
    failed = [one for one in marked if one.error]
    print("\n".join(mark_tables.as_lines(marked)))
    print(f"Marked: {len(marked) - len(failed)} of {len(marked)}.")
    if warning:
        print(f"WARNING: {warning}")
    for one in failed:
        print(f"  {one.id} could not be marked: {one.error}")
    return exit_status(passed=True, error=bool(failed))


def _mark(
    submissions: Sequence[Submission],
    wanted: Mapping[str, Assignment],
    kept: KeptMarks,
    *,
    fresh: bool,
) -> list[Marked]:
    by_id = {submission.id: submission for submission in submissions}
    keys = {who: _key(by_id[who], wanted[who]) for who in by_id}
    done: dict[str, Marked] = {}
    if not fresh:
        done = {
            who: replace(marked, name=submission.name)
            for who, submission in by_id.items()
            if (marked := kept.get(keys[who]))
        }
    waiting = [who for who in by_id if who not in done]
    workers = PER_PROCESSOR * len(os.sched_getaffinity(0))
    if any(one.student for one in wanted.values()):
        print("Each has a variant of their own.")
    elif any(one.exercises for one in wanted.values()):
        print("All have the same exercises (no --secret).")
    print(
        f"{count(len(by_id), 'submission')}, {len(done)} of them marked before (--fresh marks all "
        f"anew); {workers} at a time. After a kill, the same command goes on from there.",
        flush=True,
    )

    def piece(who: str) -> Piece:
        def work(alone: bool) -> str:
            return as_text(mark_submission(by_id[who], wanted[who], alone=alone))

        return Piece(who, work, wanted[who].seconds)

    began = time.monotonic()
    pieces = [piece(who) for who in waiting]
    for nth, (one, text, problem) in enumerate(
        side_by_side(pieces, workers, lambda text: bool(from_text(text).error)), start=1
    ):
        who = one.name
        if problem:
            marked = could_not_be_marked(by_id[who], wanted[who], problem)
        else:
            marked = from_text(text)
        if not marked.error:
            kept.put(keys[who], marked)
        done[who] = marked
        left = (time.monotonic() - began) / nth * (len(pieces) - nth)
        _tell(len(done), len(by_id), marked, left)
    return [done[who] for who in by_id]


def _with_hints(
    submissions: Sequence[Submission], wanted: Mapping[str, Assignment], marked: Sequence[Marked]
) -> tuple[list[Marked], str]:
    """The marks, and whose variant the answers fit that did not get full marks; and a warning.

    The warning is for an answer to "is this the right secret?"; "" if there is no doubt.
    """
    students = [one.student for one in wanted.values() if one.student]
    exercises = next((one.exercises for one in wanted.values()), ())
    words = words_of_variants(exercises, students)
    hinted, unsolved = [], list[Path]()
    for submission, one in zip(submissions, marked, strict=True):
        hints = [submission.note]
        if exercises and submission.answers is not None and one.points < one.of:
            own = wanted[submission.id].student
            unsolved.append(submission.answers)
            hints.append(about_key(submission.answers, own))
            if own is not None:
                hints.append(whose(submission.answers, submission.id, words))
        hints = list(filter(None, hints))
        for hint in hints:
            print(f"  {one.id}: {hint}")
        hinted.append(replace(one, said=(*hints, *one.said)))
    return hinted, about_secret(unsolved, words, secret=bool(students))


def _key(submission: Submission, wanted: Assignment) -> str:
    files = [submission.answers, submission.translator, *(e.path for e in wanted.exercises)]
    words = [submission.id, submission.problem, *wanted.names]
    if wanted.student is not None:
        words.append(wanted.student.code)
    return key_of(files, [*words, *(earned.claim for earned in wanted.claims)])


def _tell(nth: int, of: int, marked: Marked, left: float) -> None:
    score = f"{marked.points} of {marked.of}"
    if marked.error:
        score = f"could not be marked: {marked.error}"
    time_left = f"about {left / 60:.0f} min left" if left > 90 else f"about {left:.0f} s left"
    print(f"{nth:>4}/{of}  {marked.id:20} {score:10} {time_left}", flush=True)


def _write(title: str, marked: Sequence[Marked], outputs: Outputs) -> None:
    if outputs.csv is not None:
        mark_tables.write_csv(outputs.csv, marked)
    if outputs.html is not None:
        write_mark_page(outputs.html, title, marked)
    if outputs.gradescope is not None:
        mark_tables.write_gradescope(outputs.gradescope, marked)
    if outputs.junit is not None:
        mark_tables.write_marks_junit(outputs.junit, marked)
    if outputs.json is not None:
        mark_tables.write_marks_json(outputs.json, marked)
