"""Questions that labs ask the wires again and again."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from napt_lab.labs.capture.packets import ACK, FIN, RST, SYN, UNREACHABLE, Packet
from napt_lab.labs.capture.wire import Captured, Wire
from napt_lab.labs.stage.stage import Stage

WAIT = 5.0  # seconds until a packet that must come has come


@dataclass(frozen=True, slots=True)
class Handshake:
    """The three packets that open a TCP connection (RFC 9293, section 3.5), at one place."""

    syn: Captured
    syn_ack: Captured
    ack: Captured

    @property
    def numbers(self) -> tuple[int | None, int | None]:
        """The two initial sequence numbers. One connection end to end has the same everywhere."""
        return self.syn.packet.sequence, self.syn_ack.packet.sequence

    @property
    def told(self) -> str:
        """The two numbers, and where they were seen."""
        syn, answer = self.numbers
        return f"{self.syn.where}: SYN seq {syn}, SYN ACK seq {answer}"


def is_syn_to(port: int, address: str | None = None) -> Callable[[Packet], bool]:
    """Whether a packet asks for a connection to `port` (of `address`)."""
    return lambda p: (
        p.is_tcp(flags=SYN)
        and p.destination_port == port
        and (address is None or p.destination == address)
    )


def is_unreachable(router: str, wanted: str) -> Callable[[Packet], bool]:
    """Whether with a packet `router` says that it cannot forward one for `wanted` (RFC 792)."""
    return lambda p: (
        p.icmp is not None
        and p.icmp[0] == UNREACHABLE
        and p.source == router
        and p.quoted is not None
        and p.quoted.destination == wanted
    )


def find_handshake(wire: Wire, where: str, port: int, since: int) -> Handshake:
    """The first handshake with `port` at `where`; DeadlinePassed if one of the three is missing."""
    syn = wire.wait_for(
        where, is_syn_to(port), deadline=WAIT, what=f"a SYN to port {port}", since=since
    )
    asked = syn.packet

    def answers(p: Packet) -> bool:
        return (
            p.is_tcp(flags=SYN | ACK)
            and (p.source, p.source_port) == (asked.destination, port)
            and (p.destination, p.destination_port) == (asked.source, asked.source_port)
        )

    def completes(p: Packet) -> bool:
        return (
            p.is_tcp(flags=ACK, among=SYN | ACK | FIN | RST)
            and (p.source, p.source_port) == (asked.source, asked.source_port)
            and (p.destination, p.destination_port) == (asked.destination, port)
        )

    syn_ack = wire.wait_for(where, answers, deadline=WAIT, what="its SYN-ACK", since=since)
    ack = wire.wait_for(where, completes, deadline=WAIT, what="the last ACK", since=since)
    return Handshake(syn, syn_ack, ack)


def journey(wire: Wire, sequence: int | None, port: int, since: int) -> list[Captured]:
    """Every place where the segment with data at `sequence`, to or from `port`, went, in order."""

    def is_it(p: Packet) -> bool:
        ports = (p.source_port, p.destination_port)
        return p.sequence == sequence and port in ports and p.payload > 0

    return wire.everywhere(lambda c: is_it(c.packet), since=since)


def way_of_syn(wire: Wire, where: str, port: int, address: str, since: int) -> list[Captured]:
    """The first SYN at `where` to an endpoint, and wherever else it was seen, in order.

    A NAPT and a router leave its sequence number as it is. Empty if there was none.
    """
    sent = wire.packets(where, is_syn_to(port, address), since=since)
    if not sent:
        return []
    number = sent[0].packet.sequence
    return wire.everywhere(
        lambda c: c.packet.is_tcp(flags=SYN) and c.packet.sequence == number, since=since
    )


def answer_where_it_ends(stage: Stage, where: str, port: int, address: str, since: int) -> None:
    """The step asks where a SYN ends: at the node where it was seen last."""
    for last in way_of_syn(stage.wire, where, port, address, since)[-1:]:
        stage.answer(last.where.partition(":")[0], f"last seen at {last.where}: {last.packet}")


def answer_from_whom(stage: Stage, where: str, port: int, address: str, since: int) -> None:
    """The step asks which source a SYN has in the end."""
    for last in way_of_syn(stage.wire, where, port, address, since)[-1:]:
        stage.answer(str(last.packet.source), f"{last.where}: {last.packet}")


def carries_or_opens(packet: Packet) -> bool:
    """Whether a packet could be part of something: not ARP, nor the end of an old connection."""
    is_bare_segment = packet.protocol == "tcp" and packet.payload == 0 and not packet.flags & SYN
    return packet.arp is None and not is_bare_segment


def connections(wire: Wire, where: str) -> set[frozenset[str]]:
    """The TCP connections of which `where` has seen anything so far, each by its two endpoints."""
    seen = wire.packets(where, lambda p: p.protocol == "tcp")
    return {frozenset((captured.packet.from_, captured.packet.to)) for captured in seen}


def is_new(known: set[frozenset[str]]) -> Callable[[Packet], bool]:
    """Whether a packet is of something new: TCP may repeat what is of `known` even now."""
    return lambda p: (
        carries_or_opens(p)
        and not (p.protocol == "tcp" and not p.flags & SYN and frozenset((p.from_, p.to)) in known)
    )


def sha256(path: Path) -> str:
    """The file's hash, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
