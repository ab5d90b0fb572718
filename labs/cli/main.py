"""The command line: `napt-lab COMMAND`, which is what every `make` target calls.

A command that needs a network goes through the same gate each time (gate.py), so that whatever
is wrong is found before anything is built.

Exit status: 0 all held; 1 a claim failed, or the run was quit before its end; 2 wrong usage or
wrong YAML; 3 an error of this machine or of a program of the network; 130 ended by Ctrl-C.
"""

from __future__ import annotations

import atexit
import gc
import sys
from pathlib import Path
from typing import ClassVar, NoReturn

import click

from napt_lab.labs.cli.contributors import CONTRIBUTORS
from napt_lab.labs.cli.course_commands import course
from napt_lab.labs.cli.exercise_commands import exercise, grade
from napt_lab.labs.cli.gate import (
    enter_sandbox,
    load,
    load_all,
    open_door,
    refuse_private_places,
    stop_unless_ready,
    web_option,
)
from napt_lab.labs.cli.standard_streams import make_sturdy
from napt_lab.labs.cli.variables import wrong_variable
from napt_lab.labs.course.topology_files import find

# Everything else is imported by the command that needs it, so that `--help` stays fast.
from napt_lab.labs.verdict.exit_status import CANNOT_RUN, INTERRUPTED, PASSED, WRONG_USAGE
from napt_lab.topologies.spec.checkout import IN_CHECKOUT

file_argument = click.argument(
    "file", type=click.Path(path_type=Path), callback=lambda _context, _argument, file: find(file)
)


class BySemicolon(click.types.StringParamType):
    """A text whose environment variable has several with `;` between them."""

    envvar_list_splitter: ClassVar[str] = ";"


@click.group()
def main() -> None:
    """NAPT Lab: why two PCs behind NAPTs cannot talk, and what an explicit rule changes."""


def run() -> NoReturn:
    """Run the command line and exit; Ctrl-C gives the status that shells expect."""
    make_sturdy()
    atexit.register(gc.freeze)  # at the end all is garbage: looking for it takes 0.1 s
    name = "napt-lab" if Path(sys.argv[0]).name == "__main__.py" else None
    try:
        sys.exit(main(prog_name=name, standalone_mode=False))
    except click.ClickException as error:
        wrong = wrong_variable(error)
        if wrong is None:
            error.show()
        else:
            click.echo(f"napt-lab: {wrong}", err=True)
        sys.exit(error.exit_code)
    except click.Abort:
        sys.exit(INTERRUPTED)


programs_option = click.option(
    "--programs",
    is_flag=True,
    envvar="PROGRAMS",
    help="Let the file run programs of its own (`runs`), with your rights.",
)

capture_option = click.option(
    "--capture",
    type=click.Path(path_type=Path, dir_okay=False, writable=True),
    help="Write all packets of all nodes to this file (pcapng).",
)


@main.command()
@click.argument("lab_id", metavar="ID")
@click.option(
    "--step/--no-step",
    default=None,
    envvar="STEP",
    help="Pause before each step (with --resume: or not, as the run was begun).",
)
@click.option("--part", envvar="PART", help="Run only this part of the lab.")
@click.option(
    "--from",
    "first",
    type=click.IntRange(1),
    default=1,
    envvar="FROM",
    metavar="STEP",
    help="Begin with this step; those before it are done first, without narration.",
)
@click.option("--resume", is_flag=True, envvar="RESUME", help="Go on where a run was stopped.")
@click.option("--quiz", is_flag=True, envvar="QUIZ", help="Only ask the steps' questions.")
@web_option
def lab(
    lab_id: str,
    step: bool | None,
    part: str | None,
    first: int,
    resume: bool,
    quiz: bool,
    web: int | None,
) -> None:
    """Run the lab ID (`labs` lists them) and write its results to runs/."""
    from napt_lab.labs.course.registry import LABS, parts_of

    if lab_id not in LABS:
        raise click.UsageError(f"there is no lab {lab_id!r}; there are: {', '.join(LABS)}")
    if resume and (quiz or part is not None or first != 1):
        raise click.UsageError(
            "RESUME goes on with a run as it was begun: without QUIZ, PART, FROM"
        )
    if quiz:
        from napt_lab.labs.running.quiz import run_quiz

        try:
            parts = parts_of(LABS[lab_id].lab(), part, first)
        except ValueError as error:
            raise click.UsageError(str(error)) from None
        sys.exit(run_quiz([step for part in parts for step in part.steps], first))
    load(LABS[lab_id].topology)
    door = open_door(web)
    enter_sandbox()
    from napt_lab.labs.running.runner import run_lab

    sys.exit(run_lab(lab_id, step=step, part=part, first=first, resume=resume, door=door))


@main.command()
def labs() -> None:
    """List the labs."""
    from napt_lab.labs.course.registry import LABS

    for lab_id, entry in LABS.items():
        click.echo(f"{lab_id:6} {entry.title}")


@main.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
@programs_option
@click.option("--junit", metavar="FILE", help="Write the outcome as JUnit's XML (-: to stdout).")
@click.option("--json", "json_", metavar="FILE", help="… as JSON.")
def check(files: tuple[Path, ...], programs: bool, junit: str | None, json_: str | None) -> None:
    """Check topology FILES.

    List everything that is wrong with them, or build them and test what they expect.
    """
    from napt_lab.labs.check.reports import CannotReport, Checked, Reports

    try:
        reports = Reports(junit, json_)  # opened while this machine's files are still in sight
    except OSError as error:
        raise click.UsageError(f"cannot write the report: {error}") from error
    try:
        topologies = load_all([find(file) for file in files], reports, programs=programs)
        for topology in topologies:
            if not topology.expectations():
                nothing = "no problem found; it has no `expect:`, so there is nothing to test"
                said = ": ".join(filter(None, (str(topology.path), topology.title, nothing)))
                click.echo(said, err=reports.on_stdout)
        if not any(topology.expectations() for topology in topologies):
            reports.write([Checked(topology) for topology in topologies])
            return
    except CannotReport as error:
        click.echo(f"napt-lab: cannot write the report: {error}", err=True)
        sys.exit(CANNOT_RUN)
    enter_sandbox()
    from napt_lab.labs.running.on_topology import run_check

    sys.exit(run_check(topologies, reports))


@main.command()
@file_argument
@programs_option
@web_option
def shell(file: Path, programs: bool, web: int | None) -> None:
    """Build the topology in FILE and give a prompt on its nodes.

    Without a terminal, the lines are read from standard input. The first one that fails ends it,
    and its exit status is returned.
    """
    topology = load(file, programs=programs)
    door = open_door(web)
    enter_sandbox()
    from napt_lab.labs.running.on_topology import run_shell

    sys.exit(run_shell(topology, door))


@main.command("run-in", context_settings={"ignore_unknown_options": True})
@file_argument
@click.argument("node")
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
@capture_option
@programs_option
def run_in(
    file: Path, node: str, command: tuple[str, ...], capture: Path | None, programs: bool
) -> None:
    """Build the topology in FILE, run COMMAND on NODE, and exit with its status.

    FILE may also be the name of a topology that comes with NAPT Lab, such as two-sites. The
    command sees your files and your terminal, and the topology's network.
    """
    from napt_lab.topologies.spec.errors import not_one_of

    topology = load(file, programs=programs)
    names = topology.node_names()
    if node not in names:
        raise click.UsageError(not_one_of(f"{file} has no node {node!r}", node, names))
    refuse_private_places({"--capture": capture})
    enter_sandbox()
    from napt_lab.labs.running.on_topology import run_command

    sys.exit(run_command(topology, node, command, capture))


@main.command(
    "run",
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False},
    options_metavar="[OPTIONS]",
    short_help="Run programs on several nodes of the topology in FILE.",
)
@file_argument
@click.argument(
    "words",
    metavar="--on NODE COMMAND… [--ready TEXT] …",
    nargs=-1,
    required=True,
    type=click.UNPROCESSED,
)
@capture_option
@programs_option
def run_(file: Path, words: tuple[str, ...], capture: Path | None, programs: bool) -> None:
    """Run programs on several nodes of the topology in FILE, one after another.

    With --ready, the next one starts when this one has printed a line with TEXT. When the last
    has ended, the others are ended, too. The exit status is that of the first program that
    failed, else 0. Ctrl-C ends all of them.
    """
    topology = load(file, programs=programs)
    from napt_lab.labs.running.wanted_programs import wanted_programs

    try:
        wanted = wanted_programs(list(words), topology.node_names())
    except ValueError as error:
        raise click.UsageError(f"{file}: {error}") from None
    refuse_private_places({"--capture": capture})
    enter_sandbox()
    from napt_lab.labs.running.on_topology import run_programs

    sys.exit(run_programs(topology, wanted, capture))


@main.command()
@file_argument
@click.option(
    "--to",
    "form",
    type=click.Choice(["containerlab", "kathara"]),
    required=True,
    help="The engine.",
)
@click.option("--image", default="napt-lab", show_default=True, help="The project's image there.")
@click.option(
    "--output", type=click.Path(path_type=Path), help="A new folder (default: NAME-containerlab …)."
)
def export(file: Path, form: str, image: str, output: Path | None) -> None:
    """Write the topology in FILE for containerlab or Kathara."""
    topology = load(file, programs=True)  # which are left out
    from napt_lab.labs.export.export import ExportError, warnings
    from napt_lab.labs.export.export import export as write

    try:
        written = write(topology, form, image, output or Path(f"{topology.path.stem}-{form}"))
    except ExportError as error:
        raise click.UsageError(str(error)) from None
    except OSError as error:
        click.echo(f"napt-lab: {error}", err=True)
        sys.exit(CANNOT_RUN)
    click.echo(f"{written[0]} and {len(written) - 1} scripts")
    for line in warnings(topology, form, image):
        click.echo(f"  {line}")


@main.command()
@click.option(
    "--engine",
    "engines",
    multiple=True,
    type=click.Choice(["python", "nftables"]),
    envvar="ENGINES",
    help="Who translates (again for several); python, if no translator is given.",
)
@click.option(
    "--translator",
    "translators",
    multiple=True,
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    envvar="TRANSLATOR",
    help="A translator of your own (again for several).",
)
@click.option(
    "--preset",
    "presets",
    multiple=True,
    default=["rfc"],
    show_default=True,
    envvar="PRESET",
    help="The behavior of all but the kernel (none: what a topology has by itself).",
)
@click.option("--set", "pairs", multiple=True, metavar="KEY=VALUE", help="A gateway's key.")
@click.option(
    "--only",
    multiple=True,
    type=BySemicolon(),
    metavar="ID",
    envvar="ONLY",
    help="Only requirements with this in their id, as in 5382, 4787.REQ-1 or 'RFC 4787, REQ-1'.",
)
@click.option(
    "--docs",
    is_flag=True,
    hidden=not IN_CHECKOUT,
    help="Write the table to docs/conformance.md, too.",
)
def conformance(
    engines: tuple[str, ...],
    translators: tuple[Path, ...],
    presets: tuple[str, ...],
    pairs: tuple[str, ...],
    only: tuple[str, ...],
    docs: bool,
) -> None:
    """Try on real packets, requirement by requirement, what the RFCs ask of a NAPT."""
    if docs and not IN_CHECKOUT:
        raise click.UsageError(
            "--docs needs a checkout: an installed package has no docs/conformance.md"
        )
    for pair in pairs:
        if "=" not in pair:
            raise click.UsageError(f"--set {pair!r} is not KEY=VALUE, such as filtering=...")

    from napt_lab.labs.conformance import conformance_command

    settings = dict(pair.split("=", 1) for pair in pairs)
    engines = engines or (() if translators else ("python",))
    chosen = conformance_command.candidates(engines, translators, presets, settings)
    try:
        setups = conformance_command.setups(chosen)
    except conformance_command.Unusable as error:
        click.echo(error, err=True)
        sys.exit(WRONG_USAGE)
    stop_unless_ready()
    sys.exit(conformance_command.run(setups, only, docs))


@main.command()
@click.option(
    "--types",
    "names",
    envvar="TYPES",
    metavar="NAME,…",
    help="Only these types of NAPTs, such as full-cone,home,ADM/EIF,nftables.",
)
@click.option(
    "--methods",
    envvar="METHODS",
    metavar="NAME,…",
    help="Only these of udp, tcp, ice.",
)
@click.option(
    "--behind-carrier", is_flag=True, envvar="CARRIER", help="All NAPTs behind a carrier's."
)
@click.option("--a", metavar="COMMAND", help="Run your own program at the host that begins …")
@click.option("--b", metavar="COMMAND", help="… and this one at the other, instead of ours.")
@click.option("--server", metavar="COMMAND", help="Run it on a public host, $NAPT_SERVER.")
@click.option("--ready", metavar="TEXT", help="Wait for a line of the server with this text.")
@click.option(
    "--timeout",
    type=click.FloatRange(1, 3600),
    default=30.0,
    show_default=True,
    metavar="SECONDS",
    help="For the two programs of a pair.",
)
def matrix(
    names: str | None,
    methods: str | None,
    behind_carrier: bool,
    a: str | None,
    b: str | None,
    server: str | None,
    ready: str | None,
    timeout: float,
) -> None:
    """Try every pair of NAPT types: can hosts behind them talk directly, as predicted?

    With --a and --b: do your own programs succeed, and by which way?
    """
    from napt_lab.labs.matrix.napt_types import chosen

    try:
        types, ways = chosen(names, methods)
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    if bool(a) != bool(b) or ((server or ready) and not a) or (ready and not server):
        raise click.UsageError("--a and --b belong together; --server and --ready go with them")
    if a and methods:
        raise click.UsageError("--methods are ours; with --a and --b yours is the only one")
    enter_sandbox()
    from napt_lab.labs.matrix.matrix_command import run
    from napt_lab.labs.matrix.user_programs import Commands

    commands = Commands(a, b, server, ready, timeout) if a and b else None
    sys.exit(run(types, ways, behind_carrier=behind_carrier, commands=commands))


@main.command()
def doctor() -> None:
    """Show whether this machine can run the labs, and what to do."""
    from napt_lab.labs.cli.doctor import show
    from napt_lab.topologies.sandbox import preflight
    from napt_lab.topologies.sandbox.machine import Machine

    findings = preflight.examine(Machine())
    show(findings)
    sys.exit(PASSED if all(finding.ok for finding in findings) else CANNOT_RUN)


for command in (exercise, grade, course):
    main.add_command(command)
if IN_CHECKOUT:
    # What pip installs has no tests, and is no place to write figures to.
    for command in CONTRIBUTORS:
        main.add_command(command)
