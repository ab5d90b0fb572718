"""A packet socket of a node: what its filter lets through waits in the kernel until it is read.

The filter is classic BPF (bpf(4)). What it leaves out costs next to nothing, and so does what finds
the buffer full.
"""

from __future__ import annotations

import ctypes
import socket
import struct
import time
from collections.abc import Iterator
from dataclasses import dataclass

from napt_lab.topologies.network.namespaces import visit
from napt_lab.topologies.network.node import Node

INCOMING, OUTGOING = 0, 4
FRAME = 256  # bytes that are read of each: an ICMP error and what it quotes
_ETH_P_ALL = 3
_SO_ATTACH_FILTER, _SO_TIMESTAMPNS = 26, 35
_TIMESPEC = struct.Struct("=qq")
_SOL_PACKET, _PACKET_STATISTICS = 263, 6
_STATISTICS = struct.Struct("=II")  # packets, and those that were lost

# How a filter's steps begin: load a halfword or a byte, jump if equal or if a bit is set, return.
LDH, LDB, JEQ, JSET, RET = 0x28, 0x30, 0x15, 0x45, 0x06
DIRECTION = 0xFFFFF004  # where the kernel has it: SKF_AD_OFF + SKF_AD_PKTTYPE

Filter = tuple[tuple[int, int, int, int], ...]


@dataclass(frozen=True, slots=True)
class Frame:
    """The first bytes of a frame that a node sent or got at `time` (seconds since 1970)."""

    time: float
    direction: int
    data: bytes


class PacketSocket:
    """Sees all interfaces of a node but loopback: what a node says to itself is no news."""

    def __init__(self, node: Node, steps: Filter) -> None:
        self.node = node.name
        self._socket = visit(node.pid, lambda: _open(steps))

    def lost(self) -> int:
        """How many frames found the buffer full since this was asked last."""
        _, lost = _STATISTICS.unpack(
            self._socket.getsockopt(_SOL_PACKET, _PACKET_STATISTICS, _STATISTICS.size)
        )
        return int(lost)

    def read(self) -> Iterator[Frame]:
        """What has come, in order."""
        while True:
            try:
                data, ancillary, _, address = self._socket.recvmsg(FRAME, 64)
            except BlockingIOError:
                return
            stamps = [_TIMESPEC.unpack(v) for _, kind, v in ancillary if kind == _SO_TIMESTAMPNS]
            seconds, nanoseconds = stamps[0] if stamps else (int(time.time()), 0)
            if address[0] != "lo":
                yield Frame(seconds + nanoseconds / 1e9, address[2], data)

    def close(self) -> None:
        self._socket.close()


def _open(steps: Filter) -> socket.socket:
    sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ETH_P_ALL))
    program = b"".join(struct.pack("=HBBI", *step) for step in steps)
    buffer = ctypes.create_string_buffer(program)
    filter_ = struct.pack("HP", len(steps), ctypes.addressof(buffer))
    sock.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, filter_)
    sock.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
    sock.setblocking(False)
    return sock
