"""What the node and its worker say to each other: frames on a pair of sockets.

    u8 kind, u32 length, and so many bytes

The worker says BORN, with its process number, and the node answers START, with the settings and
the source of the student's file. WALLED_IN: now the file is loaded, until READY. From then on the
node asks, and the worker answers with any number of frames and ends with DONE, so that neither
waits for the other but for an answer.

A student's file can write into the worker's end. So the node believes nothing after WALLED_IN
without a look at it.
"""

from __future__ import annotations

import json
import pickle
import socket
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from napt_lab.nat_node.core.settings import Settings

_HEAD = struct.Struct("!BI")
_READ = 1 << 18
_STAMP = struct.Struct("!?d")
_TIMES = struct.Struct("!dd")

# From the node:
PACKET, TICK, REQUEST, WATCH, START = range(5)
# From the worker:
READY, SEND, DROP, EVENT, FAULT, PRINTED, ANSWER, DONE, BORN, WALLED_IN, WALLED_OUT = range(10, 21)

LONGEST = 64 << 20  # bytes of a frame: a list of 5,000 rules has some 3 million
Frame = tuple[int, bytes]


#: What reading a frame that makes no sense may raise.
NONSENSE = (ValueError, LookupError, TypeError, AttributeError, RecursionError)


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


def start(settings: Settings, file: Path, source: bytes) -> bytes:
    """The frame that gives a worker its work. Pickled: only the node sends one."""
    return frame(START, pickle.dumps((settings, file, source)))


def started(body: bytes) -> tuple[Settings, Path, bytes]:
    """What START says."""
    settings, file, source = pickle.loads(body)
    return settings, file, source


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

    def one(self) -> Frame:
        """The next frame, waited for. Raises Lost."""
        while True:
            for found in self.whole():
                return found
            self.receive()

    def whole(self) -> Iterator[Frame]:
        """Those that have come as a whole, once each. Raises ValueError for what is no frame."""
        received = self._received
        while len(received) >= _HEAD.size:
            kind, length = _HEAD.unpack_from(received)
            if length > LONGEST:
                raise ValueError("no frame")
            end = _HEAD.size + length
            if len(received) < end:
                return
            body = bytes(received[_HEAD.size : end])
            del received[:end]
            yield kind, body
