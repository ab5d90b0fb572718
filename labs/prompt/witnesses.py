"""What nodes refuse, or let die without a report.

TCP resets, ICMP errors, packets that are not forwarded, neighbors that do not answer.

Theory of operation. Each node has a packet socket that sees all its interfaces. A filter in the
kernel lets through only what it sends as a RST (RFC 9293) or an ICMP error (RFC 792), its own
questions to its networks and the answers (ARP, RFC 826), so that it costs nothing while others
pass. (The kernel's table of neighbors forgets who did not answer as soon as it holds many of any
network of the machine.) At a gateway that forwards no packets, a second socket sees what arrives
for another host. The sockets' own buffers keep all that until it is looked at: when a command
begins, and when `why` is typed. A packet that passes several nodes is known again
(labs/capture/identity.py): the first one sent it.
"""

from __future__ import annotations

import ctypes
import math
import socket
import struct
import time
from collections import deque
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass
from functools import partial

from napt_lab.labs.capture.identity import identity
from napt_lab.labs.capture.packets import Packet, decode_frame
from napt_lab.topologies.network.namespaces import visit
from napt_lab.topologies.network.node import Node
from napt_lab.topologies.network.programs import INTERCEPTED_PORT
from napt_lab.topologies.spec.model import GatewayKind, Topology

KEPT = 50
_INCOMING, _OUTGOING = 0, 4
_FRAME = 256  # bytes that are read of each: the error and what it quotes
_ETH_P_ALL = 3
_SO_ATTACH_FILTER, _SO_TIMESTAMPNS = 26, 35
_TIMESPEC = struct.Struct("=qq")

_SOL_PACKET, _PACKET_STATISTICS = 263, 6
_STATISTICS = struct.Struct("=II")  # packets, and those that were lost

# Classic BPF (bpf(4)): ARP, and IPv4 without options.
_LDH, _LDB, _JEQ, _JSET, _RET = 0x28, 0x30, 0x15, 0x45, 0x06
_DIRECTION = 0xFFFFF004  # where the kernel has it: SKF_AD_OFF + SKF_AD_PKTTYPE
_WITNESSED = (
    (_LDH, 0, 0, 12), (_JEQ, 0, 6, 0x0806),
    (_LDH, 0, 0, 20), (_JEQ, 0, 2, 1),
    (_LDB, 0, 0, _DIRECTION), (_JEQ, 13, 14, _OUTGOING),  # a question
    (_LDB, 0, 0, _DIRECTION), (_JEQ, 11, 12, _INCOMING),  # an answer
    (_JEQ, 0, 11, 0x0800),
    (_LDB, 0, 0, 14), (_JEQ, 0, 9, 0x45),
    (_LDB, 0, 0, 23), (_JEQ, 0, 3, 1),
    (_LDB, 0, 0, 34), (_JEQ, 4, 0, 3), (_JEQ, 3, 4, 11),  # ICMP: unreachable, time exceeded
    (_JEQ, 0, 3, 6), (_LDB, 0, 0, 47), (_JSET, 0, 1, 4),  # TCP: RST
    (_RET, 0, 0, _FRAME), (_RET, 0, 0, 0),
)  # fmt: skip
_IPV4 = ((_LDH, 0, 0, 12), (_JEQ, 0, 1, 0x0800), (_RET, 0, 0, _FRAME), (_RET, 0, 0, 0))


@dataclass(frozen=True, slots=True)
class Seen:
    """A packet that `node` sent, or that ended there, at `time` (seconds since 1970)."""

    time: float
    node: str
    packet: Packet


class Witnesses:
    """The last packets of these kinds, from now on."""

    def __init__(self, nodes: Iterable[Node], topology: Topology) -> None:
        nodes = list(nodes)
        self._witnessing = [_Socket(node, _WITNESSED, _OUTGOING, _is_refusal) for node in nodes]
        sites = topology.by_gateway()
        self._ending = [
            _Socket(node, _IPV4, _INCOMING, partial(_is_for_others, node, site.gateway.kind))
            for node in nodes
            if (site := sites.get(node.name)) is not None
            and site.gateway.kind in (GatewayKind.PROXY, GatewayKind.TRANSPARENT_PROXY)
        ]

    def look(self) -> None:
        """Read what the sockets hold. What comes to a full one is lost."""
        for each in (*self._witnessing, *self._ending):
            each.read()

    def refusals(self, since: float) -> list[Seen]:
        """RSTs and ICMP errors since then, each with the node that sent it first, in order."""
        firsts: dict[Hashable, Seen] = {}
        kept = (entry for each in self._witnessing for entry in each.kept)
        for key, seen in sorted(kept, key=lambda entry: entry[1].time):
            firsts.setdefault(key, seen)
        return [seen for seen in firsts.values() if seen.time >= since]

    def not_forwarded(self, since: float) -> list[Seen]:
        """Packets that ended at a gateway, in order."""
        return [seen for each in self._ending for _, seen in each.kept if seen.time >= since]

    def unanswered(self, since: float) -> list[Seen]:
        """What each node asked its own networks for, the last time, and got no answer; in order."""
        asked = [seen for each in self._witnessing for seen in each.asked.values()]
        return sorted((s for s in asked if s.time >= since), key=lambda seen: seen.time)

    def overrun(self, since: float) -> list[str]:
        """The nodes at which more packets came than could be kept."""
        sockets = (*self._witnessing, *self._ending)
        return sorted({each.node for each in sockets if each.lost_at >= since})

    def close(self) -> None:
        for each in (*self._witnessing, *self._ending):
            each.close()


class _Socket:
    """One node's packet socket, and what of it was kept.

    Of ARP it gets the node's own questions and the answers to them.
    """

    def __init__(
        self,
        node: Node,
        program: tuple[tuple[int, int, int, int], ...],
        direction: int,
        matters: Callable[[Packet], bool],
    ) -> None:
        self.node = node.name
        self._socket = visit(node.pid, lambda: _open(program))
        self._direction = direction
        self._matters = matters
        self.kept: deque[tuple[Hashable, Seen]] = deque(maxlen=KEPT)
        self.asked: dict[str | None, Seen] = {}
        self.lost_at = -math.inf  # when packets were lost, at the latest; seconds since 1970

    def read(self) -> None:
        """Keep what has come."""
        _, lost = _STATISTICS.unpack(
            self._socket.getsockopt(_SOL_PACKET, _PACKET_STATISTICS, _STATISTICS.size)
        )
        while True:
            try:
                data, ancillary, _, address = self._socket.recvmsg(_FRAME, 64)
            except BlockingIOError:
                break
            stamps = [_TIMESPEC.unpack(v) for _, kind, v in ancillary if kind == _SO_TIMESTAMPNS]
            seconds, nanoseconds = stamps[0] if stamps else (int(time.time()), 0)
            seen = Seen(seconds + nanoseconds / 1e9, self.node, packet := decode_frame(data))
            if address[0] == "lo":  # what a node says to itself is no news
                continue
            if packet.arp is not None:
                self._ask(seen)
            # The filter came after the socket.
            elif address[2] == self._direction and self._matters(packet):
                self.kept.append((identity(packet, ""), seen))
        if lost:
            self.lost_at = time.time()
            self.asked.clear()  # the answer may be among what was lost

    def _ask(self, seen: Seen) -> None:
        """Keep a question until its answer comes."""
        packet = seen.packet
        if packet.arp != "who-has":
            self.asked.pop(packet.source, None)
        elif packet.source not in (packet.destination, "0.0.0.0"):  # else it tells of itself
            self.asked.pop(packet.destination, None)
            self.asked[packet.destination] = seen
            if len(self.asked) > KEPT:
                del self.asked[next(iter(self.asked))]

    def close(self) -> None:
        self._socket.close()


def _is_refusal(packet: Packet) -> bool:
    return packet.quoted is not None or bool(packet.protocol == "tcp" and packet.flags & 4)


def _is_for_others(node: Node, kind: GatewayKind, packet: Packet) -> bool:
    """Whether a packet is for none of the gateway's own addresses, nor for its proxy."""
    own = {str(address.ip) for port in node.ports for address in port.addresses}
    intercepted = (
        kind is GatewayKind.TRANSPARENT_PROXY
        and packet.protocol == "tcp"
        and packet.destination_port == INTERCEPTED_PORT
    )
    return packet.arp is None and packet.source is not None and not (
        packet.destination in own or intercepted
    )  # fmt: skip


def _open(steps: tuple[tuple[int, int, int, int], ...]) -> socket.socket:
    sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ETH_P_ALL))
    program = b"".join(struct.pack("=HBBI", *step) for step in steps)
    buffer = ctypes.create_string_buffer(program)
    filter_ = struct.pack("HP", len(steps), ctypes.addressof(buffer))
    sock.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, filter_)
    sock.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
    sock.setblocking(False)
    return sock
