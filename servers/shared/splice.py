"""Join two TCP connections so that what one side sends, the other receives.

Theory of operation
-------------------
A relay holds two connections and copies bytes both ways. It has to see to four things:

- *Nothing piles up.* Bytes go from socket to pipe to socket by splice(2): the kernel moves page
  references, and none of the payload enters this process. A direction holds at most one pipe
  (64 KiB). While the pipe cannot be emptied its source is not read, so the source's TCP receive
  window closes: back-pressure, end to end.
- *Half-close.* A FIN from one side ends one direction only (RFC 9293, section 3.6): it is passed
  on by shutting down the other side for writing, and the other direction goes on.
- *A FIN is passed on only when a side sent one.* When a side breaks, nothing passes for the idle
  time, or this program is told to stop, both sides are reset: a FIN would say that a file that was
  cut off is complete. Even `kill -9` resets them, because their sockets are set to be reset when
  closed until both sides have finished.
- *A reset is passed on at once*, also while the other side does not read: a reset flushes the
  queues (RFC 9293, section 3.10.7.4), and a side that is gone must not hold the pair until it is
  idle.

One event loop serves all pairs; each direction is a coroutine that waits for its sockets.
"""

from __future__ import annotations

import asyncio
import os
import select
import socket
import struct
from collections.abc import Callable

PIPE_BYTES = 65_536
DESCRIPTORS_PER_PAIR = 7
"""File descriptors that one pair needs: two sockets, two pipes, the watch over both sockets."""


class Pair:
    """Two connections that pass each other bytes, and how many bytes passed so far.

    Both sockets must be non-blocking and connected.
    """

    def __init__(
        self,
        first: socket.socket,
        second: socket.socket,
        names: tuple[str, str] = ("first", "second"),
        early: bytes = b"",
    ) -> None:
        """`early` was received from `first` before: it goes to `second` before all else."""
        for sock in (first, second):
            reset_when_closed(sock)
        self._sockets = first, second
        self._forth = _Direction(first, second, names, early)
        self._back = _Direction(second, first, names[::-1])
        self.reason = "stopped"
        """Why it ended: "closed" (both sides finished), "idle", which side broke it and how, or
        the message with which its task was cancelled ("stopped" if there is none)."""

    @property
    def forth(self) -> int:
        """Bytes from first to second."""
        return self._forth.moved

    @property
    def back(self) -> int:
        """Bytes from second to first."""
        return self._back.moved

    def is_complete(self) -> bool:
        """Whether both sides have sent FIN and all that was before it has passed."""
        return self._forth.is_complete() and self._back.is_complete()

    async def run(self, idle: float) -> None:
        """Pass bytes until both sides have finished, one breaks, or `idle` seconds pass in silence.

        After an orderly end both sockets are still open, and the caller closes them. After any
        other end, cancellation included, they were reset.
        """
        directions = self._forth, self._back
        tasks = [asyncio.create_task(direction.run()) for direction in directions]
        watch = asyncio.create_task(_watch(*directions))
        try:
            self.reason = await self._outcome(tasks, watch, idle)
        except asyncio.CancelledError as cancelled:
            self.reason = str(cancelled) or self.reason
            raise
        finally:
            tasks.append(watch)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            for sock in self._sockets:
                (fin_when_closed if self.reason == "closed" else reset)(sock)

    async def _outcome(
        self, directions: list[asyncio.Task[None]], watch: asyncio.Task[None], idle: float
    ) -> str:
        loop = asyncio.get_running_loop()
        running = {*directions, watch}
        while True:
            deadline = max(self._forth.last_moved, self._back.last_moved) + idle
            if loop.time() >= deadline:
                return "idle"
            done, running = await asyncio.wait(
                running, timeout=deadline - loop.time(), return_when=asyncio.FIRST_COMPLETED
            )
            for task in done:
                error = task.exception()
                if isinstance(error, Broken):
                    return str(error)
                if isinstance(error, OSError):  # no pipe, or no watch over the sockets
                    return os.strerror(error.errno or 0).lower()
                if error is not None:
                    raise error
            if running <= {watch}:
                return "closed"


async def _watch(forth: _Direction, back: _Direction) -> None:
    """Wait for the failure of either source, and keep it from being read as an orderly end."""
    broken = await failed(forth.source, back.source)
    direction = forth if broken is forth.source else back
    # The kernel tells an error once: the next read of this socket would report an orderly end.
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

    def __init__(
        self,
        source: socket.socket,
        sink: socket.socket,
        names: tuple[str, str],
        early: bytes = b"",
    ) -> None:
        self.source, self.sink = source, sink
        self.early = early
        self.held = len(early)  # bytes that were received and are not yet passed on
        self.finished = False
        self.names = names
        self.failure: Broken | None = None
        self.moved = 0
        self.last_moved = asyncio.get_running_loop().time()

    async def run(self) -> None:
        outlet, inlet = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            for start in range(0, len(self.early), PIPE_BYTES):
                written = os.write(inlet, self.early[start : start + PIPE_BYTES])
                await self._drain(outlet, written)
            while filled := await self._fill(inlet):
                self.held = filled
                await self._drain(outlet, filled)
                await asyncio.sleep(0)  # let the other pairs run, even if this source never pauses
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
            self.held -= sent
            self.moved += sent
            self.last_moved = loop.time()

    def _finish(self) -> None:
        try:
            self.sink.shutdown(socket.SHUT_WR)
        except OSError as error:
            raise self._broken(self.names[1], error) from error
        self.finished = True

    def is_complete(self) -> bool:
        """Whether the source has sent FIN and all that was before it has passed."""
        if self.finished or self.held:
            return self.finished
        try:
            return not self.source.recv(1, socket.MSG_PEEK)
        except OSError:  # nothing to read now, or a reset
            return False

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
    that must stay unread do not wake it. It also reports a connection that both sides ended in an
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
        reset_when_closed(sock)
        sock.close()


def reset_when_closed(sock: socket.socket) -> None:
    """Have the kernel send RST when the socket is closed, also when it closes it after a kill."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def fin_when_closed(sock: socket.socket) -> None:
    """Have the kernel send FIN when the socket is closed, as it does by default."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 0, 0))
