"""Two hosts that punch a hole: what each of them is told, and their tries in turns (RFC 5128).

Theory of operation. A public node tells each side from which external endpoint its packets come,
as a STUN server does. Then the sides send in turns, each to the endpoint that the other was told.
The first packet of all comes too early, and the other side's NAPT drops it. It was worth sending:
it has opened its own NAPT for what the other side sends. So from the second turn on, what is
dropped is dropped because of how the NAPTs map and filter, and a few tries settle it. No try waits
for a time to pass if a node reports the drop.

udp_side.py sends datagrams, tcp_side.py opens connections.
"""

from __future__ import annotations

import socket
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from ipaddress import IPv4Address
from typing import ClassVar

from napt_lab.labs.capture.packets import Endpoint, show
from napt_lab.labs.check.diagnosis import End, diagnose
from napt_lab.labs.check.drops import dropped
from napt_lab.labs.check.ground import Ground
from napt_lab.labs.check.probes import Prober, Tried
from napt_lab.labs.check.trail import Trail
from napt_lab.topologies.network.namespaces import visit

TURNS = 4  # of each side: the second one settles it, unless a packet is lost
PATIENCE = 1.5  # seconds until it is known what became of a packet
POLL = 0.02  # seconds between two looks at what nodes report

Place = tuple[str, str]  # a public node, and its address


class NotTold(Exception):
    """A side got no answer to its question from which endpoint its packets come."""

    def __init__(self, end: End) -> None:
        super().__init__(str(end))
        self.end = end


class Side(ABC):
    """One of the two hosts, with its sockets; `told` is its external endpoint."""

    settles_at: ClassVar[int] = 0
    """The turn from which on a loss may be why all tries have failed."""

    def __init__(self, ground: Ground, node: str, place: Place, sockets: ExitStack) -> None:
        self.ground = ground
        self.node = node
        self.place = place
        self.prober = Prober(ground, node, PATIENCE)
        self.told: Endpoint = ("", 0)
        self.tried: Tried | None = None  # its latest packet to the endpoint that the other was told
        self.through: Tried | None = None  # what the other side has got from it
        self.settled_since = 0  # in the log: a loss since then may be why the tries have failed
        self._sockets = sockets

    @property
    @abstractmethod
    def local(self) -> Endpoint:
        """The endpoint of its sockets on the host itself."""

    @abstractmethod
    def ask(self) -> None:
        """Be told the external endpoint. Raises NotTold."""

    @abstractmethod
    def call(self, peer: Side) -> None:
        """Try to reach the other side once, and find out what came of it."""

    @abstractmethod
    def still_answered(self) -> bool:
        """Whether the public node still answers on the same port: the control of a failure."""

    def trail(self, tried: Tried) -> Trail:
        """Where a packet was seen, or the data on a connection if there is some."""
        tried = self._found(tried)
        return self.prober.trail(tried.payload or tried.opening)

    def sources(self) -> set[Endpoint]:
        """The external endpoints from which its latest packet to the other was seen."""
        seen = self.trail(self.tried).seen if self.tried else ()
        return {c.packet.sender for c in seen if c.packet.source == self.told[0]}

    def end(self, peer: Side) -> End:
        """Where the latest packet to the endpoint that the other was told ended, and why."""
        assert self.tried is not None
        return self._end_of(self.tried, peer.told)

    def _end_of(self, tried: Tried, to: Endpoint) -> End:
        return diagnose(self.prober, self._found(tried), IPv4Address(to[0]))

    def _found(self, tried: Tried) -> Tried:
        """A packet, with what finds it on the wires."""
        return tried

    def _open(self, node: str, make: Callable[[], socket.socket]) -> socket.socket:
        return self._sockets.enter_context(visit(self.ground.net[node].pid, make))

    def _moments(self) -> Iterator[None]:
        """The time until it must be known what became of a packet, in pieces."""
        end = time.monotonic() + PATIENCE + self.ground.slowness
        while time.monotonic() < end and not self.ground.stopped.is_set():
            yield

    def _is_dead(self, tried: Tried, to: Endpoint) -> bool:
        """Whether a node has reported since the turn began that it dropped a packet to there."""
        log_since = self.prober.log_since
        drops = [e for e in self.ground.net.log.since(log_since) if e.name == "drop"]
        if any(str(event.fields["packet"]).endswith(f"> {show(to)}") for event in drops):
            return True
        # Behind a carrier the packet has another destination.
        return bool(drops) and dropped(self.ground, self.trail(tried), log_since) is not None


def punch(one: Side, other: Side) -> bool:
    """Try in turns; whether each side has heard the other."""
    for turn in range(TURNS):
        if turn == one.settles_at:
            one.settled_since = other.settled_since = one.ground.net.log.mark()
        for side, peer in ((one, other), (other, one)):
            side.prober.log_since = side.ground.net.log.mark()
            side.call(peer)
            if one.through and other.through:
                return True
    return False
