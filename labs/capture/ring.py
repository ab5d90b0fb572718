"""A packet socket whose packets come in shared memory (packet(7), PACKET_RX_RING).

Theory of operation. The kernel writes each packet of one interface into the next frame of a
ring that both sides have mapped, with a time-stamp of its own, and marks the frame as the
user's; the user reads it and marks it as the kernel's again. No system call a packet, and
room for thousands of them whatever net.core.rmem_max is, so that a burst is not lost while Python
is busy. If the ring is full, the kernel counts what it drops.

    frame:  struct tpacket2_hdr (32 bytes) | struct sockaddr_ll | padding | packet …
"""

from __future__ import annotations

import ctypes
import mmap
import os
import socket
import struct
from collections.abc import Iterator

_SOL_PACKET, _RX_RING, _STATISTICS, _VERSION = 263, 5, 6, 10
_TPACKET_V2 = 1
_ETH_P_ALL = 3
_USER, _KERNEL = 1, 0
_PACKET_TYPE_OFFSET = 32 + 10  # sll_pkttype, in the sockaddr_ll behind the header
_OUTGOING = 4

FRAME = 512  # bytes: more than all headers of a packet, plus the header of a request
BLOCK = 1 << 16
FRAMES = 4096
FRAMES_IN_BLOCK = BLOCK // FRAME
_libc = ctypes.CDLL(None, use_errno=True)
_HEADER = struct.Struct("=IIIHHII")  # status, length, captured, mac, net, seconds, nanoseconds


class Ring:
    """The packets of one interface. To be made in the interface's network namespace.

    `frames`: how many packets have room in it; a multiple of FRAMES_IN_BLOCK.
    """

    def __init__(self, interface: str, frames: int = FRAMES) -> None:
        self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        try:
            self._socket.setsockopt(_SOL_PACKET, _VERSION, struct.pack("=i", _TPACKET_V2))
            request = struct.pack("=IIII", BLOCK, frames // FRAMES_IN_BLOCK, FRAME, frames)
            _set_ring(self._socket, request)
            self._map = mmap.mmap(self._socket.fileno(), FRAME * frames)
            self._socket.bind((interface, _ETH_P_ALL))  # only now does the capture begin
        except OSError:
            self._socket.close()
            raise
        self._frames, self._next = frames, 0
        self._dropped = 0

    def fileno(self) -> int:
        return self._socket.fileno()

    def read(self) -> Iterator[tuple[int, bool, int, bytes]]:
        """All packets that are there: time in ns, outgoing, length on the wire, first bytes."""
        ring = self._map
        while True:
            at = self._next * FRAME
            status, length, captured, mac, _, seconds, nanoseconds = _HEADER.unpack_from(ring, at)
            if not status & _USER:
                return
            outgoing = ring[at + _PACKET_TYPE_OFFSET] == _OUTGOING
            data = ring[at + mac : at + mac + captured]
            ring[at : at + 4] = _KERNEL.to_bytes(4, "little")
            self._next = (self._next + 1) % self._frames
            yield seconds * 1_000_000_000 + nanoseconds, outgoing, length, data

    @property
    def dropped(self) -> int:
        """How many packets did not fit into the ring."""
        statistics = self._socket.getsockopt(_SOL_PACKET, _STATISTICS, 8)
        self._dropped += struct.unpack("=II", statistics)[1]  # the kernel starts again at 0
        return self._dropped

    def close(self) -> None:
        self._map.close()
        self._socket.close()


def _set_ring(sock: socket.socket, request: bytes) -> None:
    """setsockopt(2), but not Python's: it takes 20 ms, and Python's would stop all threads."""
    if _libc.setsockopt(sock.fileno(), _SOL_PACKET, _RX_RING, request, len(request)) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"PACKET_RX_RING: {os.strerror(number)}")
