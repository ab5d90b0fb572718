"""What the node and its worker say to each other: frames on a pair of sockets.

    u8 kind, u32 length, and so many bytes

The node asks, the worker answers with any number of frames and ends with DONE. So one is never
waiting for the other but for an answer.
"""

from __future__ import annotations

import json
import socket
import struct
from collections.abc import Iterator
from typing import Any

_HEAD = struct.Struct("!BI")
_READ = 1 << 18
_STAMP = struct.Struct("!?d")
_TIMES = struct.Struct("!dd")

# From the node:
PACKET, TICK, REQUEST, WATCH = range(4)
# From the worker:
READY, SEND, DROP, EVENT, FAULT, PRINTED, ANSWER, DONE = range(10, 18)

LONGEST = 64 << 20  # bytes of a frame: a list of 5,000 rules has some 3 million
Frame = tuple[int, bytes]


class Lost(Exception):
    """The other side is gone."""


def frame(kind: int, body: bytes = b"") -> bytes:
    """One frame, ready to be sent."""
    return _HEAD.pack(kind, len(body)) + body


def told(kind: int, what: object) -> bytes:
    """A frame with JSON in it."""
    return frame(kind, json.dumps(what, default=str).encode())


def read(body: bytes) -> Any:
    """The JSON in a frame."""
    return json.loads(body)


def stamp_packet(inside: bool, now: float, data: bytes | memoryview) -> bytes:
    """The body of PACKET."""
    return _STAMP.pack(inside, now) + data


def unstamp_packet(body: bytes) -> tuple[bool, float, bytearray]:
    """From which side a packet came, when, and its bytes."""
    inside, now = _STAMP.unpack_from(body)
    return inside, now, bytearray(memoryview(body)[_STAMP.size :])


def stamp_times(now: float, wall: float) -> bytes:
    """The body of TICK and the beginning of REQUEST."""
    return _TIMES.pack(now, wall)


def unstamp_times(body: bytes) -> tuple[float, float, bytes]:
    """The two times (seconds: the node's clock, and since 1970), and what follows them."""
    now, wall = _TIMES.unpack_from(body)
    return now, wall, body[_TIMES.size :]


class Frames:
    """The frames that come from a socket."""

    def __init__(self, source: socket.socket) -> None:
        self._socket = source
        self._received = bytearray()

    def receive(self) -> None:
        """Read once. Raises Lost at the end."""
        try:
            data = self._socket.recv(_READ)
        except ConnectionError:
            data = b""
        if not data:
            raise Lost
        self._received += data

    def whole(self) -> Iterator[Frame]:
        """Those that have come as a whole, once each."""
        received = self._received
        while len(received) >= _HEAD.size:
            kind, length = _HEAD.unpack_from(received)
            if length > LONGEST:
                raise Lost
            end = _HEAD.size + length
            if len(received) < end:
                return
            body = bytes(received[_HEAD.size : end])
            del received[:end]
            yield kind, body
