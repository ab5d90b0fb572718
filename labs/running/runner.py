"""Run a lab, inside the sandbox, and write everything down."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from napt_lab.labs.capture.pcapng import join_pcapng
from napt_lab.labs.course.registry import LABS, parts_of, resume_command, what_next
from napt_lab.labs.records.bookmark import Bookmark, Bookmarking, read_bookmark
from napt_lab.labs.records.rundir import RunDirectory
from napt_lab.labs.records.stream import Stream
from napt_lab.labs.report.story import Story
from napt_lab.labs.running.open_page import open_page
from napt_lab.labs.stage.narration import Narration
from napt_lab.labs.stage.play import Play
from napt_lab.labs.stage.steps import Lab, Part
from napt_lab.labs.verdict.exit_status import (
    CANNOT_RUN,
    FAILED,
    INTERRUPTED,
    WRONG_USAGE,
    exit_status,
)
from napt_lab.labs.verdict.results import Results
from napt_lab.labs.verdict.run_errors import tell_network_error, tell_unwritten
from napt_lab.labs.view.door import Door
from napt_lab.labs.view.recording import Recording

if TYPE_CHECKING:
    from napt_lab.labs.prompt.prompt import Prompt


def run_lab(
    lab_id: str,
    *,
    step: bool | None,
    part: str | None,
    first: int = 1,
    resume: bool = False,
    door: Door | None = None,
) -> int:
    """Run a lab with narration. Returns the exit status; what it produced is in runs/.

    `step`: whether it pauses before each step; None: as the run with which it goes on, or not.
    `first`: the step to begin with. `resume`: go on where the last run was stopped. `door`: where
    a browser sees it while it goes on.
    """
    lab = LABS[lab_id].lab()
    try:
        mark = read_bookmark(lab_id) if resume else None
        if mark is not None:
            step = mark.pauses if step is None else step
            part, first = ",".join(mark.parts), mark.step
        elif resume:
            return _refuse(f"no run of lab {lab_id} was stopped: run it without RESUME")
        parts = parts_of(lab, part, first)
    except ValueError as error:
        return _refuse(str(error))
    if mark is not None and mark.questions != questions_of(parts):
        changed = f"lab {lab_id} has other steps or questions now than when the run was stopped"
        return _refuse(f"{changed}: run it without RESUME")
    if step and not sys.stdin.isatty():
        if mark is not None and mark.pauses:
            how = f"the run was begun with STEP: type `{resume_command(lab_id)}` at a terminal"
            return _refuse(
                f"{how}, or go on without pauses: `{resume_command(lab_id, step=False)}`"
            )
        return _refuse("STEP needs a terminal to type at; run it without STEP")
    narration = Narration()
    pause = None
    if step:
        from napt_lab.labs.prompt.prompt import Prompt  # slow to import

        pause = Prompt(narration.console)
    return play(lab, parts, narration, pause, door, first, mark)


def play(
    lab: Lab,
    parts: Sequence[Part],
    narration: Narration,
    pause: Prompt | None,
    door: Door | None = None,
    first: int = 1,
    mark: Bookmark | None = None,
) -> int:
    """Play some parts of a lab and write everything down, however it ends.

    It begins with the step number `first`; `mark`: where another run was stopped.
    """
    try:
        directory = RunDirectory(lab.id)
        results = Results(directory.path)
    except OSError as error:
        return tell_unwritten(error)
    stream, story, recording = Stream(), Story(), Recording()
    begin = Bookmark(
        [part.name for part in parts],
        questions_of(parts),
        pauses=pause is not None,
        step=first,
        said=dict(mark.said) if mark else {},
        found=dict(mark.found) if mark else {},
    )
    stream.listen(Bookmarking(lab.id, begin))
    stream.listen(results)
    stream.listen(story)
    stream.listen(recording)
    stream.listen(narration)
    live = open_page(door, lab.title, stream, narration.console, pause)
    if live is None:
        run = Play(lab, parts, stream, directory.path, pause, first=first, mark=mark)
    else:
        wait = live.steps(pause) if pause is not None else None
        run = Play(
            lab, parts, stream, directory.path, wait, meet=live.meets, first=first, mark=mark
        )
    try:
        passed = run.run()
    finally:
        stream.silence()
        narration.progress.end()
        kept = _keep(run, results, (story, recording), directory, narration)
        if kept and len(parts) < len(lab.parts):
            only = ", ".join(run.begun)
            narration.console.print(f"Only these parts of lab {lab.id} ran: {only}.", style="dim")
        if kept and run.stopped:
            narration.console.print(
                f"The results of the last run of lab {lab.id} that went to its end, if any, "
                "are kept.\n"
                f"A run that was stopped counts as failed (exit status {FAILED}; "
                f"{INTERRUPTED} after Ctrl-C). `{resume_command(lab.id)}` goes on there.",
                style="dim",
            )
        if live is not None:
            live.end("The run has ended. The report has all of it.")
            if pause is None and not run.stopped:
                _linger(narration.console, live.url)
            live.close()
    if not kept:
        return CANNOT_RUN
    broken_by = run.unbuilt or run.lost
    if broken_by is not None:
        return tell_network_error(broken_by)
    return exit_status(passed=passed)


def questions_of(parts: Sequence[Part]) -> list[list[str]]:
    """What the steps of these parts ask."""
    return [step.question for part in parts for step in part.steps]


def _linger(console: Console, url: str) -> None:
    """A run takes some seconds, a look at it takes longer."""
    if sys.stdin.isatty():
        console.print(f"The page goes on showing the run: {url}", highlight=False, soft_wrap=True)
        console.print("It ends when you press Enter.", style="dim")
        with contextlib.suppress(KeyboardInterrupt):
            sys.stdin.readline()


def _keep(
    run: Play,
    results: Results,
    told: tuple[Story, Recording],
    directory: RunDirectory,
    narration: Narration,
) -> bool:
    """Write everything down, or nothing: a part of it could be taken for the whole."""
    try:
        if run.unsaved is not None:
            raise run.unsaved
        results.write()
        whole = directory.path / "capture.pcapng"
        if run.captures and whole not in run.captures:
            join_pcapng(run.captures, whole)
        try:
            _write_report(told, directory.path, narration)
        finally:
            published = directory.publish(stopped=run.stopped)
    except OSError as error:
        directory.discard()
        tell_unwritten(error)
        return False
    console = narration.console
    place = os.path.relpath(published)
    if (published / "report.html").exists():
        console.print(f"The report, for a browser: {place}/report.html", highlight=False)
    console.print(f"All results and captures: {place}/", style="dim")
    if not run.stopped and told[0].lab in LABS and (following := what_next(told[0].lab)):
        console.print(following, markup=False)
    return True


def _write_report(told: tuple[Story, Recording], folder: Path, narration: Narration) -> None:
    """The verdict stands and the results are written: a page that fails costs only the page."""
    try:
        # slow to import; the terminal has the verdict already
        from napt_lab.labs.report.page import write_report
        from napt_lab.labs.view.page import report_inset

        story, recording = told
        write_report(story, folder, report_inset(recording, folder))
    except Exception as error:  # noqa: BLE001  # a report is never the reason to fail a run; shown
        (folder / "report.html").unlink(missing_ok=True)  # a half-written one
        narration.console.print(f"There is no report.html: {type(error).__name__}: {error}")


def _refuse(why: str) -> int:
    print(f"napt-lab: {why}", file=sys.stderr)
    return WRONG_USAGE
