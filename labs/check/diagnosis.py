"""Where a packet ended, and why.

Theory of operation. A node that stops a packet leaves a sign. The signs are looked for in this
order: the translator's own report of a drop; a TCP RST in answer; an ARP request (RFC 826) without
an answer; an ICMP error that quotes the packet (RFC 792). Without a sign, the reason follows from
the last interface where the packet was seen.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from ipaddress import IPv4Address

from napt_lab.labs.capture.packets import ACK, RST, SYN, UNREACHABLE
from napt_lab.labs.capture.wire import Captured
from napt_lab.labs.check.drops import by_chance, drop_at, dropped, lost, lost_frame
from napt_lab.labs.check.probes import Prober, Tried
from napt_lab.labs.check.trail import Match, Trail, node_of
from napt_lab.topologies.network.processes import Event

PORT_CODE = 3  # of ICMP destination unreachable
PROHIBITED_CODES = (9, 10, 13)
NO_WAY = ("route", "unreachable", "couldn't connect")  # words for a packet that is not sent
ARP_NANOSECONDS = 1_000_000_000  # a question that is still open may be another try's


@dataclass(frozen=True, slots=True)
class End:
    """Where a packet ended and why, with what shows it."""

    reason: str
    node: str
    evidence: tuple[str, ...]
    by_chance: bool = False  # another packet may not end there

    def __str__(self) -> str:
        return f"{self.reason} at {self.node}"


def diagnose(prober: Prober, tried: Tried, address: IPv4Address) -> End:
    """Why the try to reach `address` was not answered."""
    trail = prober.trail(tried.opening)
    way = f"the first packet went {trail}" if trail else f"nothing left {prober.source}"
    for end in _signs(prober, tried, trail, address):
        return replace(end, evidence=(way, *end.evidence))
    raise AssertionError("the last sign is always there")


def _signs(prober: Prober, tried: Tried, trail: Trail, address: IPv4Address) -> Iterator[End]:
    ground, log_since = prober.ground, prober.log_since
    error = _icmp_error(prober, tried)
    reset = _reset(prober, tried)
    drop = dropped(ground, trail, log_since)
    if drop is None and reset is None and (node := _silent_node(trail, error)):
        drop = drop_at(ground, node, trail, log_since)
    if drop is not None:
        yield _drop(drop)
    if reset is not None:
        yield _said(reset, "refused")
    if (question := _open_question(prober, tried, trail, address)) is not None:
        words = f"{question.where}: {question.packet}: no answer"
        asked = ground.holder(IPv4Address(str(question.packet.destination)), prober.source)
        if (loss := lost_frame(ground, (node_of(question), asked), log_since)) is not None:
            yield _lost(loss, words)
        yield End("no-neighbor", node_of(question), (words,))
    if error is not None and error.packet.icmp is not None:
        kind, code = error.packet.icmp
        if kind == UNREACHABLE and code == PORT_CODE:
            yield _said(error, "refused")
        elif kind == UNREACHABLE:
            yield _said(error, "prohibited" if code in PROHIBITED_CODES else "no-route")
    if (loss := lost(ground, trail, log_since)) is not None:
        yield _lost(loss)
    yield _last_place(prober, tried, trail)


def _silent_node(trail: Trail, error: Captured | None) -> str | None:
    """The node that has stopped the packet and may still report a drop."""
    if error is not None:
        of_a_socket = error.packet.icmp == (UNREACHABLE, PORT_CODE)
        return None if of_a_socket else node_of(error)
    return node_of(trail.seen[-1]) if trail and not trail.seen[-1].outgoing else None


def _drop(event: Event) -> End:
    words = f"{event.node} dropped {event.fields['packet']}: {event.fields['meaning']}"
    return End(str(event.fields["reason"]), event.node, (words,))


def _lost(event: Event, *words: str) -> End:
    told = f"the link of {event.node} lost {event.fields['packet']}: {event.fields['meaning']}"
    return End(str(event.fields["reason"]), event.node, (*words, told), by_chance(event))


def _said(captured: Captured, reason: str) -> End:
    return End(reason, node_of(captured), (f"{captured.where}: {captured.packet}",))


def _reset(prober: Prober, tried: Tried) -> Captured | None:
    """The first sight of a RST that acknowledges the SYN (RFC 9293, section 3.5.2)."""
    if tried.sequence is None:
        return None
    wanted = (tried.sequence + 1) % (1 << 32)
    return _first(
        prober, lambda c: bool(c.packet.flags & RST) and c.packet.acknowledgment == wanted
    )


def _icmp_error(prober: Prober, tried: Tried) -> Captured | None:
    """The first sight of an ICMP error about the packet."""

    def is_about(captured: Captured) -> bool:
        quoted = captured.packet.quoted
        if quoted is None:
            return False
        if quoted.protocol == "tcp":
            return tried.sequence is not None and quoted.sequence == tried.sequence
        return tried.token in captured.data

    return _first(prober, is_about)


def _open_question(
    prober: Prober, tried: Tried, trail: Trail, address: IPv4Address
) -> Captured | None:
    """An ARP request of the last node on the packet's way that was not answered."""
    node, wanted = prober.source, {str(address)}
    if trail:
        node = node_of(trail.seen[-1])
        wanted.add(str(trail.seen[-1].packet.destination))
    hop = prober.ground.next_hop(node)
    wanted |= {str(hop.address)} if hop is not None else set()
    start = tried.began - ARP_NANOSECONDS
    of_arp = prober.ground.wire.everywhere(
        lambda c: c.packet.arp is not None and node_of(c) == node and c.nanoseconds > start
    )
    answered = {c.packet.source for c in of_arp if c.packet.arp == "is-at" and not c.outgoing}
    for captured in of_arp:
        packet = captured.packet
        if (
            captured.outgoing
            and packet.arp == "who-has"
            and packet.destination in wanted - answered
        ):
            return captured
    return None


def _last_place(prober: Prober, tried: Tried, trail: Trail) -> End:
    if not trail:
        refused = any(word in tried.words.lower() for word in NO_WAY)
        reason = "no-route" if refused else "no-answer"
        return End(reason, prober.source, (f"{prober.source}: {tried.words}",))
    last = trail.seen[-1]
    node, to = node_of(last), last.packet.destination
    words = f"last seen at {last.where}: {last.packet}"
    if last.outgoing:
        return End("no-answer", node, (f"{words}; it left, and arrived nowhere",))
    if prober.ground.holder(IPv4Address(str(to)), node) != node:
        return End("not-forwarded", node, (f"{words}; {node} neither forwarded it nor answered",))
    return End("no-answer", node, (f"{words}; it arrived, and {_what_then(prober, tried)}",))


def _what_then(prober: Prober, tried: Tried) -> str:
    """What became of a connection whose SYN arrived."""
    if tried.sequence is not None:
        wanted = (tried.sequence + 1) % (1 << 32)
        answer = _first(
            prober,
            lambda c: c.packet.is_tcp(flags=SYN | ACK) and c.packet.acknowledgment == wanted,
        )
        if answer is not None:
            return f"{node_of(answer)} answered it; {tried.words}"
    return tried.words


def _first(prober: Prober, is_it: Match) -> Captured | None:
    return next(iter(prober.ground.wire.everywhere(is_it, since=prober.since)), None)
