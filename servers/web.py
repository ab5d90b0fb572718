"""The web server of a far host ("stackoverflow"): it tells each client how it sees it.

Theory of operation. HTTP/1.1 (RFC 9110, RFC 9112) cut down to what a lab needs: `GET /`
answers with a page that says `You are 24.9.3.7:40001`, the endpoint at the other end of the
TCP connection. Connections persist (RFC 9112, section 9.3): a second GET on an old
connection proves that it still carries data. Requests have no body here. A request may be typed
into `nc`: a bare LF ends a line as well (section 2.2), and a client that ends its side after the
request gets its answer (section 9.6). Every request that cannot be read or comes too slowly is
answered with a status.

One protocol object a connection and no task: a connection that is only held costs about
2 KB, so that level 8 can hold 65,535 of them. A process may have fewer file descriptors than
that, hence `--processes`: each process listens on a socket of its own for the same port, and
the kernel spreads connections over them (SO_REUSEPORT, socket(7)).

What a client can cost is bounded: the size of a request's header, the time for it, the time
a connection may idle, the number of connections (shared fairly by addresses, see `shares`), and
the answers queued for a client that does not read.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import re
import signal
import socket
import sys
from dataclasses import dataclass
from http import HTTPStatus

from napt_lab.servers.shared.arguments import port_number
from napt_lab.servers.shared.descriptors import take_all
from napt_lab.servers.shared.events import emit, endpoint
from napt_lab.servers.shared.host_field import host_fault
from napt_lab.servers.shared.shares import NoPlaceError, Shares

MAX_HEAD = 8192  # bytes: request line and header fields together
MAX_SHOWN = 200  # characters of what a client sent, in an event
CRLF = "\r\n"
BACKLOG = 4096  # connections that the kernel completes before we accept them
AT_ONCE = 8  # accepted in one turn of the loop; those that give way are closed some turns later
SPARE_DESCRIPTORS = 64  # kept for everything that is not a client's connection
LINGER_SECONDS = 2.0  # to read on after the last answer, so that a reset does not destroy it
HEAD_END = re.compile(rb"\r?\n\r?\n")

PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<meta name="color-scheme" content="light dark">
<title>Who am I?</title>
<h1>You are {peer}</h1>
<p>That is how {local} sees you: request {nth} on this connection.</p>
</html>
"""


@dataclass(frozen=True, slots=True)
class Settings:
    """`head`: seconds from a request's first byte to the end of its header.

    `idle`: seconds that a connection may wait for its next request.
    """

    head: float
    idle: float
    max_connections: int
    quiet: bool


class BadRequest(Exception):
    """A request that is answered with `status`, and ends its connection."""

    def __init__(self, status: HTTPStatus, why: str) -> None:
        super().__init__(why)
        self.status = status


@dataclass(frozen=True, slots=True)
class Request:
    """What of a request's header matters here."""

    method: str
    path: str
    keep_alive: bool


def parse_head(head: bytes) -> Request:
    """Read a request's header, without the empty line that ends it. Raises BadRequest."""
    request_line, *lines = (line.removesuffix("\r") for line in head.decode("latin-1").split("\n"))
    if b"\r" in head.replace(b"\r\n", b"").removesuffix(b"\r"):  # RFC 9112, section 2.2
        raise BadRequest(HTTPStatus.BAD_REQUEST, "a CR that is not before an LF")
    try:
        method, target, version = request_line.split(" ")
    except ValueError:
        raise BadRequest(HTTPStatus.BAD_REQUEST, "not a request line") from None
    if version not in ("HTTP/1.1", "HTTP/1.0"):
        raise BadRequest(HTTPStatus.HTTP_VERSION_NOT_SUPPORTED, "HTTP/1.1 and 1.0 only")
    fields: dict[str, list[str]] = {}
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon or not name or name != name.strip():  # RFC 9112, section 5.1
            raise BadRequest(HTTPStatus.BAD_REQUEST, "not a header field")
        fields.setdefault(name.lower(), []).append(value.strip())

    def values(name: str) -> list[str]:  # RFC 9110, section 5.3
        return [value.strip() for line in fields.get(name, []) for value in line.split(",")]

    if fault := host_fault(fields.get("host", []), is_required=version == "HTTP/1.1"):
        raise BadRequest(HTTPStatus.BAD_REQUEST, fault)
    lengths = values("content-length")
    if not all(map(str.isdecimal, lengths)) or len(set(lengths)) > 1:  # RFC 9112, section 6.3
        raise BadRequest(HTTPStatus.BAD_REQUEST, "not a Content-Length")
    if method not in ("GET", "HEAD"):
        raise BadRequest(HTTPStatus.METHOD_NOT_ALLOWED, "GET and HEAD only")
    if any(length.strip("0") for length in lengths) or "transfer-encoding" in fields:
        raise BadRequest(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "requests have no body here")
    if target.lower().startswith("http://"):  # absolute-form: RFC 9112, section 3.2.2
        target = "/" + target[len("http://") :].partition("/")[2]
    options = {option.lower() for option in values("connection")}
    keep = "keep-alive" in options if version == "HTTP/1.0" else "close" not in options
    return Request(method, target.partition("?")[0], keep)


class Connection(asyncio.Protocol):
    """One client's TCP connection."""

    __slots__ = (
        "_buffer",
        "_closing",
        "_deadline",
        "_ended",
        "_head_begun",
        "_nth",
        "_paused",
        "_server",
        "_timer",
        "_transport",
    )
    _transport: asyncio.Transport
    _timer: asyncio.TimerHandle
    _deadline: float  # the event loop's time, seconds

    def __init__(self, server: Server) -> None:
        self._server = server
        self._buffer = b""
        self._nth = 0
        self._paused = False
        self._head_begun = False
        self._closing = False  # after the last answer
        self._ended = False  # the client sends no more

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._deadline = self._server.loop.time() + self._server.settings.idle
        self._timer = self._server.loop.call_at(self._deadline, self._check_deadline)
        self._server.admit(self, transport.get_extra_info("peername")[0])

    def is_answering(self) -> bool:
        """Whether the client has still to take what it asked for."""
        return self._paused or self._closing

    def turn_away(self, why: str) -> None:
        """Answer without a request: 503. It holds no place, so it may not linger."""
        self._refuse(HTTPStatus.SERVICE_UNAVAILABLE, why)
        self._transport.close()

    def abort(self) -> None:
        """Close without waiting for what is still to be sent."""
        self._transport.abort()

    def connection_lost(self, _error: Exception | None) -> None:
        self._server.connections.release(self)
        self._timer.cancel()

    def pause_writing(self) -> None:
        self._paused = True
        self._transport.pause_reading()

    def resume_writing(self) -> None:
        self._paused = False
        self._transport.resume_reading()
        self.data_received(b"")

    def data_received(self, data: bytes) -> None:
        if self._closing:
            return
        self._buffer += data
        while not (self._paused or self._closing or self._transport.is_closing()):
            self._buffer = self._buffer.lstrip(b"\r\n")  # RFC 9112, section 2.2
            if not self._buffer:
                break
            end = HEAD_END.search(self._buffer)
            head = self._buffer[: end.start()] if end else self._buffer
            if len(head) > MAX_HEAD:
                self._refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "header too long")
            elif end:
                self._buffer = self._buffer[end.end() :]
                self._head_begun = False
                self._set_deadline(self._server.settings.idle)
                self._serve(head)
            elif self._ended:
                self._refuse(HTTPStatus.BAD_REQUEST, "no empty line ends the header")
            else:
                if not self._head_begun:
                    self._head_begun = True
                    self._set_deadline(self._server.settings.head)
                return
        if self._ended and not self._paused:
            self._transport.close()  # once all answers have left

    def eof_received(self) -> bool:
        self._ended = True
        self.data_received(b"")
        return not self._closing  # False: asyncio closes the connection

    def _serve(self, head: bytes) -> None:
        try:
            request = parse_head(head)
        except BadRequest as bad:
            self._buffer = head
            self._refuse(bad.status, str(bad))
            return
        self._nth += 1
        if request.path != "/":
            self._answer(request, HTTPStatus.NOT_FOUND, "text/plain", "only / is here\n")
            return
        peer = endpoint(self._transport.get_extra_info("peername"))
        local = endpoint(self._transport.get_extra_info("sockname"))
        page = PAGE.format(peer=peer, local=local, nth=self._nth)
        self._answer(request, HTTPStatus.OK, "text/html", page)

    def _refuse(self, status: HTTPStatus, why: str) -> None:
        """Answer what is in the buffer, which cannot be served, and end the connection."""
        method, path, *_ = [*self._buffer[:MAX_HEAD].decode("latin-1").split(" ", 2), ""]
        said = Request(method, path, keep_alive=False)
        self._answer(said, status, "text/plain", f"{why}\n")

    def _answer(self, request: Request, status: HTTPStatus, media_type: str, text: str) -> None:
        body = text.encode()
        head = (
            f"HTTP/1.1 {status.value} {status.phrase}\r\n"
            f"Content-Type: {media_type}; charset=utf-8\r\n"
            f"Content-Length: {len(body)}\r\n"
            f"Connection: {'keep-alive' if request.keep_alive else 'close'}\r\n"
            f"{'Allow: GET, HEAD' + CRLF if status == HTTPStatus.METHOD_NOT_ALLOWED else ''}\r\n"
        )
        if request.method == "HEAD":
            body = b""
        self._transport.write(head.encode() + body)
        if not self._server.settings.quiet:
            emit(
                "request",
                peer=endpoint(self._transport.get_extra_info("peername")),
                method=request.method[:MAX_SHOWN],
                path=request.path[:MAX_SHOWN],
                status=status.value,
                bytes=len(body),
                nth=self._nth,
            )
        if not request.keep_alive:
            self._closing = True
            self._buffer = b""
            self._set_deadline(LINGER_SECONDS)
            try:
                self._transport.write_eof()
            except OSError:  # the client was faster, and has reset the connection
                self._transport.abort()

    def _set_deadline(self, seconds: float) -> None:
        self._deadline = self._server.loop.time() + seconds
        if self._deadline < self._timer.when():
            self._timer.cancel()
            self._timer = self._server.loop.call_at(self._deadline, self._check_deadline)

    def _check_deadline(self) -> None:
        # A deadline that only moved on re-arms here: a busy connection costs no timer a request.
        if self._server.loop.time() >= self._deadline:
            if self._paused or self._closing or not self._head_begun:
                self._transport.abort()
                return
            self._refuse(HTTPStatus.REQUEST_TIMEOUT, "the header came too slowly")
        self._timer = self._server.loop.call_at(self._deadline, self._check_deadline)


class Server:
    """What a process's connections share."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.loop = asyncio.get_running_loop()
        self.connections: Shares[Connection] = Shares(settings.max_connections)

    def admit(self, connection: Connection, address: str) -> None:
        """Give it a place, if need be that of another connection, or turn it away."""
        try:
            loser = self.connections.take(address, connection, Connection.is_answering)
        except NoPlaceError as error:
            connection.turn_away(f"{error}; try again later")
            return
        if loser is not None:
            loser.abort()


def listen(address: str, port: int, count: int) -> list[socket.socket]:
    """`count` sockets that listen on one port; port 0 lets the kernel choose it. OSError."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    listeners = []
    for _ in range(count):
        listener = socket.socket(family, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if count > 1:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        listener.bind((address, port))
        listener.listen(BACKLOG)
        listener.setblocking(False)
        port = listener.getsockname()[1]
        listeners.append(listener)
    return listeners


async def serve(listener: socket.socket, settings: Settings, orphaned: int | None) -> int:
    """Serve in one process until it is told to stop; returns the process's exit status.

    `orphaned` is a file descriptor that becomes readable when the first process has ended;
    None in the first process, which fails when one of the others ends.
    """
    server = Server(settings)
    stop = asyncio.Event()
    failed = asyncio.Event()

    def child_ended() -> None:
        failed.set()
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        server.loop.add_signal_handler(number, stop.set)
    if orphaned is None:
        server.loop.add_signal_handler(signal.SIGCHLD, child_ended)
    else:
        server.loop.add_reader(orphaned, stop.set)
    listening = await server.loop.create_server(
        lambda: Connection(server), sock=listener, backlog=AT_ONCE
    )
    listener.listen(BACKLOG)  # for asyncio both are one number
    if orphaned is None:
        emit("ready", listening=[endpoint(listener.getsockname())])
    await stop.wait()
    listening.close()
    return 1 if failed.is_set() else 0


def serve_with(listeners: list[socket.socket], settings: Settings) -> int:
    """One process a listener, of which this is the first. Returns the exit status."""
    orphaned, alive = os.pipe()  # `alive` stays open in the first process only
    for listener in listeners[1:]:
        if os.fork() == 0:
            os.close(alive)
            os._exit(asyncio.run(serve(listener, settings, orphaned)))
    return asyncio.run(serve(listeners[0], settings, None))


def main() -> int:
    """The command line. Exit status: 0 told to stop, 1 cannot run, 2 wrong usage."""
    descriptors = take_all()
    parser = argparse.ArgumentParser("web-server", description="Tell each client its address.")
    parser.add_argument("--listen", default="0.0.0.0", metavar="ADDRESS")
    parser.add_argument("--port", type=port_number, default=80, help="0 lets the kernel choose")
    parser.add_argument(
        "--processes", type=int, default=1, help="processes that share the port (default 1)"
    )
    parser.add_argument(
        "--max-connections",
        type=int,
        default=descriptors - SPARE_DESCRIPTORS,
        help="per process, shared fairly by addresses (default: what RLIMIT_NOFILE allows)",
    )
    parser.add_argument(
        "--head", type=float, default=10.0, help="seconds for a request's header (default 10)"
    )
    parser.add_argument(
        "--idle",
        type=float,
        default=300.0,
        help="seconds that a connection may wait for its next request (default 300)",
    )
    parser.add_argument("--quiet-requests", action="store_true", help="no `request` events")
    options = parser.parse_args()
    if options.processes < 1:
        parser.error("--processes is at least 1")
    settings = Settings(options.head, options.idle, options.max_connections, options.quiet_requests)
    try:
        listeners = listen(options.listen, options.port, options.processes)
    except OSError as error:
        where = f"{options.listen}:{options.port}"
        print(f"napt_lab.servers.web: cannot listen on {where}: {error.strerror}", file=sys.stderr)
        return 1
    return serve_with(listeners, settings)


if __name__ == "__main__":
    sys.exit(main())
