"""One packet at every interface that it passed, and which kind of path it took.

Theory of operation. A NAPT rewrites addresses and ports, so these do not tell whether two
captures show the same packet. It does not change the sequence number of a TCP segment, nor a
random token in the data. The token also survives a node in between that ends the connection and
makes another one (a proxy); the sequence number does not, which tells the two apart. The path
follows from what was rewritten, and where:

    direct        the packet arrives at the address and port to which it was sent
    forwarded     nodes on the way rewrote these: NAPTs, by explicit rules
    hairpinned    … and at one of them the packet came in, and left, by its inside
    proxied       one connection ended at a node in between, and another one began there
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from napt_lab.labs.capture.packets import ACK, ECHO, SYN
from napt_lab.labs.capture.wire import Captured
from napt_lab.labs.check.ground import Ground
from napt_lab.labs.check.outcome import CannotTell
from napt_lab.topologies.spec.assertions import Via

Match = Callable[[Captured], bool]


@dataclass(frozen=True, slots=True)
class Trail:
    """The captures of one packet, in the order of time; empty if it was never sent."""

    seen: tuple[Captured, ...]

    def __bool__(self) -> bool:
        return bool(self.seen)

    @property
    def nodes(self) -> list[str]:
        """The nodes that it passed, each once."""
        return list(dict.fromkeys(node_of(captured) for captured in self.seen))

    def at(self, node: str, *, outgoing: bool) -> Captured | None:
        """The packet as it left `node`, or arrived there."""
        for captured in self.seen:
            if node_of(captured) == node and captured.outgoing is outgoing:
                return captured
        return None

    def __str__(self) -> str:
        return " → ".join(self.nodes)


def node_of(captured: Captured) -> str:
    """The node at whose interface a packet was captured."""
    return captured.where.partition(":")[0]


def is_syn(sequence: int) -> Match:
    """The segment that asks for a connection, with this sequence number."""
    return lambda c: c.packet.is_tcp(flags=SYN, among=SYN | ACK) and c.packet.sequence == sequence


def carries(token: bytes) -> Match:
    """A packet with the token in its data, but no ICMP error and no echo reply."""

    def match(captured: Captured) -> bool:
        packet = captured.packet
        is_other_icmp = packet.icmp is not None and packet.icmp[0] != ECHO
        return token in captured.data and not is_other_icmp

    return match


def follow(ground: Ground, match: Match, since: int) -> Trail:
    """Every place where a packet was seen since then.

    A bridge that has not yet learned an address floods the packet: those copies do not count.
    """
    seen = ground.wire.everywhere(match, since=since)
    return Trail(tuple(c for c in seen if c.outgoing or c.data[:6] == ground.mac(c.where)))


def classify(source: str, target: str, trail: Trail) -> tuple[Via, list[str], list[str]]:
    """Which kind of path a packet took from `source` to `target`.

    Also the nodes that made it so, and the evidence.
    """
    left, came = trail.at(source, outgoing=True), trail.at(target, outgoing=False)
    if left is None or came is None:
        raise CannotTell(f"the packet was not seen at both ends: {trail}")
    begin, end = left.packet, came.packet
    ends = [f"{left.where}: {begin}", f"{came.where}: {end}"]
    if begin.protocol == "tcp" and begin.sequence != end.sequence:
        between = _who_began_anew(trail, source)
        words = f"two connections (sequence numbers {begin.sequence} and {end.sequence})"
        told = f"{words}: {between} ended one and made the other"
        return Via.PROXIED, [between], [*ends, told]
    rewritten, forwarders, hairpinners = [], [], []
    for node in trail.nodes:
        came_in, went_out = trail.at(node, outgoing=False), trail.at(node, outgoing=True)
        if came_in is None or went_out is None:
            continue
        before, after = came_in.packet, went_out.packet
        rewritten += [
            f"{node} rewrote {was} to {is_}: in by {came_in.where}, out by {went_out.where}"
            for was, is_ in ((before.from_, after.from_), (before.to, after.to))
            if was != is_
        ]
        if before.to != after.to:
            forwarders.append(node)
            if came_in.where == went_out.where == f"{node}:lan0":
                hairpinners.append(node)
    if (begin.destination, begin.destination_port) == (end.destination, end.destination_port):
        direct = f"it arrived at the address that it was sent to, {end.to}"
        return Via.DIRECT, [], [*ends, *rewritten, direct]
    if hairpinners:
        return Via.HAIRPINNED, hairpinners, [*ends, *rewritten]
    return Via.FORWARDED, forwarders, [*ends, *rewritten]


def way_between(ground: Ground, source: str, target: str, trail: Trail) -> Via:
    """Direct, relayed or hairpinned: how two peers' data went, whatever NAPTs rewrote.

    Relayed by a host that received the data and sent it on; hairpinned by a NAPT at which it came
    in, and left, by the inside. CannotTell if it was not seen at both ends.
    """
    if trail.at(source, outgoing=True) is None or trail.at(target, outgoing=False) is None:
        raise CannotTell(f"the data was not seen at both ends: {trail}")
    for node in trail.nodes:
        came, left = trail.at(node, outgoing=False), trail.at(node, outgoing=True)
        if node in (source, target) or came is None or left is None:
            continue
        if ground.host(node) is not None:
            return Via.RELAYED
        if came.where == left.where == f"{node}:lan0":
            return Via.HAIRPINNED
    return Via.DIRECT


def _who_began_anew(trail: Trail, source: str) -> str:
    """The node that passed the data on in a connection of its own."""
    first = trail.at(source, outgoing=True)
    for captured in trail.seen:
        if first is not None and captured.packet.sequence != first.packet.sequence:
            return node_of(captured)
    return source
