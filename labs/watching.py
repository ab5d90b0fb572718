"""The packets of some nodes, live: one line each, until somebody has seen enough.

A packet that was seen before, at the other side of a NAPT, is known again (labs/identity.py): what
has been rewritten since is highlighted, and the line ends with what it was.

tcpdump would do as well, but it gives its rights away by changing to a user that does not exist
in an ordinary user's sandbox. So this reads the interfaces as the labs' own capture does.
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

from rich.text import Text

from labs.identity import SAME_SECONDS, endpoints, identity
from labs.packets import decode_frame
from labs.ring import Ring
from topologies.namespaces import visit
from topologies.node import Node
from topologies.plan import Port

LINES_AT_ONCE = 100  # of one interface; a burst beyond that is only counted
ROUND_SECONDS = 0.1  # how often it looks whether the command has ended
REMEMBERED = 2000  # packets that may be known again
REWRITTEN = "bold black on yellow"


@dataclass(frozen=True, slots=True)
class Place:
    """An interface that is watched, and what its lines begin with."""

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
    say: Callable[[Text], None],
    start: Callable[[], subprocess.Popen[bytes]] | None = None,
) -> None:
    """Say each packet that passes until Enter is typed or Ctrl-C.

    `start` starts a command once the interfaces are watched, in a process group of its own; its
    end is the end of watching.
    """
    with contextlib.ExitStack() as stack:
        rings = [(place, stack.enter_context(contextlib.closing(_open(place)))) for place in where]
        teller = Teller(time.time_ns(), say)
        command = stack.enter_context(_ended(start())) if start is not None else None
        try:
            while True:
                # Asked before reading: what passed before its end is in the rings then.
                ended = command is not None and command.poll() is not None
                wanted = [sys.stdin, *(ring for _, ring in rings)]
                ready, _, _ = select.select(wanted, [], [], ROUND_SECONDS)
                _tell(rings, teller)
                if sys.stdin in ready:
                    sys.stdin.readline()
                    return
                if ended:
                    return
        except KeyboardInterrupt:
            say(Text())  # the terminal has shown ^C, without a new line


def _open(place: Place) -> Ring:
    return visit(place.node.pid, partial(Ring, place.port.interface))


@contextlib.contextmanager
def _ended(command: subprocess.Popen[bytes]) -> Iterator[subprocess.Popen[bytes]]:
    """Whatever happens, nothing of the command outlives this."""
    try:
        yield command
    finally:
        with contextlib.suppress(ProcessLookupError):  # it has ended, and all that it started
            os.killpg(command.pid, signal.SIGKILL)
        command.wait()


def _tell(rings: Sequence[tuple[Place, Ring]], teller: Teller) -> None:
    """Say what is in the rings, in the order in which it passed."""
    seen = []
    left_out = 0
    for index, (_, ring) in enumerate(rings):
        for number, (nanoseconds, outgoing, _, data) in enumerate(ring.read()):
            if number < LINES_AT_ONCE:
                seen.append((nanoseconds, index, outgoing, data))
            else:
                left_out += 1
    for nanoseconds, index, outgoing, data in sorted(seen):
        teller.tell(nanoseconds, rings[index][0], outgoing, data)
    if left_out:
        teller.say(Text(f"        … and {left_out:,} more, too fast to show"))


class Teller:
    """Makes a line of each packet, and remembers what it looked like."""

    def __init__(self, began: int, say: Callable[[Text], None]) -> None:
        """`began`, in ns since 1970, is when the times on the lines begin."""
        self.say = say
        self._began = began
        self._seen: OrderedDict[Hashable, tuple[int, tuple[str, str]]] = OrderedDict()

    def tell(self, nanoseconds: int, place: Place, outgoing: bool, data: bytes) -> None:
        """One frame that passed `place`."""
        packet = decode_frame(data)
        way = "out" if outgoing else "in "
        seconds = (nanoseconds - self._began) / 1e9
        line = Text(f"{seconds:7.3f} {place.label} {way} ")
        if packet.source is None or packet.arp is not None:
            line.append(str(packet))
            self.say(line)
            return
        now = endpoints(packet, data)
        # What is sent twice (TCP does) is seen twice at one place, and was not rewritten.
        key = identity(packet, data, place.port.segment)
        time_before, before = self._seen.pop(key, (0, now))
        if nanoseconds - time_before > SAME_SECONDS * 1e9:
            before = now
        self._seen[key] = nanoseconds, now
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
        self.say(line)
