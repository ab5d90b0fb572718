"""The control socket: clients list, add and remove rules, and follow events.

A Unix socket of mode 0600, so that only the NAPT's owner reaches it. One JSON object a line: the
requests of control_protocol.py, and

    {"do": "events"}                               -> {"ok": true}, then an event a line

A client that does not read its events loses some, and is told how many: {"event": "lost",
"count": n}. It never slows the translator down. Clients, lines and buffers are bounded.
"""

from __future__ import annotations

import json
import os
import select
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from napt_lab.nat_node.control.control_protocol import Engine, answer

CLIENTS = 32
LINE = 4096
UNREAD = 4 << 20
"""Bytes that may wait for a client: enough for a list of some thousand rules."""


@dataclass(slots=True)
class _Client:
    socket: socket.socket
    received: bytearray = field(default_factory=bytearray)
    unread: bytearray = field(default_factory=bytearray)
    wants_events: bool = False
    lost: int = 0
    ended: bool = False


def bind(path: Path) -> socket.socket:
    """The socket at `path`, for its owner only. Raises OSError."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    path.unlink(missing_ok=True)  # of a translator that was killed
    mask = os.umask(0o177)
    try:
        listener.bind(str(path))
    finally:
        os.umask(mask)
    return listener


class Control:
    """The control socket's part of an engine's loop: `handles(fd)` says which events are its own.

    `listener` is what `bind` gave. `engine` does what is asked of the NAPT;
    `subscribed(any)` is called when the first client wants events and when the last one has gone.
    """

    def __init__(
        self,
        listener: socket.socket,
        poll: select.epoll,
        engine: Engine,
        subscribed: Callable[[bool], None],
    ) -> None:
        self._poll = poll
        self._engine = engine
        self._subscribed = subscribed
        self._clients: dict[int, _Client] = {}
        self._listener = listener
        listener.listen(CLIENTS)
        poll.register(listener, select.EPOLLIN)

    def handles(self, descriptor: int) -> bool:
        """Whether a descriptor of the poll is the control's."""
        return descriptor == self._listener.fileno() or descriptor in self._clients

    def handle(self, descriptor: int, events: int) -> None:
        """Do what the poll found to do."""
        client = self._clients.get(descriptor)
        if client is None:
            if descriptor == self._listener.fileno():
                self._accept()
            return
        if events & (select.EPOLLIN | select.EPOLLHUP | select.EPOLLERR):
            self._receive(client)
        if events & select.EPOLLOUT and descriptor in self._clients:
            self._send(client)

    def broadcast(self, event: dict[str, Any]) -> None:
        """Tell every subscriber."""
        line = _line(event)
        for client in list(self._clients.values()):
            if not client.wants_events:
                continue
            if len(client.unread) + len(line) > UNREAD // 4:
                client.lost += 1
                continue
            if client.lost:
                client.unread += _line({"event": "lost", "count": client.lost})
                client.lost = 0
            client.unread += line
            self._send(client)

    def _accept(self) -> None:
        try:
            connection, _ = self._listener.accept()
        except OSError:
            return  # it has gone again
        if len(self._clients) >= CLIENTS:
            connection.close()
            return
        connection.setblocking(False)
        self._clients[connection.fileno()] = _Client(connection)
        self._poll.register(connection, select.EPOLLIN)

    def _receive(self, client: _Client) -> None:
        try:
            data = client.socket.recv(LINE)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._end(client)
            return
        client.received += data
        while (end := client.received.find(b"\n")) >= 0:
            if len(client.unread) > UNREAD:
                self._end(client)  # it asks faster than it reads
                return
            line = bytes(client.received[:end])
            del client.received[: end + 1]
            client.unread += _line(self._reply(client, line))
            if client.socket.fileno() not in self._clients:
                return  # its request made an event, and telling it found it gone
        if len(client.received) > LINE:
            client.unread += _line({"ok": False, "error": f"a line of more than {LINE} bytes"})
            client.ended = True
        self._send(client)

    def _reply(self, client: _Client, line: bytes) -> dict[str, Any]:
        try:
            request = json.loads(line)
        except (ValueError, RecursionError):
            return {"ok": False, "error": "not a line of JSON"}
        if not isinstance(request, dict):
            return {"ok": False, "error": 'not an object such as {"do": "rules"}'}
        if request.get("do") == "events":
            client.wants_events = True
            self._subscribed(True)
            return {"ok": True}
        return answer(request, self._engine)

    def _send(self, client: _Client) -> None:
        try:
            while client.unread:
                sent = client.socket.send(client.unread)
                del client.unread[:sent]
        except BlockingIOError:
            if len(client.unread) > UNREAD:
                self._end(client)
            else:
                self._poll.modify(client.socket, select.EPOLLIN | select.EPOLLOUT)
            return
        except OSError:
            self._end(client)
            return
        if client.ended:
            self._end(client)
        else:
            self._poll.modify(client.socket, select.EPOLLIN)

    def _end(self, client: _Client) -> None:
        del self._clients[client.socket.fileno()]
        self._poll.unregister(client.socket)
        client.socket.close()
        if client.wants_events and not any(c.wants_events for c in self._clients.values()):
            self._subscribed(False)


def wall(monotonic: float) -> float:
    """The time in seconds since 1970 at a time of the monotonic clock."""
    return time.time() - (time.monotonic() - monotonic)


def _line(message: dict[str, Any]) -> bytes:
    return json.dumps(message, separators=(",", ":")).encode() + b"\n"
