"""What nodes refuse, or let die without a report.

TCP resets, ICMP errors, packets that are not forwarded, neighbors that do not answer.

Theory of operation. Each node has a packet socket that sees all its interfaces. A filter in the
kernel lets through only what it sends as a RST (RFC 9293) or an ICMP error (RFC 792), so that it
costs nothing while others pass. A second one sees ARP (RFC 826): what was asked, and is not
answered. (The kernel's own table forgets it as soon as it holds many neighbors of any network of
the machine.) At a gateway that forwards no packets, a third one sees what arrives for another host.
The sockets' own buffers keep all that until `why` is typed. A packet that passes several nodes is
known again (labs/capture/identity.py): the first one sent it.
"""

from __future__ import annotations

import ctypes
import socket
import struct
import time
from collections import deque
from collections.abc import Callable, Hashable, Iterable, Iterator
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
_BOTH = (_INCOMING, _OUTGOING)
_FRAME = 256  # bytes that are read of each: the error and what it quotes
_ETH_P_ALL = 3
_SO_ATTACH_FILTER, _SO_TIMESTAMPNS = 26, 35
_TIMESPEC = struct.Struct("=qq")

# Classic BPF (bpf(4)), for IPv4 without options.
_LDH, _LDB, _JEQ, _JSET, _RET = 0x28, 0x30, 0x15, 0x45, 0x06
_REFUSALS = (
    (_LDH, 0, 0, 12), (_JEQ, 0, 11, 0x0800),
    (_LDB, 0, 0, 14), (_JEQ, 0, 9, 0x45),
    (_LDB, 0, 0, 23), (_JEQ, 0, 3, 1),
    (_LDB, 0, 0, 34), (_JEQ, 4, 0, 3), (_JEQ, 3, 4, 11),  # ICMP: unreachable, time exceeded
    (_JEQ, 0, 3, 6), (_LDB, 0, 0, 47), (_JSET, 0, 1, 4),  # TCP: RST
    (_RET, 0, 0, _FRAME), (_RET, 0, 0, 0),
)  # fmt: skip
_ARP = ((_LDH, 0, 0, 12), (_JEQ, 0, 1, 0x0806), (_RET, 0, 0, _FRAME), (_RET, 0, 0, 0))
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
        self._refusing = [_Socket(node, _REFUSALS, (_OUTGOING,), _is_refusal) for node in nodes]
        self._asking = [_Socket(node, _ARP, _BOTH, partial(_is_about, node)) for node in nodes]
        sites = topology.by_gateway()
        self._ending = [
            _Socket(node, _IPV4, (_INCOMING,), partial(_is_for_others, node, site.gateway.kind))
            for node in nodes
            if (site := sites.get(node.name)) is not None
            and site.gateway.kind in (GatewayKind.PROXY, GatewayKind.TRANSPARENT_PROXY)
        ]

    def refusals(self, since: float) -> list[Seen]:
        """RSTs and ICMP errors since then, each with the node that sent it first, in order."""
        firsts: dict[Hashable, Seen] = {}
        for key, seen in sorted(self._all(self._refusing), key=lambda entry: entry[1].time):
            firsts.setdefault(key, seen)
        return [seen for seen in firsts.values() if seen.time >= since]

    def not_forwarded(self, since: float) -> list[Seen]:
        """Packets that ended at a gateway, in order."""
        return [seen for _, seen in self._all(self._ending) if seen.time >= since]

    def unanswered(self, since: float) -> list[Seen]:
        """What each node asked its own networks for, the last time, and got no answer."""
        asked: dict[tuple[str, str | None], Seen] = {}
        for _, seen in self._all(self._asking):
            if seen.packet.arp == "who-has":
                asked[seen.node, seen.packet.destination] = seen
            else:
                asked.pop((seen.node, seen.packet.source), None)
        return [seen for seen in asked.values() if seen.time >= since]

    def close(self) -> None:
        for each in (*self._refusing, *self._asking, *self._ending):
            each.close()

    @staticmethod
    def _all(sockets: Iterable[_Socket]) -> Iterator[tuple[Hashable, Seen]]:
        for each in sockets:
            yield from each.read()


class _Socket:
    """What one node's packet socket has kept."""

    def __init__(
        self,
        node: Node,
        program: tuple[tuple[int, int, int, int], ...],
        directions: tuple[int, ...],
        matters: Callable[[Packet], bool],
    ) -> None:
        self._node = node.name
        self._socket = visit(node.pid, lambda: _open(program))
        self._directions = directions
        self._matters = matters
        self._kept: deque[tuple[Hashable, Seen]] = deque(maxlen=KEPT)

    def read(self) -> Iterator[tuple[Hashable, Seen]]:
        while True:
            try:
                data, ancillary, _, address = self._socket.recvmsg(_FRAME, 64)
            except BlockingIOError:
                yield from self._kept
                return
            stamps = [_TIMESPEC.unpack(v) for _, kind, v in ancillary if kind == _SO_TIMESTAMPNS]
            seconds, nanoseconds = stamps[0] if stamps else (int(time.time()), 0)
            packet = decode_frame(data)
            # What a node says to itself (lo) is no news. The filter came after the socket.
            if address[2] in self._directions and address[0] != "lo" and self._matters(packet):
                seen = Seen(seconds + nanoseconds / 1e9, self._node, packet)
                self._kept.append((identity(packet, ""), seen))

    def close(self) -> None:
        self._socket.close()


def _is_refusal(packet: Packet) -> bool:
    return packet.quoted is not None or bool(packet.protocol == "tcp" and packet.flags & 4)


def _is_about(node: Node, packet: Packet) -> bool:
    """Whether this is a question of the node, or the answer to one."""
    asks = packet.arp == "who-has"
    return (packet.source if asks else packet.destination) in _addresses(node)


def _addresses(node: Node) -> set[str]:
    return {str(address.ip) for port in node.ports for address in port.addresses}


def _is_for_others(node: Node, kind: GatewayKind, packet: Packet) -> bool:
    """Whether a packet is for none of the gateway's own addresses, nor for its proxy."""
    own = _addresses(node)
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
