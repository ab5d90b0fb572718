"""A file over a connection that carries datagrams: one at a time, repeated until it is answered.

    data    b"DATA", number, up to 1,200 bytes of the file; none of them: that was all
    answer  b"HAVE", number, the SHA-256 of that datagram's bytes, cut to 16

This is slow where the round trip is long, and simple: nothing is lost, doubled or out of order.
"""

from __future__ import annotations

import asyncio
import hashlib
import struct
from pathlib import Path
from typing import Protocol

from napt_lab.servers.shared.arriving_file import arriving_file

CHUNK = 1200  # bytes: with all headers less than any link's MTU
REPEAT_SECONDS = 0.25
PATIENCE = 15.0  # seconds for one datagram, repetitions included
MOST = 1 << 30  # bytes that are received: the sender may be anyone
_HEAD = struct.Struct("!4sI")
_DATA, _HAVE = b"DATA", b"HAVE"


class Datagrams(Protocol):
    """What a file is sent over."""

    async def send(self, data: bytes) -> None: ...
    async def recv(self) -> bytes: ...


async def send_file(over: Datagrams, path: Path, patience: float = PATIENCE) -> tuple[int, str]:
    """Send a file; how many bytes, and their SHA-256. TimeoutError, ConnectionError."""
    digest, size, number = hashlib.sha256(), 0, 0
    with path.open("rb") as file:
        while True:
            chunk = file.read(CHUNK)
            async with asyncio.timeout(patience):
                await _until_answered(over, number, chunk)
            if not chunk:
                return size, digest.hexdigest()
            digest.update(chunk)
            size, number = size + len(chunk), number + 1


async def _until_answered(over: Datagrams, number: int, chunk: bytes) -> None:
    wanted = _answer(number, chunk)
    while True:
        await over.send(_HEAD.pack(_DATA, number) + chunk)
        try:
            async with asyncio.timeout(REPEAT_SECONDS):
                while await over.recv() != wanted:
                    pass
        except TimeoutError:
            continue
        return


async def receive_file(over: Datagrams, path: Path, patience: float = PATIENCE) -> tuple[int, str]:
    """Receive a file, which appears when it is whole. TimeoutError, ConnectionError, OSError."""
    digest, size, number = hashlib.sha256(), 0, 0
    with arriving_file(path) as file:
        while True:
            async with asyncio.timeout(patience):
                chunk = await _next(over, number)
            if not chunk:
                break
            file.write(chunk)
            digest.update(chunk)
            size, number = size + len(chunk), number + 1
            if size > MOST:
                raise OSError(f"more than {MOST:,} bytes came")
    return size, digest.hexdigest()


async def _next(over: Datagrams, number: int) -> bytes:
    """The datagram of that number; earlier ones, whose answers were lost, are answered again."""
    while True:
        data = await over.recv()
        if len(data) < _HEAD.size:
            continue
        kind, got = _HEAD.unpack_from(data)
        if kind == _DATA and got <= number:
            chunk = data[_HEAD.size :]
            await over.send(_answer(got, chunk))
            if got == number:
                return chunk


def _answer(number: int, chunk: bytes) -> bytes:
    return _HEAD.pack(_HAVE, number) + hashlib.sha256(chunk).digest()[:16]


async def answer_repeats(over: Datagrams) -> None:
    """Answer whatever comes again, until this is cancelled or the connection ends."""
    while True:
        await _next(over, MOST)
