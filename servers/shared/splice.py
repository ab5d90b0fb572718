"""Join two TCP connections so that what one side sends, the other receives.

Theory of operation
-------------------
A relay holds two connections and copies bytes both ways. Four things make it harder than it
looks:

- *Nothing piles up.* Bytes go from socket to pipe to socket by splice(2): the kernel moves page
  references, and none of the payload enters this process. A direction holds at most one pipe
  (64 KiB). While the pipe cannot be emptied its source is not read, so the source's TCP receive
  window closes: back-pressure, end to end.
- *Half-close.* A FIN from one side ends one direction only (RFC 9293, section 3.6): it is passed
  on by shutting down the other side for writing, and the other direction goes on.
- *A reset stays a reset.* When a side breaks, the other side is reset too, never closed in an
  orderly way: a FIN would tell it that a cut-off file is complete. It happens at once, also while
  the other side takes nothing and so nobody reads: a reset flushes the queues (RFC 9293, section
  3.10.7.4), and who has vanished must not hold the pair until it is idle.
- *Silence ends.* A pair over which no byte moved either way for the idle time is reset.

One event loop serves all pairs; each direction is a coroutine that waits for its sockets.
"""

from __future__ import annotations

import asyncio
import os
import select
import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass

PIPE_BYTES = 65_536
DESCRIPTORS_PER_PAIR = 7
"""File descriptors that one pair needs: two sockets, two pipes, the watch over both sockets."""


@dataclass(frozen=True, slots=True)
class Spliced:
    """How a pair ended: bytes from first to second, bytes back, and the reason.

    The reason is "closed" when both sides finished, "idle", or who broke it and how.
    """

    forth: int
    back: int
    reason: str


async def splice(
    first: socket.socket,
    second: socket.socket,
    idle: float,
    names: tuple[str, str] = ("first", "second"),
) -> Spliced:
    """Pass bytes both ways until both sides have finished, one breaks, or `idle` seconds pass.

    Both sockets must be non-blocking and connected. They are still open on return after an
    orderly end, so that the caller closes what it opened; after any other end they were reset.
    Raises OSError when no pipe, or no watch over the sockets, can be made.
    """
    forth = _Direction(first, second, names)
    back = _Direction(second, first, names[::-1])
    tasks = [asyncio.create_task(forth.run()), asyncio.create_task(back.run())]
    watch = asyncio.create_task(_watch(forth, back))
    try:
        reason = await _outcome(tasks, watch, forth, back, idle)
    finally:
        tasks.append(watch)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    if reason != "closed":
        reset(first)
        reset(second)
    return Spliced(forth.moved, back.moved, reason)


async def _outcome(
    directions: list[asyncio.Task[None]],
    watch: asyncio.Task[None],
    forth: _Direction,
    back: _Direction,
    idle: float,
) -> str:
    loop = asyncio.get_running_loop()
    running = {*directions, watch}
    while True:
        deadline = max(forth.last_moved, back.last_moved) + idle
        done, running = await asyncio.wait(
            running, timeout=deadline - loop.time(), return_when=asyncio.FIRST_COMPLETED
        )
        for task in done:
            error = task.exception()
            if isinstance(error, Broken):
                return str(error)
            if error is not None:
                raise error
        if running <= {watch}:
            return "closed"
        if loop.time() >= max(forth.last_moved, back.last_moved) + idle:
            return "idle"


async def _watch(forth: _Direction, back: _Direction) -> None:
    """Wait for the failure of either source, and see to it that nobody takes it for an end."""
    broken = await failed(forth.source, back.source)
    direction = forth if broken is forth.source else back
    # The kernel tells this once: whoever asks next is told that there is no more to read.
    if number := broken.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
        direction.failure = Broken(_how(direction.names[0], number))
        raise direction.failure
    # Otherwise the direction itself was told, and says so.


class Broken(Exception):
    """One side of a pair failed; the text says which and how."""


def _how(side: str, number: int) -> str:
    return f"{side}: {os.strerror(number).lower()}"


class _Direction:
    """The bytes that go from `source` to `sink`."""

    def __init__(self, source: socket.socket, sink: socket.socket, names: tuple[str, str]) -> None:
        self.source, self.sink = source, sink
        self.names = names
        self.failure: Broken | None = None
        self.moved = 0
        self.last_moved = asyncio.get_running_loop().time()

    async def run(self) -> None:
        outlet, inlet = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            while filled := await self._fill(inlet):
                await self._drain(outlet, filled)
                await asyncio.sleep(0)  # the other pairs' turn, even if this source never runs dry
            self._finish()
        finally:
            os.close(inlet)
            os.close(outlet)

    async def _fill(self, inlet: int) -> int:
        while True:
            try:
                filled = os.splice(self.source.fileno(), inlet, PIPE_BYTES)
            except BlockingIOError:
                await readable(self.source)
                continue
            except OSError as error:
                raise self._broken(self.names[0], error) from error
            if self.failure is not None:
                raise self.failure
            return filled

    async def _drain(self, outlet: int, left: int) -> None:
        loop = asyncio.get_running_loop()
        while left:
            try:
                sent = os.splice(outlet, self.sink.fileno(), left)
            except BlockingIOError:
                await writable(self.sink)
                continue
            except OSError as error:
                raise self._broken(self.names[1], error) from error
            left -= sent
            self.moved += sent
            self.last_moved = loop.time()

    def _finish(self) -> None:
        try:
            self.sink.shutdown(socket.SHUT_WR)
        except OSError as error:
            raise self._broken(self.names[1], error) from error

    def _broken(self, side: str, error: OSError) -> Broken:
        return Broken(_how(side, error.errno or 0))


async def readable(sock: socket.socket | select.epoll) -> None:
    """Wait until a read of `sock` would not block: data, the end, or an error."""
    loop = asyncio.get_running_loop()
    await _ready(sock.fileno(), loop.add_reader, loop.remove_reader)


async def writable(sock: socket.socket) -> None:
    """Wait until a write to `sock` would not block: room, or an error."""
    loop = asyncio.get_running_loop()
    await _ready(sock.fileno(), loop.add_writer, loop.remove_writer)


async def failed(*sockets: socket.socket) -> socket.socket:
    """Wait until one of them has an error, such as a reset, and return it; the error stays in it.

    An epoll set that asks for nothing still reports errors, and can itself be waited for: bytes
    that must stay unread wake nobody. It also reports a connection that both sides ended in an
    orderly way, which is no error; EPOLLET has it say so once, instead of without end.
    """
    with select.epoll() as watch:
        for sock in sockets:
            watch.register(sock, select.EPOLLET)
        of_descriptor = {sock.fileno(): sock for sock in sockets}
        while True:
            await readable(watch)
            for descriptor, events in watch.poll(0):
                if events & select.EPOLLERR:
                    return of_descriptor[descriptor]


async def _ready(
    descriptor: int, add: Callable[..., object], remove: Callable[[int], object]
) -> None:
    ready = asyncio.Event()
    add(descriptor, ready.set)
    try:
        await ready.wait()
    finally:
        remove(descriptor)


def reset(sock: socket.socket) -> None:
    """Close with RST instead of FIN (RFC 9293, section 3.6.1: abort), dropping unsent bytes."""
    if sock.fileno() != -1:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        sock.close()
