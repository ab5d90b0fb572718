"""Two programs of the user's, at the two hosts of a cell: whether they succeed, and by which way.

Theory of operation. Both commands run in the user's folder and environment, with a few variables
more that tell them where the servers are and which pair they belong to. They succeed if both end
with status 0. The way is seen on the wires, whatever the programs are. What comes to a host from an
address that no public host has is direct. What comes from a public host is relayed if a piece of it
had left the other host before. The way with more bytes counts, for probes and signaling are few.
What is encrypted between a host and a relay (TURN over TLS) is not recognized, nor is a relayed
packet of less than 16 bytes. If nothing at all is recognized, the cell could not be tried. The
same holds if data came directly in one direction only, nothing is recognized as relayed, and more
bytes came from public hosts: the direct data may be probes of programs that found no direct way.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from napt_lab.labs.capture.wire import Captured
from napt_lab.labs.check.ground import Ground
from napt_lab.labs.check.outcome import CannotTell
from napt_lab.labs.matrix.cell import Cell, Result
from napt_lab.labs.matrix.field import (
    RENDEZVOUS,
    RENDEZVOUS_ADDRESS,
    SERVER_ADDRESS,
    TURN_PASSWORD,
    TURN_USER,
    Field,
)
from napt_lab.labs.matrix.prediction import Way
from napt_lab.labs.matrix.trying import side_by_side
from napt_lab.labs.running.run_in import environment
from napt_lab.topologies.network.builder import Network
from napt_lab.topologies.network.node import Node
from napt_lab.topologies.network.processes import Command

TURN_PORT = 3478  # of STUN, too
PIECE = 16  # bytes by which relayed data is known again
LOOKED_AT = 500  # packets of a host
LINES = 5  # of each program's output, as evidence
AT_ONCE = 4  # cells: programs may be heavy
POLL = 0.05  # seconds between two looks whether a program has ended
PUBLIC = {SERVER_ADDRESS, RENDEZVOUS_ADDRESS}


@dataclass(frozen=True, slots=True)
class Commands:
    """What the user wants to run: command lines for a shell. Times in seconds."""

    a: str
    b: str
    server: str | None = None
    ready: str | None = None  # part of a line that the server prints when it serves
    timeout: float = 30.0

    def start_server(self, net: Network) -> Command | None:
        """Start it, and wait until it serves. Raises ProgramEnded, DeadlinePassed."""
        if self.server is None:
            return None
        server = _start(net[RENDEZVOUS], self.server, {}, self.ready)
        server.await_ready(self.timeout)
        return server

    def run(self, ground: Ground, pair: tuple[str, str]) -> tuple[bool, list[str]]:
        """Run both on their hosts: whether they succeeded, and the end of what they said."""
        more = {
            "NAPT_PAIR": "-".join(pair),
            "NAPT_STUN": f"{SERVER_ADDRESS}:{TURN_PORT}",
            "NAPT_TURN": f"{SERVER_ADDRESS}:{TURN_PORT}",
            "NAPT_TURN_USER": TURN_USER,
            "NAPT_TURN_PASSWORD": TURN_PASSWORD,
        }
        programs = [
            _start(ground.net[node], command, more)
            for node, command in zip(pair, (self.a, self.b), strict=True)
        ]
        end = time.monotonic() + self.timeout
        while any(program.running for program in programs) and time.monotonic() < end:
            if ground.stopped.is_set() or any(program.status for program in programs):
                break  # without one, the other would wait until the time is up
            programs[0].ends_within(POLL)
            programs[1].ends_within(POLL)
        statuses = [program.status for program in programs]
        evidence: list[str] = []
        for program, status in zip(programs, statuses, strict=True):
            program.kill()  # also what it has started
            program.await_end()
            how = "was still running" if status is None else f"status {status}"
            evidence += [f"{program.node}: {how}"]
            evidence += [
                f"{program.node}: {line}" for line in program.last_words().splitlines()[-LINES:]
            ]
        return statuses == [0, 0], evidence


def try_programs(
    commands: Commands,
    server: Command | None,
    ground: Ground,
    field: Field,
    cells: Sequence[Cell],
    progress: Callable[[Result], None],
) -> list[Result]:
    """Run them for each cell, a few at a time; no host may be in two of the cells."""
    try_one = partial(_try_cell, commands, server, ground, field)
    return side_by_side(ground, try_one, cells, progress, AT_ONCE)


def _try_cell(
    commands: Commands, server: Command | None, ground: Ground, field: Field, cell: Cell
) -> Result:
    pair, began = field.hosts(cell), time.time()
    good, evidence = commands.run(ground, pair)
    ended, observed, trouble = time.time(), Way.FAILS, ""
    if good:
        try:
            observed, told = _way(ground, pair, int(began * 1e9), int(ended * 1e9))
            evidence.append(told)
        except CannotTell as error:
            trouble = str(error)
    elif server is not None:
        trouble = server.obituary() or ""
    sockets = [(node, "") for node in pair]
    way = None if trouble else observed
    return Result(cell, way, evidence, ended - began, trouble, began, sockets)


def _start(node: Node, command: str, more: Mapping[str, str], ready: str | None = None) -> Command:
    own = {"PYTHONUNBUFFERED": "1", "NAPT_SERVER": RENDEZVOUS_ADDRESS, **more}
    return node.start(
        ["sh", "-c", command],
        folder=Path.cwd(),
        environment={**environment(node, os.environ), **own},
        name=command.split()[0],
        ready=ready,
    )


def _way(ground: Ground, pair: tuple[str, str], began: int, ended: int) -> tuple[Way, str]:
    """By which way the data of two hosts went within that time (ns since 1970), and the bytes.

    CannotTell if no data of theirs was seen to arrive, or only what may be probes.
    """
    sent, came = {}, {}
    for node in pair:
        mine = [
            captured
            for captured in ground.wire.packets(f"{node}:eth0", lambda packet: packet.payload > 0)
            if began <= captured.nanoseconds <= ended
        ]
        sent[node] = {
            piece
            for captured in mine[:LOOKED_AT]
            if captured.outgoing and captured.packet.destination in PUBLIC
            for piece in _pieces(captured)
        }
        came[node] = [captured for captured in mine if not captured.outgoing]
    direct = [sum(c.packet.payload for c in came[node] if not _is_public(c)) for node in pair]
    relayed = unrecognized = 0
    for node, other in (pair, pair[::-1]):
        for captured in filter(_is_public, came[node]):
            if _middle(captured) in sent[other]:
                relayed += captured.packet.payload
            else:
                unrecognized += captured.packet.payload
    if not any(direct) and not relayed:
        raise CannotTell(
            f"both programs ended with status 0, but no data from {pair[0]} was seen to reach "
            f"{pair[1]}, nor the other way round; let them send each other 16 bytes or more, "
            "not encrypted for a relay, before they end"
        )
    if not relayed and not all(direct) and unrecognized > sum(direct):
        raise CannotTell(
            f"the way of the data is not known: {sum(direct):,} bytes came directly, in one "
            f"direction only, and {unrecognized:,} bytes came from public hosts, perhaps relayed; "
            "let the programs send more to each other, not encrypted for a relay"
        )
    told = f"{sum(direct):,} bytes came directly, {relayed:,} were relayed"
    # Beside relayed data, what comes directly in one direction only is probes.
    by_relay = relayed and not (all(direct) and sum(direct) > relayed)
    return (Way.RELAYED if by_relay else Way.DIRECT), told


def _is_public(captured: Captured) -> bool:
    return captured.packet.source in PUBLIC


def _pieces(captured: Captured) -> Iterator[bytes]:
    """Every piece of a packet's data, as far as it was captured."""
    data = captured.packet.data
    return (data[at : at + PIECE] for at in range(len(data) - PIECE + 1))


def _middle(captured: Captured) -> bytes:
    """One piece that is not of a header."""
    data = captured.packet.data
    at = max(0, len(data) - PIECE) // 2
    return data[at : at + PIECE]
