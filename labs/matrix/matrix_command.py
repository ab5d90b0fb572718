"""What `napt-lab matrix` does: try all pairs of types by all methods, and write it all down."""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from rich.console import Console
from rich.text import Text

from napt_lab.labs.matrix import grid, matrix_files
from napt_lab.labs.matrix.cell import Cell, Result
from napt_lab.labs.matrix.field import Field
from napt_lab.labs.matrix.napt_types import NaptType
from napt_lab.labs.matrix.prediction import Method
from napt_lab.labs.matrix.trying import try_all
from napt_lab.labs.matrix.user_programs import Commands, try_programs
from napt_lab.labs.records.rundir import RunDirectory
from napt_lab.labs.stage.progress_line import ProgressLine
from napt_lab.labs.verdict.exit_status import exit_status
from napt_lab.labs.verdict.run_errors import NETWORK_ERRORS, tell_network_error, tell_unwritten
from napt_lab.labs.verdict.verdicts import Verdict
from napt_lab.topologies.network.builder import Network

NAME = "matrix"


def run(
    types: Sequence[NaptType],
    methods: Sequence[Method],
    *,
    behind_carrier: bool,
    commands: Commands | None = None,
) -> int:
    """Try them, print the grids, fill runs/matrix/. In the sandbox; the exit status.

    With `commands` the user's programs are tried, and no method.
    """
    console = Console(highlight=False)
    try:
        directory = RunDirectory(NAME)
    except OSError as error:
        return tell_unwritten(error)
    began = time.monotonic()
    field = Field(types, behind_carrier=behind_carrier, rendezvous=commands is not None)
    published = False
    try:
        wanted = methods if commands is None else [Method.PROGRAMS]
        results = _try(field, wanted, commands, directory.path, console)
        _write(results, field, directory.path)
        place = os.path.relpath(directory.publish())
        published = True
    except NETWORK_ERRORS as error:
        return tell_network_error(error)
    except OSError as error:
        return tell_unwritten(error)
    finally:
        if not published:
            directory.discard()
    grid.show(results, console)
    cells = "1 cell" if len(results) == 1 else f"{len(results)} cells"
    console.print(f"{cells} in {time.monotonic() - began:.0f} s.", style="dim")
    console.print(f"Everything that was seen is in {place}/: report.html, captures.", style="dim")
    verdicts = {result.verdict for result in results}
    return exit_status(passed=verdicts <= {Verdict.PASSED}, error=Verdict.ERROR in verdicts)


def _try(
    field: Field,
    methods: Sequence[Method],
    commands: Commands | None,
    folder: Path,
    console: Console,
) -> list[Result]:
    progress = ProgressLine(console)
    done: set[Cell] = set()
    total = len(methods) * len(field.types) ** 2

    def known(result: Result) -> None:
        done.add(result.cell)
        progress.update(Text(f"{len(done)} of {total} cells are known", "dim"))

    results: list[Result] = []
    try:
        progress.begin(Text(f"building the network: {len(field.types)} types", "dim"))
        with Network(field.topology) as net:
            server = commands.start_server(net) if commands else None
            programs = partial(try_programs, commands, server) if commands else None
            for method in methods:
                pairs = itertools.product(field.types, field.types)
                cells = [Cell(method, a, b) for a, b in pairs]
                results += try_all(net, field, cells, folder, known, programs)
    finally:
        progress.end()
    return results


def _write(results: Sequence[Result], field: Field, folder: Path) -> None:
    from napt_lab.labs.matrix.matrix_page import write_page  # slow to import

    matrix_files.write(results, field, folder)
    write_page(results, field, folder)
