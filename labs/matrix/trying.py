"""All cells, tried in one network: several at a time, each with sockets of its own.

A port that is chosen at random is once in 64,512 times the one that was told, and then a hole opens
that could not be predicted. So such a cell is tried again.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from napt_lab.labs.capture.packets import show
from napt_lab.labs.capture.pcapng import join_pcapng
from napt_lab.labs.capture.wire import CaptureIncomplete, Wire
from napt_lab.labs.check.ground import Ground
from napt_lab.labs.check.outcome import CannotTell, Evidence, Unmet
from napt_lab.labs.check.punch_side import Side
from napt_lab.labs.check.punching import Attempt, attempt, sides
from napt_lab.labs.matrix.cell import Cell, Result
from napt_lab.labs.matrix.cell_packets import take_in
from napt_lab.labs.matrix.field import SERVER, Field
from napt_lab.labs.matrix.prediction import Way
from napt_lab.topologies.network.builder import Network
from napt_lab.topologies.spec.assertions import FIREWALL_REASONS, Protocol

AT_ONCE = 8  # cells
IN_ONE_CAPTURE = 360  # cells: a capture has room for 200,000 packets
TRIES = 3  # of a cell in which a port was the same by chance

Progress = Callable[[Result], None]


def try_all(
    net: Network, field: Field, cells: Sequence[Cell], folder: Path, progress: Progress
) -> Iterator[Result]:
    """Try cells of one method; their packets go to `capture-METHOD.pcapng`."""
    captures = []
    for start in range(0, len(cells), IN_ONE_CAPTURE):
        log_since = net.log.mark()
        with Wire(net) as wire:
            ground = Ground(net, wire)
            results = _try_some(ground, field, cells[start : start + IN_ONE_CAPTURE], progress)
            captures.append(folder / f".{start}.pcapng")
            wire.save(captures[-1])
            take_in(results, field, wire, net.log.since(log_since))
        yield from results
    join_pcapng(captures, folder / f"capture-{cells[0].method}.pcapng")
    for capture in captures:
        capture.unlink()


def _try_some(
    ground: Ground, field: Field, cells: Sequence[Cell], progress: Progress
) -> list[Result]:
    def work(cell: Cell) -> Result:
        result = _try_cell(ground, field, cell)
        progress(result)
        return result

    with ThreadPoolExecutor(AT_ONCE) as pool:
        try:
            return list(pool.map(work, cells))
        except BaseException:
            ground.stopped.set()
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _try_cell(ground: Ground, field: Field, cell: Cell) -> Result:
    began, evidence = time.time(), Evidence()
    hosts = field.host("a", cell.a), field.host("b", cell.b)
    for _ in range(TRIES):
        evidence.lines.clear()
        observed, trouble, sockets, by_chance = None, "", [], False
        try:
            with sides(ground, Protocol(cell.method.value), *hosts) as pair:
                sockets = [(side.node, show(side.local)) for side in pair]
                tried = attempt(*pair, evidence)
                observed = _way(tried)
                by_chance = _by_chance(cell, *pair)
        except (CannotTell, CaptureIncomplete, OSError, Unmet) as error:
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
