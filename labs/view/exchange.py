"""One HTTP request and its answer on a connection, which then ends.

h11 knows HTTP's grammar and states: it refuses what RFC 9112 forbids, and frames the answer. A web
framework would do the rest as well, but importing one takes longer than a short run may wait.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus

import h11

REQUEST_SECONDS = 10.0  # until a request has come as a whole
BODY_LIMIT = 4096  # bytes
AT_ONCE = 4096  # bytes of one read


class Refusal(Exception):
    """A request is not granted: an HTTP status, and why in words."""

    def __init__(self, status: int, why: str) -> None:
        super().__init__(why)
        self.status = status


@dataclass(frozen=True, slots=True)
class Request:
    """What a browser asks for. The names of headers are in lower case."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes


class Exchange:
    """`receive`, then `begin`, `send` as often as needed, and `end`.

    Each raises ConnectionError when the browser has gone.
    """

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._http = h11.Connection(h11.SERVER)

    async def receive(self) -> Request:
        """The request. Raises Refusal, or TimeoutError after REQUEST_SECONDS."""
        body = bytearray()
        async with asyncio.timeout(REQUEST_SECONDS):
            head = await self._event()
            if not isinstance(head, h11.Request):
                raise ConnectionError("the browser asked for nothing")
            while isinstance(event := await self._event(), h11.Data):
                body += event.data[: BODY_LIMIT + 1 - len(body)]
        if len(body) > BODY_LIMIT:  # read to its end, or the answer could be lost in a reset
            raise Refusal(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"At most {BODY_LIMIT} bytes.")
        headers = {name.decode(): value.decode("latin-1") for name, value in head.headers}
        return Request(head.method.decode(), head.target.decode(), headers, bytes(body))

    async def _event(self) -> object:
        try:
            while (event := self._http.next_event()) is h11.NEED_DATA:
                self._http.receive_data(await self._reader.read(AT_ONCE))
        except h11.RemoteProtocolError as error:
            raise Refusal(error.error_status_hint, f"{error}.") from None
        return event

    async def begin(self, status: int, headers: Mapping[str, str]) -> None:
        """Send the head of the answer."""
        fields = [*headers.items(), ("Connection", "close")]
        reason = HTTPStatus(status).phrase
        await self._send(h11.Response(status_code=status, headers=fields, reason=reason))

    async def send(self, data: bytes) -> None:
        """Send a part of the body. Waits while the browser reads too slowly."""
        await self._send(h11.Data(data=data))

    async def end(self) -> None:
        """The answer is whole: wait until all of it has been sent."""
        await self._send(h11.EndOfMessage())
        self.close()
        await self._writer.wait_closed()

    def close(self) -> None:
        """Close the connection, whether or not the answer is whole."""
        self._writer.close()

    async def _send(self, event: h11.Event) -> None:
        self._writer.write(self._http.send(event) or b"")
        await self._writer.drain()
