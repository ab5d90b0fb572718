"""Accept TCP connections, within bounds, until told to stop.

What every program of the relaying kind shares: the listening socket, a limit on all connections
and on those of one address, SIGTERM. A connection over a limit is answered with a fixed farewell
(may be empty) and closed at once; it costs no task and no memory afterwards.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
import sys
import traceback
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from typing import Any

from napt_lab.servers.shared import descriptors
from napt_lab.servers.shared.events import emit, endpoint
from napt_lab.servers.shared.splice import DESCRIPTORS_PER_PAIR, reset

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


def listen(address: str, port: int) -> socket.socket:
    """The listening socket; with port 0 its own port is the kernel's choice.

    Raises OSError when the address or port cannot be listened on.
    """
    listener = socket.create_server((address, port), backlog=512)
    listener.setblocking(False)
    return listener


def port_of(listener: socket.socket) -> int:
    """The port it listens on."""
    port: int = listener.getsockname()[1]
    return port


async def serve(
    listener: socket.socket, handle: Handler, limits: Limits, farewell: bytes = b""
) -> None:
    """Serve until SIGTERM or SIGINT, then close; connections still open then are reset.

    The socket given to `handle` is non-blocking, and closed when it returns.
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
        self.limits = limits
        self.farewell = farewell
        self.group = group
        self.tasks: set[asyncio.Task[None]] = set()
        self.per_client: Counter[str] = Counter()

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
            if refusal := self._over_limit(peer):
                emit("refused", peer=endpoint(peer), reason=refusal)
                with contextlib.suppress(OSError):
                    sock.send(self.farewell)
                sock.close()
                continue
            self.per_client[peer[0]] += 1
            task = self.group.create_task(self._serve(sock, peer))
            self.tasks.add(task)
            task.add_done_callback(self.tasks.discard)

    def _over_limit(self, peer: Endpoint) -> str | None:
        if len(self.tasks) >= self.limits.connections:
            return f"{self.limits.connections} connections are open, the limit"
        if self.per_client[peer[0]] >= self.limits.per_client:
            return f"{self.limits.per_client} connections are open from {peer[0]}, the limit"
        return None

    async def _serve(self, sock: socket.socket, peer: Endpoint) -> None:
        try:
            await self.handle(sock, peer)
        except asyncio.CancelledError:
            reset(sock)
            raise
        except Exception:
            # A fault in one connection must not end the others; it is not hidden either.
            traceback.print_exc()
            reset(sock)
        finally:
            sock.close()
            self.per_client[peer[0]] -= 1
            if not self.per_client[peer[0]]:
                del self.per_client[peer[0]]

    def cancel_all(self) -> None:
        for task in self.tasks:
            task.cancel()


def _affordable(limits: Limits) -> Limits:
    """Take as many file descriptors as this process may have, and promise no more than that."""
    affordable = (descriptors.take_all() - _DESCRIPTORS_SPARE) // DESCRIPTORS_PER_PAIR
    return Limits(min(limits.connections, affordable), limits.per_client)


async def close_gently(sock: socket.socket) -> None:
    """Close so that what was sent arrives, although the peer may still be sending.

    close(2) with unread bytes would reset the connection and could destroy our last answer on its
    way (RFC 9112, section 9.6). So say FIN, read and forget up to 1 MiB for up to 2 s, then close.
    """
    loop = asyncio.get_running_loop()
    left = _LINGER_BYTES
    with contextlib.suppress(OSError, TimeoutError):
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
