"""The packets of some nodes, live, one line each, until Enter or Ctrl-C.

A packet that was already seen at another interface is recognized (identity.py): what has been
rewritten since is highlighted, and the line ends with the earlier endpoint. Below a packet that a
NAPT dropped stands the NAPT's own report (`why` says more).

tcpdump cannot be used: it changes to a user that does not exist in an ordinary user's sandbox.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import sys
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from operator import itemgetter

from rich.text import Text

from napt_lab.labs.capture.identity import SAME_SECONDS, endpoints, identity
from napt_lab.labs.capture.packets import decode_frame
from napt_lab.labs.capture.ring import Ring
from napt_lab.topologies.network.namespaces import visit
from napt_lab.topologies.network.napt_control import PROGRAM
from napt_lab.topologies.network.node import Node
from napt_lab.topologies.network.plan import Port
from napt_lab.topologies.network.processes import Event, EventLog
from napt_lab.topologies.network.programs import FIREWALL
from napt_lab.topologies.network.slow_links import PROGRAM as LINK

LINES_AT_ONCE = 100  # of one interface; a burst beyond that is only counted
ROUND_SECONDS = 0.1  # how often it looks whether the command has ended
LATE_SECONDS = 0.1  # after the command's end, for its last packets
INTERFACES = {"inside": "lan0", "outside": "wan0"}  # by which a NAPT's packets come in
REMEMBERED = 2000  # packets that may be known again
REWRITTEN = "bold black on yellow"
DROPPED = "bold red"


@dataclass(frozen=True, slots=True)
class Place:
    """An interface that is watched, and the label of its lines."""

    node: Node
    port: Port
    label: str


def places(nodes: Sequence[Node], interfaces: Sequence[str] = ()) -> list[Place]:
    """All interfaces of some nodes, or those named; labelled with the node's name if needed."""
    found = [
        (node, port)
        for node in nodes
        for port in node.ports
        if not interfaces or port.interface in interfaces
    ]
    labels = [p.interface if len(nodes) == 1 else f"{n.name}:{p.interface}" for n, p in found]
    width = max(map(len, labels), default=0)
    return [
        Place(node, port, label.ljust(width))
        for (node, port), label in zip(found, labels, strict=True)
    ]


def watch(
    where: Sequence[Place],
    log: EventLog,
    say: Callable[[Text], None],
    start: Callable[[], subprocess.Popen[bytes]] | None = None,
) -> int | None:
    """Print each packet that passes, and from `log` the drops, until Enter or Ctrl-C.

    `start` starts a command once the interfaces are watched, in a process group of its own; its
    end is the end of watching. Returns its exit status then, else None.
    """
    with contextlib.ExitStack() as stack:
        rings = [(place, stack.enter_context(contextlib.closing(_open(place)))) for place in where]
        teller, drops = Teller(time.time_ns(), say), _Drops(where, log)
        command = stack.enter_context(_ended(start())) if start is not None else None
        until = float("inf")
        try:
            while True:
                ended = command is not None and command.poll() is not None
                until = min(until, time.monotonic() + LATE_SECONDS) if ended else until
                wanted = [sys.stdin, *(ring for _, ring in rings)]
                ready, _, _ = select.select(wanted, [], [], ROUND_SECONDS)
                # Drops first: then the packets that they are about are in the rings.
                _tell(drops.read(), rings, teller)
                if sys.stdin in ready:
                    sys.stdin.readline()
                    return None
                if command is not None and time.monotonic() > until:
                    return command.returncode
        except KeyboardInterrupt:
            say(Text())  # the terminal has shown ^C, without a new line
            return None


def _open(place: Place) -> Ring:
    return visit(place.node.pid, partial(Ring, place.port.interface))


@contextlib.contextmanager
def _ended(command: subprocess.Popen[bytes]) -> Iterator[subprocess.Popen[bytes]]:
    """Kill the command and its children at the end of the block."""
    try:
        yield command
    finally:
        with contextlib.suppress(ProcessLookupError):  # it has ended, and all that it started
            os.killpg(command.pid, signal.SIGKILL)
        command.wait()


class _Drops:
    """Reports of packets that a NAPT, firewall or link dropped, by the interface there."""

    def __init__(self, where: Sequence[Place], log: EventLog) -> None:
        self._places: dict[tuple[str, str | None], Place] = {
            (place.node.name, place.port.interface): place for place in where
        }
        self._slow = {p.node.name: p.port.interface for p in where if p.port.link is not None}
        self._log = log
        self._mark = log.mark()

    def read(self) -> list[tuple[Place, Event]]:
        """Those since the last time."""
        events = self._log.since(self._mark)
        self._mark += len(events)
        reporters = (PROGRAM, FIREWALL, LINK)
        drops = [e for e in events if e.name == "drop" and e.program in reporters]
        came_in = [
            (event.node, INTERFACES.get(str(event.fields.get("side")), self._slow.get(event.node)))
            for event in drops
        ]
        return [
            (self._places[where], event)
            for where, event in zip(came_in, drops, strict=True)
            if where in self._places
        ]


def _tell(
    drops: Sequence[tuple[Place, Event]], rings: Sequence[tuple[Place, Ring]], teller: Teller
) -> None:
    """Print the packets in the rings and the drops, in the order of time."""
    seen: list[tuple[int, Callable[[], None]]] = []
    left_out = 0
    for number, (place, event) in enumerate(drops):
        if number < LINES_AT_ONCE:
            at = int(event.time * 1e9)
            seen.append((at, partial(teller.tell_drop, at, place, event)))
        else:
            left_out += 1
    for place, ring in rings:
        for number, (at, outgoing, _, data) in enumerate(ring.read()):
            if number < LINES_AT_ONCE:
                seen.append((at, partial(teller.tell, at, place, outgoing, data)))
            else:
                left_out += 1
    for _, tell in sorted(seen, key=itemgetter(0)):
        tell()
    if left_out:
        teller.say(Text(f"        … and {left_out:,} more, too fast to show"))


class Teller:
    """Makes a line of each packet, and remembers its endpoints."""

    def __init__(self, began: int, say: Callable[[Text], None]) -> None:
        """`began`, in ns since 1970, is when the times on the lines begin."""
        self.say = say
        self._began = began
        self._seen: OrderedDict[Hashable, tuple[int, tuple[str, str], bool, float]] = OrderedDict()

    def tell_drop(self, nanoseconds: int, place: Place, event: Event) -> None:
        """A packet that arrived at `place` and was dropped, or that its link lost."""
        line = self._begun(nanoseconds, place, "✗  ")
        line.append(f"{event.fields['packet']} ")
        did = "lost by the link" if event.program == LINK else "dropped"
        line.append(f"{did}: {event.fields['reason']}", style=DROPPED)
        self.say(line)

    def _begun(self, nanoseconds: int, place: Place, way: str) -> Text:
        seconds = (nanoseconds - self._began) / 1e9
        return Text(f"{seconds:7.3f} {place.label} {way} ")

    def tell(self, nanoseconds: int, place: Place, outgoing: bool, data: bytes) -> None:
        """One frame that passed `place`."""
        packet = decode_frame(data)
        line = self._begun(nanoseconds, place, "out" if outgoing else "in ")
        if packet.source is None or packet.arp is not None:
            line.append(str(packet))
            self.say(line)
            return
        now = endpoints(packet)
        # A retransmitted segment is seen twice at one place, and was not rewritten.
        key = identity(packet, place.port.segment)
        time_before, before, left, slow = self._seen.pop(key, (0, now, False, 0.0))
        here = place.port.link.longest if place.port.link is not None else 0.0
        if nanoseconds - time_before > (SAME_SECONDS + max(slow, here)) * 1e9:
            before, left = now, False
        on_the_wire = left and not outgoing and max(slow, here) > 0
        self._seen[key] = nanoseconds, now, outgoing, here
        if len(self._seen) > REMEMBERED:
            self._seen.popitem(last=False)
        words = Text(str(packet).partition("[about")[0].rstrip())
        for shown, was, is_ in zip((packet.from_, packet.to), before, now, strict=True):
            if was != is_:
                words.highlight_words([shown], REWRITTEN)
        line.append_text(words)
        changed = [was for was, is_ in zip(before, now, strict=True) if was != is_]
        if changed:
            line.append(f"  (was {' → '.join(changed)})", style="dim")
        if packet.quoted is not None:
            line.append(f" [about {packet.quoted}]")
        if on_the_wire:
            line.append(f"  {(nanoseconds - time_before) / 1e6:.1f} ms on the wire", style="dim")
        self.say(line)
