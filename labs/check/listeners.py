"""Listeners where the topology runs no service: each tells its client which address it sees.

Theory of operation. A check that wants to reach port 8080 of a host needs a listener there. So a
socket is opened in that host's network namespace (namespaces.py), where it is as real as any
program's: the kernel shakes hands, and all packets pass the host's interface. One event loop in a
thread serves them all. TCP: a client that sends a line is told `You are 24.9.3.7:40001`, in HTTP
if it sent a request; or it gets the file that it asked for, if the check offers it. UDP: a Binding
request is answered as a STUN server does (stun_binding.py). Two checks that want the same socket
share it, and the last one to leave closes it. A port that a program of the topology listens at is
left to that program.
"""

from __future__ import annotations

import asyncio
import errno
import socket
import threading
from collections.abc import Coroutine, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Any, TypeVar, cast

from napt_lab.labs.check import stun_binding
from napt_lab.topologies.network.namespaces import visit
from napt_lab.topologies.network.node import Node

MOST_SAID = 4096  # bytes that are read of what a client says
END_OF_HEAD = b"\r\n\r\n"
LOOP_SECONDS = 10.0  # that opening or closing a listener may take

T = TypeVar("T")
Key = tuple[str, str, str, int]  # node, "tcp" or "udp", address, port


@dataclass(slots=True)
class _Listening:
    port: int
    server: asyncio.Server | asyncio.DatagramTransport
    users: int = 0


class Listeners:
    """`with Listeners() as listeners:` all sockets are closed at the end."""

    def __init__(self) -> None:
        self._files: dict[str, bytes] = {}
        self._open: dict[Key, _Listening] = {}
        self._lock = threading.Lock()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(
            target=self._loop.run_forever, name="listeners", daemon=True
        )

    def __enter__(self) -> Listeners:
        self._thread.start()
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    @contextmanager
    def offering(self, name: str, content: bytes) -> Iterator[None]:
        """Let every listener serve this file, until the end of the block."""
        self._files[name] = content
        try:
            yield
        finally:
            del self._files[name]

    @contextmanager
    def at(self, node: Node, transport: str, address: str, port: int = 0) -> Iterator[int | None]:
        """Listen there meanwhile; gives the port, or None if a program has taken it already.

        Port 0 is any that is free. OSError if there can be no such socket.
        """
        key = (node.name, transport, address, port)
        with self._lock:
            listening = self._open.get(key)
            if listening is None:
                try:
                    sock = visit(node.pid, lambda: _bind(transport, address, port))
                except OSError as error:
                    if error.errno != errno.EADDRINUSE:
                        raise
                else:
                    listening = self._open[key] = self._do(_serve(sock, self._files))
            if listening is not None:
                listening.users += 1
        try:
            yield None if listening is None else listening.port
        finally:
            if listening is not None:
                self._leave(key, listening)

    def _leave(self, key: Key, listening: _Listening) -> None:
        with self._lock:
            listening.users -= 1
            if listening.users == 0:
                del self._open[key]
                self._do(_close(listening.server))

    def _do(self, what: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(what, self._loop).result(LOOP_SECONDS)


def _bind(transport: str, address: str, port: int) -> socket.socket:
    kind = socket.SOCK_STREAM if transport == "tcp" else socket.SOCK_DGRAM
    sock = socket.socket(socket.AF_INET, kind | socket.SOCK_NONBLOCK)
    try:
        if transport == "tcp":  # an earlier check's connections may still be closing
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((address, port))
    except OSError:
        sock.close()
        raise
    return sock


async def _serve(sock: socket.socket, files: Mapping[str, bytes]) -> _Listening:
    loop = asyncio.get_running_loop()
    port = sock.getsockname()[1]
    if sock.type == socket.SOCK_STREAM:
        return _Listening(port, await loop.create_server(lambda: _Greeter(files), sock=sock))
    transport, _ = await loop.create_datagram_endpoint(_Binder, sock=sock)
    return _Listening(port, transport)


async def _close(server: asyncio.Server | asyncio.DatagramTransport) -> None:
    server.close()
    await asyncio.sleep(0)  # a transport closes its socket in the loop's next round


class _Greeter(asyncio.Protocol):
    """TCP: one line from the client, or the head of a request; the answer to it, and the end."""

    def __init__(self, files: Mapping[str, bytes]) -> None:
        self._files = files
        self._said = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._said += data
        line = self._said.partition(b"\n")[0]
        is_http = b" HTTP/1." in line
        if (END_OF_HEAD if is_http else b"\n") not in self._said and len(self._said) < MOST_SAID:
            return
        address, port = self._transport.get_extra_info("peername")[:2]
        answer = f"You are {address}:{port}\n".encode()
        if is_http:
            path = line.split(b" ")[1].partition(b"?")[0].decode("latin-1")
            answer = self._files.get(path.removeprefix("/"), answer)
            head = f"HTTP/1.0 200 OK\r\nContent-Length: {len(answer)}\r\n\r\n"
            answer = head.encode() + answer
        self._transport.write(answer)
        self._transport.close()


class _Binder(asyncio.DatagramProtocol):
    """UDP: a Binding request, and its answer."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # asyncio's own datagram transport is no subclass of DatagramTransport before Python 3.12.
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        answer = stun_binding.answer(data, addr)
        if answer is not None:
            self._transport.sendto(answer, addr)
