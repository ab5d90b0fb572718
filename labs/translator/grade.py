"""`napt-lab grade --translator mine.py`: which claims a student's translator earns.

Each part of a lab that has such claims is played as ever, with the file on every NAPT, in a
sandbox of its own: the fetch of one page first, then two at a time, for they mostly wait. The one
that opens 65,536 connections comes last, alone, and only if it has a chance. So it is over after
three minutes at the worst.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.rule import Rule
from rich.text import Text

from napt_lab.labs.course.registry import LABS
from napt_lab.labs.records.rundir import RunDirectory
from napt_lab.labs.stage.narration import WIDTH
from napt_lab.labs.stage.rule_lines import count
from napt_lab.labs.translator import score, trial
from napt_lab.labs.translator.claims import BASE, COSTLY, EARNED, Earned
from napt_lab.labs.translator.score import Mark
from napt_lab.labs.translator.trial import Trial
from napt_lab.labs.verdict.exit_status import CANNOT_RUN, WRONG_USAGE, exit_status
from napt_lab.labs.verdict.junit import write_junit
from napt_lab.labs.verdict.run_errors import tell_unwritten
from napt_lab.labs.verdict.verdicts import verdict_of
from napt_lab.topologies.network.nursery import from_template
from napt_lab.topologies.network.own_programs import program
from napt_lab.topologies.sandbox import sandbox
from napt_lab.topologies.spec.checkout import DOCTOR

AT_A_TIME = 2
PART_SECONDS, LONG_PART_SECONDS, ALL_SECONDS = 80.0, 130.0, 180.0
LOAD_SECONDS = 60.0
FAULTS_SHOWN, LINES_SHOWN, EVIDENCE_SHOWN = 4, 5, 3
_BASE = next(earned for earned in EARNED if earned.claim == BASE)
DETAILED = 3  # claims that failed: first things first


class CannotGrade(Exception):
    """This machine cannot run it."""


def grade_translator(
    translator: Path, wanted: Sequence[Earned], json: Path | None, junit: Path | None
) -> int:
    """Grade a file by the wanted claims. Returns the exit status."""
    console = Console(highlight=False, soft_wrap=False)
    console.width = min(console.width, WIDTH)
    status, wrong = load(translator)
    if status:
        print(wrong, file=sys.stderr)
        return status
    console.print(Rule(Text.assemble("Your translator ", (str(translator), "bold"))))
    began = time.monotonic()
    try:
        directory = RunDirectory("grade")
        marks, trials = try_all(
            translator, wanted, directory.path, lambda text: console.print(Text(text, style="dim"))
        )
        grade = score.as_json(translator, marks, trials, time.monotonic() - began)
        score.write_json(directory.path / "grade.json", grade)
        suites = [score.suite(grade)]
        write_junit(directory.path / "junit.xml", suites)
        place = os.path.relpath(directory.publish(latest=False))  # it has no report
        if json is not None:
            score.write_json(json, grade)
        if junit is not None:
            write_junit(junit, suites)
    except OSError as error:
        return tell_unwritten(error)
    except CannotGrade as error:
        print(error, file=sys.stderr)
        return CANNOT_RUN
    wrong_with_it = "What is wrong with the program itself"
    _show_words(console, wrong_with_it, grade["faults"], FAULTS_SHOWN)
    _show(console, marks)
    _show_words(console, "What it printed", grade["printed"], LINES_SHOWN)
    _show_words(console, "What it dropped in words of its own", grade["dropped"], LINES_SHOWN)
    console.print(Rule())
    style = "bold green" if all(mark.held for mark in marks) else "bold"
    console.print(
        Text.assemble(
            (f"Score: {grade['score']} of {count(grade['of'], 'claim')}.", style),
            (f" {grade['seconds']} s. The packets of each part are in {place}/.", "dim"),
        )
    )
    return exit_status(passed=grade["score"] == grade["of"])


def load(translator: Path) -> tuple[int, str]:
    """Load the file in a sandbox. Returns 0; or 2 for the file, 3 for the machine, and why."""
    if not translator.is_file():
        what = "is not a file" if translator.exists() else "there is no such file"
        allowed = "allowed: a Python file with translate(packet, now)"
        return WRONG_USAGE, f"{translator}:1: {what}; {allowed}"
    with tempfile.TemporaryFile("w+") as words:

        def work() -> int:
            argv = program("napt_lab.nat_node.engines.student", str(translator))
            return subprocess.run(
                argv, stdin=subprocess.DEVNULL, stdout=words, stderr=words, check=False,
                timeout=LOAD_SECONDS,
            ).returncode  # fmt: skip

        _, status = os.waitpid(sandbox.fork_into(work), 0)
        words.seek(0)
        code = os.waitstatus_to_exitcode(status)
        return code if code in (0, WRONG_USAGE) else CANNOT_RUN, words.read().strip()


@from_template()
def try_all(
    translator: Path, wanted: Sequence[Earned], folder: Path, tell: Callable[[str], None]
) -> tuple[list[Mark], list[Trial]]:
    """Play every part that has a wanted claim, in three rounds. Raises CannotGrade.

    The packets go to `folder`; each part's end is told.
    """
    parts = list(dict.fromkeys((earned.lab, earned.part) for earned in (_BASE, *wanted)))
    trials: list[Trial] = []
    end = time.monotonic() + ALL_SECONDS
    marks: dict[str, Mark] = {}

    def play(parts: Sequence[tuple[str, str]], seconds: float) -> None:
        for ended in _play(parts, translator, folder, seconds, end):
            if ended.status == CANNOT_RUN:
                raise CannotGrade(f"`{DOCTOR}` shows what this machine lacks.")
            trials.append(ended)
            for earned in (_BASE, *wanted):
                if (earned.lab, earned.part) == (ended.lab, ended.part):
                    marks[earned.claim] = score.mark(earned, ended)
            held = sum(mark.held for mark in marks.values() if mark.earned in wanted)
            what = f"level {ended.lab}, {ended.part}"
            tell(f"{what:22} {ended.seconds:5.1f} s   {held} of {len(wanted)} so far")

    def leave(parts: Sequence[tuple[str, str]], needed: Sequence[str]) -> None:
        for earned in wanted:
            if (earned.lab, earned.part) in parts:
                marks[earned.claim] = score.untried(earned, needed)

    first = [(_BASE.lab, _BASE.part)]
    costly = [part for part in parts if part[1] in COSTLY]
    others = [part for part in parts if part not in (*first, *costly)]
    play(first, PART_SECONDS)
    if marks[BASE].begun:
        play(others, PART_SECONDS)
    else:
        leave(others, [BASE])
    for part in costly:
        missing = [claim for claim in COSTLY[part[1]] if claim in marks and not marks[claim].held]
        if missing:
            leave([part], missing)
        else:
            play([part], LONG_PART_SECONDS)
    # Who has not earned what all else rests on is told about that first, asked for or not.
    told = wanted if _BASE in wanted or marks[BASE].begun else (_BASE, *wanted)
    return [marks[earned.claim] for earned in told], trials


def _play(
    parts: Sequence[tuple[str, str]],
    translator: Path,
    folder: Path,
    seconds: float,
    end: float,
) -> Iterator[Trial]:
    """Each part as it ends; some at the same time, each for `seconds`, and none beyond `end`."""
    waiting, running = list(parts), list[Trial]()
    try:
        while waiting or running:
            while waiting and len(running) < AT_A_TIME:
                lab_id, name = waiting.pop(0)
                lab = LABS[lab_id].lab()
                (part,) = (part for part in lab.parts if part.name == name)
                until = min(end, time.monotonic() + seconds)
                base = (lab_id, name) == (_BASE.lab, _BASE.part)
                running.append(trial.start(lab, part, translator, folder / name, until, base=base))
            ended = trial.await_one(running)
            running.remove(ended)
            yield ended
    finally:
        for left in running:
            left.overdue = True
            left.end()


# ── on the screen ──────────────────────────────────────────────────────────────────────────


def _show(console: Console, marks: Sequence[Mark]) -> None:
    failed = 0
    console.print()
    for mark in marks:
        verdict = verdict_of(passed=mark.held)
        sign = f"{verdict.sign} ", f"bold {verdict.color}"
        console.print(Text.assemble(sign, (mark.earned.claim, "bold")))
        _print(console, mark.text, "dim")
        if mark.held:
            continue
        if mark.needed:
            _print(console, ": ".join(mark.why), "red")
            continue
        what, *evidence = mark.why
        failed += 1
        if failed > DETAILED:
            _print(console, f"{what}: {evidence[-1]}")
            continue
        _print(console, f"{what}:")
        for line in evidence[-EVIDENCE_SHOWN:-1]:
            _print(console, line, "dim", indent=6)
        _print(console, evidence[-1], "red", indent=6)
        _print(console, f"do: {mark.earned.do}", "yellow")
        _print(console, f"read: {mark.earned.read}", "yellow")


def _show_words(console: Console, title: str, words: Sequence[dict[str, Any]], shown: int) -> None:
    """The first of what the program said, each thing once, however many parts it is from."""
    times: dict[str, int] = {}
    for entry in words:
        times[entry["text"]] = times.get(entry["text"], 0) + entry["times"]
    if not times:
        return
    console.print()
    console.print(Text(title, style="bold"))
    for text, number in list(times.items())[:shown]:
        for line in text.splitlines() or [""]:
            _print(console, line)
        if number > 1:
            _print(console, f"({number} times)", "dim", indent=6)
    if len(times) > shown:
        _print(console, f"… and {len(times) - shown} more: runs/grade/grade.json has them", "dim")


def _print(console: Console, text: str, style: str = "", indent: int = 4) -> None:
    """One paragraph; what follows its first line stands a little further in."""
    own = " " * (indent + len(text) - len(text.lstrip()))
    for line in textwrap.wrap(
        text.strip(), console.width, initial_indent=own, subsequent_indent=f"{own}  "
    ):
        console.print(Text(line, style), no_wrap=True, crop=False, overflow="ignore")
