"""When each packet was sent that may be answered late: so an answer goes to its own command.

Theory of operation. A node learns only after some time that a host does not exist, and a client may
have given up by then. But an ICMP error quotes the packet that it answers (RFC 792), a RST that
refuses a connection acknowledges its SYN (RFC 9293), and a NAPT's report names the packet that it
dropped. So a packet socket on each node sees what the node sends, but of TCP only the SYNs: the
rest, most of all traffic, does not pass the filter. A SYN that is repeated counts as sent when it
was sent first: a command in the background may go on for long. What found the socket full has no
known time.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import NamedTuple, TypeVar

from napt_lab.labs.capture.identity import identity
from napt_lab.labs.capture.packets import ACK, ECHO, RST, SYN, Packet, decode_frame
from napt_lab.labs.prompt.packet_socket import (
    DIRECTION,
    JEQ,
    JSET,
    LDB,
    LDH,
    OUTGOING,
    RET,
    PacketSocket,
)

REMEMBERED = 5000  # packets
K = TypeVar("K")
_SNAP = 128  # bytes that are kept of each

# What the node sends by IPv4, but of TCP only SYNs.
SENT = (
    (LDB, 0, 0, DIRECTION), (JEQ, 0, 9, OUTGOING),
    (LDH, 0, 0, 12), (JEQ, 0, 7, 0x0800),
    (LDB, 0, 0, 23), (JEQ, 0, 4, 6),
    (LDB, 0, 0, 14), (JEQ, 0, 2, 0x45),  # with options TCP's flags are elsewhere
    (LDB, 0, 0, 47), (JSET, 0, 1, SYN),
    (RET, 0, 0, _SNAP), (RET, 0, 0, 0),
)  # fmt: skip


class Sending(NamedTuple):
    """A packet, by what all nodes up to the next NAPT see of it."""

    protocol: str
    source: str
    destination: str
    number: int  # 0: it has none


class Sent:
    """The packets that nodes have sent, from now on."""

    def __init__(self, sockets: Sequence[PacketSocket]) -> None:
        """`sockets`: one of each node, with the filter SENT."""
        self._sockets = sockets
        self._times: dict[Sending, float] = {}
        self._firsts: dict[Hashable, float] = {}  # of a packet with whatever endpoints
        self._syns: dict[tuple[str, str], float] = {}  # from one endpoint to another
        self._last: dict[str, float] = {}  # when each node sent a packet, at the latest

    def look(self) -> None:
        """Read what the sockets hold."""
        for each in self._sockets:
            for frame in each.read():
                if frame.direction == OUTGOING:  # the filter came after the socket
                    self._last[each.node] = frame.time
                    self._add(decode_frame(frame.data), frame.time)

    def when(self, packet: Packet) -> float | None:
        """When the packet was sent that this one answers, in seconds since 1970; None: unknown.

        Of a SYN, when it was sent first.
        """
        if packet.quoted is not None:
            return self._times.get(_sending(packet.quoted))
        if packet.is_tcp(flags=RST | ACK) and packet.sequence == 0:
            number = ((packet.acknowledgment or 0) - 1) & 0xFFFF_FFFF
            return self._times.get(Sending("tcp", packet.to, packet.from_, number))
        return self._times.get(_sending(packet)) if packet.is_tcp(flags=SYN) else None

    def when_reported(self, text: str) -> float | None:
        """When the SYN was sent of which a NAPT says `tcp SYN 10.0.0.7:4711 > 1.2.3.4:80`."""
        match text.split():
            case ["tcp", "SYN", source, ">", destination]:
                return self._syns.get((source, destination))
        return None

    def opened(self, packet: Packet) -> bool:
        """Whether the sender of a TCP segment is the one that has opened the connection."""
        return (packet.from_, packet.to) in self._syns

    def last_of(self, node: str) -> float:
        """When a node sent something, at the latest; 0 if it has not."""
        return self._last.get(node, 0.0)

    def _add(self, packet: Packet, time: float) -> None:
        if packet.source is None or (packet.protocol == "tcp" and packet.flags & ACK):
            return
        sending = _sending(packet)
        first = time
        if sending.number:  # else it may be another packet
            # A NAPT, or the node behind a slow link, sends it later; and a SYN may be repeated.
            key = identity(packet, "")
            first = min(time, self._times.get(sending, time), self._firsts.get(key, time))
            _remember(self._firsts, key, first)
        _remember(self._times, sending, first)
        if packet.protocol == "tcp":
            _remember(self._syns, (packet.from_, packet.to), first)


def _sending(packet: Packet) -> Sending:
    if packet.protocol == "tcp":
        number = packet.sequence or 0
    elif packet.icmp is not None and packet.icmp[0] == ECHO:
        number = packet.rest  # identifier and sequence number
    else:
        number = packet.identification  # 0 if it may not be fragmented (RFC 6864)
    return Sending(packet.protocol or "", packet.from_, packet.to, number)


def _remember(times: dict[K, float], key: K, time: float) -> None:
    times.pop(key, None)
    times[key] = time
    if len(times) > REMEMBERED:
        del times[next(iter(times))]
