"""What routers say about packets that they could not forward: ICMP errors (RFC 792).

Theory of operation. One packet socket in the router's namespace sees all its interfaces; a filter
in the kernel lets only ICMP errors through that it sends, so that it costs nothing while others
pass. The socket's own buffer keeps them until somebody asks `why`.
"""

from __future__ import annotations

import ctypes
import socket
import struct
import time
from collections import deque
from dataclasses import dataclass

from napt_lab.labs.capture.packets import Packet, decode_frame
from napt_lab.topologies.network.namespaces import visit
from napt_lab.topologies.network.node import Node

KEPT = 50
_OUTGOING = 4
_FRAME = 256  # bytes that are read of each: the error and what it quotes
_ETH_P_ALL = 3
_SO_ATTACH_FILTER, _SO_TIMESTAMPNS = 26, 35
_TIMESPEC = struct.Struct("=qq")

# Classic BPF (bpf(4)): IPv4, protocol ICMP, header without options, type 3 or 11.
_LDH, _LDB, _JEQ, _RET = 0x28, 0x30, 0x15, 0x06
_PROGRAM = (
    (_LDH, 0, 0, 12), (_JEQ, 0, 8, 0x0800),
    (_LDB, 0, 0, 23), (_JEQ, 0, 6, 1),
    (_LDB, 0, 0, 14), (_JEQ, 0, 4, 0x45),
    (_LDB, 0, 0, 34), (_JEQ, 1, 0, 3), (_JEQ, 0, 1, 11),
    (_RET, 0, 0, _FRAME), (_RET, 0, 0, 0),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Refusal:
    """An ICMP error, sent at `time` (seconds since 1970)."""

    time: float
    packet: Packet


class Refusals:
    """The last ICMP errors that `node` sent, from now on."""

    def __init__(self, node: Node) -> None:
        self.node = node.name
        self._socket = visit(node.pid, _open)
        self._kept: deque[Refusal] = deque(maxlen=KEPT)

    def last(self) -> list[Refusal]:
        """The newest, in the order in which they were sent."""
        while True:
            try:
                data, ancillary, _, address = self._socket.recvmsg(_FRAME, 64)
            except BlockingIOError:
                return list(self._kept)
            stamps = [_TIMESPEC.unpack(v) for _, kind, v in ancillary if kind == _SO_TIMESTAMPNS]
            seconds, nanoseconds = stamps[0] if stamps else (int(time.time()), 0)
            packet = decode_frame(data)
            if address[2] == _OUTGOING and packet.quoted is not None:  # the filter came later
                self._kept.append(Refusal(seconds + nanoseconds / 1e9, packet))

    def close(self) -> None:
        self._socket.close()


def _open() -> socket.socket:
    sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ETH_P_ALL))
    program = b"".join(struct.pack("=HBBI", *step) for step in _PROGRAM)
    buffer = ctypes.create_string_buffer(program)
    filter_ = struct.pack("HP", len(_PROGRAM), ctypes.addressof(buffer))
    sock.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, filter_)
    sock.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
    sock.setblocking(False)
    return sock
