"""The checks before each command that needs a network, so that no network is built in error.

Read the files; look whether this machine can run it; and only then enter the sandbox. If one
of these fails, the program says why and ends: status 2 for a file, 3 for the machine.
"""

from __future__ import annotations

import gc
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

from napt_lab.labs.verdict.exit_status import CANNOT_RUN, WRONG_USAGE
from napt_lab.topologies.spec.checkout import DOCTOR, ROOT

if TYPE_CHECKING:
    from napt_lab.labs.check.reports import Reports
    from napt_lab.labs.view.door import Door
    from napt_lab.topologies.sandbox.finding import Finding
    from napt_lab.topologies.spec.errors import TopologyError
    from napt_lab.topologies.spec.model import Topology


class WebPort(click.IntRange):
    """1, which stands for any free port, or a port that needs no rights."""

    allowed = "1 (any free port), or a port, 1024 to 65535"

    def __init__(self) -> None:
        super().__init__(1, 65535)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """The port; click.BadParameter for anything else."""
        port = super().convert(value, param, ctx)
        if 1 < port < 1024:
            self.fail(f"{port} is not {self.allowed}", param, ctx)
        return int(port)


web_option = click.option(
    "--web",
    type=WebPort(),
    envvar="WEB",
    metavar="PORT",
    help="Show it in a browser of this machine, at this port (1: at any that is free).",
)


def load_all(
    files: list[Path], reports: Reports | None = None, *, programs: bool = False
) -> list[Topology]:
    """Load these topologies; if any is wrong, say everything that is wrong, and exit.

    The `reports` say the same; CannotReport if they cannot be written. `programs`: whether the
    files may run programs of their writers'.
    """
    from napt_lab.labs.check.github import Annotations
    from napt_lab.topologies.spec import loader
    from napt_lab.topologies.spec.errors import TopologyError

    annotations = Annotations(on_stderr=reports is not None and reports.on_stdout)
    topologies: list[Topology] = []
    wrong: dict[Path, list[str]] = {}
    for file in files:
        try:
            topologies.append(loader.load(file, programs=programs))
        except TopologyError as error:
            wrong[file] = error.problems
            with annotations.silenced():
                for problem in error.problems:
                    click.echo(problem, err=True)
            for problem in error.problems:
                annotations.problem(file, problem)
    if wrong:
        if reports is not None:
            reports.refuse(wrong, topologies)
        sys.exit(WRONG_USAGE)
    return topologies


def load(file: Path, *, programs: bool = False) -> Topology:
    """Load this topology; if it is wrong, say everything that is wrong, and exit."""
    return load_all([file], programs=programs)[0]


def refuse_file(error: TopologyError) -> NoReturn:
    """Say what is wrong with a file, and exit."""
    from napt_lab.labs.check.github import Annotations

    with Annotations().silenced():
        for problem in error.problems:
            click.echo(problem, err=True)
    sys.exit(WRONG_USAGE)


def refuse_private_places(outputs: dict[str, Path | None], folder: Path | None = None) -> None:
    """Refuse folders that the sandbox hides, and folders that cannot be written to.

    `outputs`: files that are to be written, by the option that names them. `folder`: is read.
    """
    from napt_lab.topologies.sandbox.sandbox import PRIVATE_MEMORY

    alone = " or ".join(map(str, PRIVATE_MEMORY))
    places = {"NAPT Lab itself": ROOT, "the working directory": Path.cwd(), **outputs}
    places["--folder"] = folder
    for what, path in places.items():
        if path is not None and any(path.resolve().is_relative_to(p) for p in PRIVATE_MEMORY):
            raise click.UsageError(f"{what} is below {alone}, which every lab has for itself")
    for what, path in outputs.items():
        if path is not None and not os.access(path.resolve().parent, os.W_OK):
            raise click.UsageError(f"{what}: no file can be made in {path.resolve().parent}")


def stop_unless_ready() -> None:
    """Exit with the causes if a quick check finds that something is missing."""
    from napt_lab.topologies.sandbox import preflight
    from napt_lab.topologies.sandbox.machine import Machine

    refuse_private_places({})
    _stop_if_bad(preflight.examine_fast(Machine()))


def open_door(port: int | None) -> Door | None:
    """Listen for a browser, while the machine's network is still in sight; None without a port."""
    if port is None:
        return None
    from napt_lab.labs.view.door import open_door, show_in_browser

    try:
        door = open_door(port)
    except OSError as error:
        raise click.UsageError(f"WEB={port}: cannot listen at this port: {error}") from error
    show_in_browser(door)
    return door


def enter_sandbox() -> None:
    """Enter a sandbox, or exit with the reason why that fails."""
    from napt_lab.topologies.sandbox import sandbox
    from napt_lab.topologies.sandbox.machine import Machine
    from napt_lab.topologies.sandbox.refusal import explain_refusal

    stop_unless_ready()
    gc.freeze()  # what was imported stays: nothing of it need be looked at again
    machine = Machine()  # as seen from here: in the sandbox everyone is root
    try:
        sandbox.enter()
    except sandbox.SandboxError as error:
        _stop_if_bad([explain_refusal(machine, str(error))])


def _stop_if_bad(findings: list[Finding]) -> None:
    bad = [finding for finding in findings if not finding.ok]
    for finding in bad:
        click.echo(f"{finding.name}: {finding.found}", err=True)
        click.echo(f"  why:     {finding.cause}", err=True)
        click.echo(f"  fix:     {finding.fix}", err=True)
    if bad:
        click.echo(f"`{DOCTOR}` shows all that this machine needs.", err=True)
        sys.exit(CANNOT_RUN)
