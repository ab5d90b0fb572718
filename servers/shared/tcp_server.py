"""Accept TCP connections, within bounds, until told to stop.

The relay and the proxies share this: the listening socket, fair shares of the connections
(`shares`), SIGTERM. A connection that gets no place is answered with a fixed farewell, or reset if
there is none; it costs no task and no memory afterwards.

A connection is reset when it is closed, unless `close_gently` ends it: whatever ends this program
or its handler, even a kill, is not taken for the end of what the client was receiving.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import signal
import socket
import sys
import traceback
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from typing import Any

from napt_lab.servers.shared import descriptors
from napt_lab.servers.shared.events import emit, endpoint
from napt_lab.servers.shared.shares import NoPlaceError, Shares
from napt_lab.servers.shared.splice import DESCRIPTORS_PER_PAIR, fin_when_closed, reset_when_closed

Endpoint = tuple[str, int]
Handler = Callable[[socket.socket, Endpoint], Awaitable[None]]

_DESCRIPTORS_SPARE = 64
_LINGER_BYTES = 1 << 20
_LINGER_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Limits:
    """How many connections are served at once: in all, and from one address."""

    connections: int
    per_client: int


def listen(address: str, port: int, device: str | None = None) -> socket.socket:
    """The listening socket; with port 0 its own port is the kernel's choice.

    With `device`, only packets that arrive on that network interface reach it. An address alone
    does not ensure that: the kernel takes packets to any of its addresses on every interface.
    Raises OSError when the address, port or interface cannot be listened on.
    """
    listener = socket.create_server((address, port), backlog=512)
    if device is not None:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, device.encode())
    listener.setblocking(False)
    return listener


def port_of(listener: socket.socket) -> int:
    """The port it listens on."""
    port: int = listener.getsockname()[1]
    return port


async def serve(
    listener: socket.socket, handle: Handler, limits: Limits, farewell: bytes = b""
) -> None:
    """Serve until SIGTERM or SIGINT, then cancel the handlers.

    The socket given to `handle` is non-blocking. It is closed when `handle` returns, and then
    reset, unless the handler ended it by `close_gently` or a pair that ended as "closed".
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    with listener:
        emit("ready", listening=[endpoint(listener.getsockname())])
        async with asyncio.TaskGroup() as group:
            acceptor = _Acceptor(listener, handle, _affordable(limits), farewell, group)
            accepting = group.create_task(acceptor.run())
            await stop.wait()
            accepting.cancel()
            acceptor.cancel_all()


class _Acceptor:
    def __init__(
        self,
        listener: socket.socket,
        handle: Handler,
        limits: Limits,
        farewell: bytes,
        group: asyncio.TaskGroup,
    ) -> None:
        self.listener = listener
        self.handle = handle
        self.per_client = limits.per_client
        self.farewell = farewell
        self.group = group
        self.shares: Shares[socket.socket] = Shares(limits.connections)
        self.tasks: dict[socket.socket, asyncio.Task[None]] = {}

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                sock, peer = await loop.sock_accept(self.listener)
            except OSError as error:
                # Gone before it was accepted, or the machine is short of memory: not our end.
                print(f"accept: {error.strerror}", file=sys.stderr)
                await asyncio.sleep(0.05)
                continue
            reset_when_closed(sock)
            try:
                self._take_place(sock, peer)
            except NoPlaceError as error:
                emit("refused", peer=endpoint(peer), reason=str(error))
                if self.farewell:
                    fin_when_closed(sock)
                    with contextlib.suppress(OSError):
                        sock.send(self.farewell)
                sock.close()
                continue
            task = self.group.create_task(self._serve(sock, peer), name=endpoint(peer))
            self.tasks[sock] = task
            task.add_done_callback(functools.partial(self._ended, sock))

    def _take_place(self, sock: socket.socket, peer: Endpoint) -> None:
        """Give it a place, if need be that of another connection. Raises NoPlaceError."""
        if self.shares.held_by(peer[0]) >= self.per_client:
            raise NoPlaceError(f"{self.per_client} connections are open from {peer[0]}, the limit")
        if (loser := self.shares.take(peer[0], sock)) is not None:
            reason = f"its place went to {peer[0]}"
            emit("refused", peer=self.tasks[loser].get_name(), reason=reason)
            self.tasks[loser].cancel(reason)

    async def _serve(self, sock: socket.socket, peer: Endpoint) -> None:
        try:
            await self.handle(sock, peer)
        except Exception:  # noqa: BLE001  # printed; it must not end the others
            traceback.print_exc()

    def _ended(self, sock: socket.socket, _task: asyncio.Task[None]) -> None:
        sock.close()
        self.shares.release(sock)
        del self.tasks[sock]

    def cancel_all(self) -> None:
        for task in self.tasks.values():
            task.cancel()


def _affordable(limits: Limits) -> Limits:
    """Take as many file descriptors as this process may have, and promise no more than that."""
    affordable = (descriptors.take_all() - _DESCRIPTORS_SPARE) // DESCRIPTORS_PER_PAIR
    return Limits(min(limits.connections, affordable), limits.per_client)


async def close_gently(sock: socket.socket) -> None:
    """Close so that what was sent arrives, although the peer may still be sending.

    close(2) with unread bytes would reset the connection and could destroy our last answer on its
    way (RFC 9112, section 9.6). So send FIN, read and forget up to 1 MiB for up to 2 s, then close.
    """
    loop = asyncio.get_running_loop()
    left = _LINGER_BYTES
    with contextlib.suppress(OSError, TimeoutError):
        fin_when_closed(sock)
        sock.shutdown(socket.SHUT_WR)
        async with asyncio.timeout(_LINGER_SECONDS):
            while left > 0 and (data := await loop.sock_recv(sock, 65_536)):
                left -= len(data)
    sock.close()


def run(program: Coroutine[Any, Any, None]) -> int:
    """Run a server program to its end and return its exit status: 0, or 1 with words on stderr."""
    try:
        asyncio.run(program)
    except OSError as error:
        print(f"cannot serve: {error}", file=sys.stderr)
        return 1
    return 0


async def receive_exactly(sock: socket.socket, count: int) -> bytes:
    """Exactly so many bytes. Raises EOFError at the end of the stream, OSError."""
    data = b""
    while len(data) < count:
        more = await asyncio.get_running_loop().sock_recv(sock, count - len(data))
        if not more:
            raise EOFError
        data += more
    return data
