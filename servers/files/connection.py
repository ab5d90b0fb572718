"""aiohttp's HTTP connection, with an answer where aiohttp would end it in silence.

Theory of operation. A client may end its side after its request, as `nc -N` does: it still gets
its answer (RFC 9112, section 9.6), and the connection is closed behind it. A request that ends
too early, or takes too long, is answered with a status, as is any that cannot be read (by aiohttp).
The connections are shared fairly by addresses (`shares`); one without a request gives way first.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Iterator
from typing import Any

from aiohttp import StreamReader, web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.http import HttpVersion10, HttpVersion11, RawRequestMessage

from napt_lab.servers.shared.shares import NoPlaceError, Shares
from napt_lab.servers.shared.splice import reset_when_closed


class Connection(web.RequestHandler):
    """One client's connection; `options` are those of aiohttp's RequestHandler."""

    def __init__(self, server: web.Server, places: Shares[Connection], **options: Any) -> None:
        super().__init__(server, loop=asyncio.get_running_loop(), **options)
        self._places = places
        self._begun = False  # bytes of a request came, but not yet its whole header
        self._body: StreamReader | None = None  # of the last request
        self._ended = False  # the client sends no more
        self._in_request = False
        self._sends_file = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        address = transport.get_extra_info("peername")[0]
        try:
            loser = self._places.take(address, self, busy=lambda other: other._in_request)
        except NoPlaceError as error:
            self._say("503 Service Unavailable", f"{error}; try again later")
            self.force_close()
            return
        if loser is not None:
            loser.reset()

    def connection_lost(self, exc: BaseException | None) -> None:
        self._places.release(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._body is None or self._body.is_eof():
            self._begun = self._begun or bool(data.strip(b"\r\n"))
        super().data_received(data)
        if self._messages and self._body is not None and not self._body.is_eof():
            # Another message before the end of this one: aiohttp could not read the body's framing.
            self._body.set_exception(web.RequestPayloadError("the body's framing is not valid"))

    def eof_received(self) -> bool:  # type: ignore[override]  # aiohttp's own returns None
        self._ended = True
        if self._body is not None and not self._body.is_eof():
            self._body.set_exception(web.RequestPayloadError("the client ended within the body"))
        elif self._begun:
            self._say("400 Bad Request", "no empty line ends the header")
        return self._in_request  # False: asyncio closes the connection

    def force_close(self) -> None:
        """What aiohttp does when a request does not come in time, among others."""
        if self._begun:
            self._say("408 Request Timeout", "no empty line ended the header in time")
        super().force_close()

    def reset(self) -> None:
        """End it by RST: what was cut must not look whole.

        While a file is sent, asyncio watches the descriptor for the kernel to take more of it. Were
        it closed now, the next connection would get the same number, and asyncio would not read it.
        So only end the stream: sendfile(2) fails, the request ends, and then it is reset.
        """
        if self.transport is None:
            return
        sock = self.transport.get_extra_info("socket")
        reset_when_closed(sock)
        if self._sends_file:
            with contextlib.suppress(OSError):  # the client has reset it: sendfile(2) fails, too
                sock.shutdown(socket.SHUT_RDWR)
        else:
            self.transport.abort()

    @contextlib.contextmanager
    def sending_file(self) -> Iterator[None]:
        """While sendfile(2) uses the socket."""
        self._sends_file = True
        try:
            yield
        finally:
            self._sends_file = False

    def request_begins(self, body: StreamReader) -> None:
        """A whole header was read, or one that is not valid."""
        self._begun, self._body, self._in_request = False, body, True

    def request_ends(self, response: web.StreamResponse) -> None:
        """It was answered; if the client has ended, the answer to its last request is the last."""
        self._in_request = False
        if self._ended and not self._messages:
            response.force_close()

    def _say(self, status: str, why: str) -> None:
        self._begun = False
        if self.transport is not None and not self.transport.is_closing():
            body = f"{why}\n"
            self.transport.write(
                f"HTTP/1.1 {status}\r\nContent-Type: text/plain; charset=utf-8\r\n"
                f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n{body}".encode()
            )


def make_request(
    message: RawRequestMessage,
    body: StreamReader,
    connection: web.RequestHandler,
    writer: AbstractStreamWriter,
    task: asyncio.Task[None],
) -> web.BaseRequest:
    """aiohttp's request factory; `request["version"]` is the HTTP version that the client named.

    aiohttp would answer in any version that it can read: `HTTP/0.9 200 OK`.
    """
    assert isinstance(connection, Connection)
    connection.request_begins(body)
    version = message.version
    if not HttpVersion10 <= version <= HttpVersion11:
        message = message._replace(version=HttpVersion11, should_close=True)
    loop = asyncio.get_running_loop()
    request = web.BaseRequest(message, body, connection, writer, task, loop)
    request["version"] = version
    return request
