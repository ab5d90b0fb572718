"""All cells, tried in one network: many at a time, each with sockets of its own.

A port that is chosen at random is once in 64,512 times the one that was told, and then a hole opens
that could not be predicted. ICE goes by the clock: a direct way that takes more than a second comes
after the relay (servers/ice/connection.py), and after eight seconds nothing does; on a busy machine
that is too short for many at once. So a cell is tried again if a port may have been met by chance,
or if ICE found less than was predicted.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from napt_lab.labs.capture.packets import show
from napt_lab.labs.capture.pcapng import join_pcapng
from napt_lab.labs.capture.wire import CaptureIncomplete, Wire
from napt_lab.labs.check.ground import Ground
from napt_lab.labs.check.ice import connect_by_ice
from napt_lab.labs.check.outcome import CannotTell, Evidence, Unmet
from napt_lab.labs.check.punch_side import Side
from napt_lab.labs.check.punching import Attempt, attempt, sides
from napt_lab.labs.matrix.cell import Cell, Result
from napt_lab.labs.matrix.cell_packets import take_in
from napt_lab.labs.matrix.field import SERVER, Field
from napt_lab.labs.matrix.prediction import Method, Way
from napt_lab.topologies.network.builder import Network
from napt_lab.topologies.spec.assertions import FIREWALL_REASONS, Protocol, Via

AT_ONCE = 8  # cells, by UDP and TCP
IN_ONE_CAPTURE = 360  # cells: a capture has room for 200,000 packets
ICE_AT_ONCE = 84  # cells, which have some 800 captured packets each
ANOTHER_TRY = "another try: "  # how a line of evidence begins that tells of it
TRIES = 3  # of a cell that is not as predicted for one of the reasons above

Progress = Callable[[Result], None]
Work = Callable[[Ground, Field, Sequence[Cell], Progress], list[Result]]
_WAYS = {Via.RELAYED: Way.RELAYED, Via.DIRECT: Way.DIRECT, Via.HAIRPINNED: Way.DIRECT}
_ERRORS = (CannotTell, OSError, Unmet)


def try_all(
    net: Network,
    field: Field,
    cells: Sequence[Cell],
    folder: Path,
    progress: Progress,
    programs: Work | None = None,
) -> list[Result]:
    """Try cells of one method; their packets go to `capture-METHOD.pcapng`.

    `programs` tries those in which the user's programs run. If a busy machine loses packets of a
    capture, its cells are tried again, half as many at a time.
    """
    results: list[Result] = []
    captures: list[Path] = []
    method = cells[0].method
    work = programs or (_connect_some if method is Method.ICE else try_cells)
    pending = deque(_batches(field, cells))
    while pending:
        batch, log_since = pending.popleft(), net.log.mark()
        capture = folder / f".{len(captures)}.pcapng"
        try:
            with Wire(net) as wire:
                found = work(Ground(net, wire), field, batch, progress)
                wire.save(capture)
                take_in(found, field, wire, net.log.since(log_since))
                captures.append(capture)  # if it is incomplete, its cells are tried again
        except CaptureIncomplete as error:
            capture.unlink(missing_ok=True)
            half = len(batch) // 2
            if half:
                pending.extendleft((batch[half:], batch[:half]))
            else:
                results.append(Result(batch[0], None, (), 0.0, str(error)))
        else:
            results += found
    join_pcapng(captures, folder / f"capture-{method}.pcapng")
    for capture in captures:
        capture.unlink()
    order = {cell: number for number, cell in enumerate(cells)}
    return sorted(results, key=lambda result: order[result.cell])


def _batches(field: Field, cells: Sequence[Cell]) -> Iterator[Sequence[Cell]]:
    """With ICE few cells of each host, since it has one process for all of them in a batch.

    With the user's programs one cell of each host: they may need the same port in each.
    """
    size = {Method.ICE: ICE_AT_ONCE, Method.PROGRAMS: len(field.types)}.get(
        cells[0].method, IN_ONE_CAPTURE
    )
    if size != IN_ONE_CAPTURE:
        cells = sorted(cells, key=lambda cell: field.offset(cell.a, cell.b))
    for start in range(0, len(cells), size):
        yield cells[start : start + size]


# ── UDP and TCP ────────────────────────────────────────────────────────────────────────────


def try_cells(
    ground: Ground, field: Field, cells: Sequence[Cell], progress: Progress
) -> list[Result]:
    """Try cells of one method that is not ICE; `progress` is called when each is known."""
    return side_by_side(ground, partial(_try_cell, ground, field), cells, progress, AT_ONCE)


def side_by_side(
    ground: Ground,
    try_one: Callable[[Cell], Result],
    cells: Sequence[Cell],
    progress: Progress,
    at_once: int,
) -> list[Result]:
    """Try cells, some at a time. Ctrl-C in the caller ends them as well."""

    def work(cell: Cell) -> Result:
        result = try_one(cell)
        progress(result)
        return result

    with ThreadPoolExecutor(at_once) as pool:
        try:
            return list(pool.map(work, cells))
        except BaseException:
            ground.stopped.set()
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _try_cell(ground: Ground, field: Field, cell: Cell) -> Result:
    began, evidence = time.time(), Evidence()
    for _ in range(TRIES):
        evidence.lines.clear()
        observed, trouble, sockets, by_chance = None, "", [], False
        try:
            with sides(ground, Protocol(cell.method.value), *field.hosts(cell)) as pair:
                sockets = [(side.node, show(side.local)) for side in pair]
                observed = _way(attempt(*pair, evidence))
                by_chance = _by_chance(cell, *pair)
        except _ERRORS as error:
            trouble = f"{type(error).__name__}: {error}"
        if not by_chance or observed is cell.predicted.way:
            break
    return Result(cell, observed, evidence.lines, time.time() - began, trouble, began, sockets)


def _way(tried: Attempt) -> Way:
    """CannotTell if a host could not even ask for its endpoint, and no firewall says why."""
    if tried.untold and tried.ends[0].reason not in FIREWALL_REASONS:
        raise CannotTell(f"{tried.untold.node} gets no answer from {SERVER}: {tried.ends[0]}")
    return Way.DIRECT if tried.paths else Way.FAILS


def _by_chance(cell: Cell, a: Side, b: Side) -> bool:
    """Whether a port that is chosen anew happens to be the one that was told."""
    ends = ((cell.a.nat, a), (cell.b.nat, b))
    return any(not nat.keeps_told and side.told in side.sources() for nat, side in ends)


# ── ICE ────────────────────────────────────────────────────────────────────────────────────


def _connect_some(
    ground: Ground, field: Field, cells: Sequence[Cell], progress: Progress
) -> list[Result]:
    results = dict(_connect(ground, field, cells))
    for _ in range(TRIES - 1):
        before = {cell: result for cell, result in results.items() if _found_too_little(result)}
        if not before:
            break
        for cell, result in _connect(ground, field, list(before)):
            results[cell] = _after_another_try(before[cell], result)
    for result in results.values():
        progress(result)
    return list(results.values())


def _after_another_try(earlier: Result, later: Result) -> Result:
    """What counts of two tries; its evidence says what came of the other, and of those before."""
    counts, other = later, earlier
    if later.observed is None and earlier.observed is not None:
        counts, other = earlier, later  # a trouble of the machine takes back nothing that was seen
    before = [line for line in earlier.evidence if line.startswith(ANOTHER_TRY)]
    own = [line for line in counts.evidence if line not in before]
    line = f"{ANOTHER_TRY}{other.observed or other.trouble}"
    counts.evidence = [*own, *before, line]
    return counts


def _found_too_little(result: Result) -> bool:
    """Nothing where a way was predicted, or the relay where a direct one was, or no answer."""
    by_merit = (Way.DIRECT, Way.RELAYED, Way.FAILS, None)
    return by_merit.index(result.observed) > by_merit.index(result.cell.predicted.way)


def _connect(ground: Ground, field: Field, cells: Sequence[Cell]) -> Iterator[tuple[Cell, Result]]:
    began = time.time()
    pairs = {cell: field.hosts(cell) for cell in cells}
    try:
        connected = connect_by_ice(ground, list(pairs.values()))
    except _ERRORS as error:
        trouble = f"{type(error).__name__}: {error}"
        for cell in cells:
            yield cell, Result(cell, None, (), time.time() - began, trouble, began)
        return
    for cell, pair in pairs.items():
        found = connected[pair]
        observed = _WAYS[found.via] if found.via and not found.failure else Way.FAILS
        evidence = [*found.evidence, *([found.failure] if found.failure else [])]
        way, seconds = None if found.trouble else observed, time.time() - began
        yield cell, Result(cell, way, evidence, seconds, found.trouble, began, found.sockets)
