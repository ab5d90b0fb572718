"""What `napt-lab conformance` does: read the candidates, examine them, write it all down."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from napt_lab.labs.conformance import result_files, written
from napt_lab.labs.conformance.chapters import REQUIREMENTS, named
from napt_lab.labs.conformance.requirement import Requirement
from napt_lab.labs.conformance.side_by_side import Examination, examine_all
from napt_lab.labs.conformance.terminal import show
from napt_lab.labs.conformance.topology import Candidate, Setup, read_setup
from napt_lab.labs.records.rundir import RunDirectory
from napt_lab.labs.verdict.exit_status import CANNOT_RUN, WRONG_USAGE, exit_status
from napt_lab.labs.verdict.run_errors import tell_unwritten
from napt_lab.topologies.spec.checkout import DOCTOR
from napt_lab.topologies.spec.errors import TopologyError

NO_PRESET = "none"


class Unusable(Exception):
    """The candidates make no sense; the message has a line for each cause."""


def candidates(
    engines: Sequence[str],
    translators: Sequence[Path],
    presets: Sequence[str],
    settings: Mapping[str, str],
) -> list[Candidate]:
    """One for the kernel, and one with each preset for Python and each translator."""
    found = []
    for preset in presets:
        chosen = {} if preset == NO_PRESET else {"preset": preset}
        suffix = f", preset {preset}" if chosen else ", no preset"
        if "python" in engines:
            found.append(Candidate(_name(f"python{suffix}", settings), {**chosen, **settings}))
        for file in translators:
            keys = {**chosen, **settings}
            name = _name(f"{file.name}{suffix}", settings)
            found.append(Candidate(name, keys, file.resolve()))
    if "nftables" in engines:
        keys = {"engine": "nftables", **settings}
        found.append(Candidate(_name("nftables", settings), keys))
    return found


def _name(name: str, settings: Mapping[str, str]) -> str:
    return ", ".join([name, *(f"{key}: {value}" for key, value in settings.items())])


def setups(chosen: Sequence[Candidate]) -> list[Setup]:
    """Their networks. Raises Unusable."""
    found, problems = [], []
    for candidate in chosen:
        try:
            found.append(read_setup(candidate))
        except TopologyError as error:
            # All NAPTs have the same keys: the first one's problems are enough.
            lines = [str(problem).partition(": ")[2] for problem in error.problems]
            mine = [line for line in lines if line.startswith("sites.main.")] or lines
            problems += [f"{candidate.name}: {line.removeprefix('sites.main.')}" for line in mine]
    if problems:
        raise Unusable("\n".join(problems))
    return found


def run(found: Sequence[Setup], only: tuple[str, ...], docs: bool) -> int:
    """Examine them side by side, print the table, fill runs/conformance/. The exit status."""
    requirements = named(only)
    if not requirements:
        what = f"there is no requirement {' or '.join(map(repr, only))}"
        forms = "4787.REQ-1, 'RFC 4787, REQ-1', or only the RFC number, such as 5382"
        print(f"napt-lab: {what}; allowed: {forms}", file=sys.stderr)
        return WRONG_USAGE
    if docs and only:
        print("napt-lab: --docs writes the whole table; leave --only out", file=sys.stderr)
        return WRONG_USAGE
    console = Console(highlight=False)
    try:
        directory = RunDirectory("conformance")
    except OSError as error:
        return tell_unwritten(error)
    examinations = _examine(found, requirements, directory.path, console)
    if any(examination.status == CANNOT_RUN for examination in examinations):
        directory.discard()  # why has been said
        print(f"`{DOCTOR}` shows all that this machine needs.", file=sys.stderr)
        return CANNOT_RUN
    try:
        _write(examinations, directory.path)
        place = os.path.relpath(directory.publish())
        if docs:
            written.PATH.parent.mkdir(exist_ok=True)
            text = written.document(examinations, " ".join(sys.argv[2:]))
            written.PATH.write_text(text, encoding="utf-8")
    except OSError as error:
        directory.discard()
        return tell_unwritten(error)
    show(examinations, console)
    if len(requirements) < len(REQUIREMENTS):
        few = f"Only {len(requirements)} of {len(REQUIREMENTS)} requirements were tried."
        console.print(few, style="bold")
    console.print(f"Everything that was seen is in {place}/: report.html, captures.", style="dim")
    for examination in examinations:
        if examination.trouble:
            print(f"napt-lab: error: {examination.name}: {examination.trouble}", file=sys.stderr)
    return exit_status(
        passed=all(examination.passed for examination in examinations),
        error=any(examination.trouble for examination in examinations),
    )


def _examine(
    found: Sequence[Setup], requirements: Sequence[Requirement], folder: Path, console: Console
) -> list[Examination]:
    total = len(found) * len(requirements)
    names = "; ".join(setup.candidate.name for setup in found)
    # rich draws from a thread, and a process with threads must not fork: so it is started late.
    progress = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TimeElapsedColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )
    task = progress.add_task(names, total=total)
    try:
        advance = functools.partial(progress.advance, task)
        return examine_all(found, requirements, folder, progress.start, advance)
    finally:
        progress.stop()


def _write(examinations: Sequence[Examination], folder: Path) -> None:
    from napt_lab.labs.conformance.table_page import write_page

    result_files.write(examinations, folder)
    write_page(examinations, folder)
