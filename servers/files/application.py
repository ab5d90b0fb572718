"""From an HTTP request to the parts of this package, and back.

Theory of operation. A method and a path choose the part; an error there becomes one status
and one sentence, as JSON or as a page. Web pages of other origins get nothing:
no answer carries an Access-Control field (Fetch, CORS protocol), and a write that a browser
sends on behalf of another origin is refused by Sec-Fetch-Site (Fetch Metadata) or Origin.

Each request leaves one `request` event when it has finished, with the endpoint that this
server saw: in the labs, that is what shows the address of the NAPT.
"""

from __future__ import annotations

import asyncio
import errno
import json
from typing import Any
from urllib.parse import parse_qs

from aiohttp import web
from aiohttp.http import HttpVersion10, HttpVersion11

from napt_lab.servers.files import listing, names
from napt_lab.servers.files.connection import Connection
from napt_lab.servers.files.receiving import Receiver
from napt_lab.servers.files.sending import send
from napt_lab.servers.files.storage import Folder, Refused
from napt_lab.servers.shared.events import emit, endpoint
from napt_lab.servers.shared.host_field import host_fault

MAX_SHOWN = 400  # characters of a request's target, in an event
_FOR_ALL = {
    "Cache-Control": "no-cache",  # keep, but ask each time: that is what the ETag is for
    "Content-Security-Policy": "default-src 'none'; sandbox",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
_STATUS_OF_ERRNO = {errno.ENOSPC: 507, errno.EDQUOT: 507, errno.EFBIG: 413}


class MethodNotAllowed(Refused):
    """Only `allowed` may be asked for here, and the answer must say so (RFC 9110, 15.5.6)."""

    def __init__(self, allowed: str) -> None:
        super().__init__(405, f"only {allowed} here")
        self.allowed = allowed


class Application:
    """The handler of all requests. `idle`: seconds for each piece of a body to pass."""

    def __init__(self, folder: Folder, *, read_only: bool, idle: float) -> None:
        self._folder = folder
        self._read_only = read_only
        self._idle = idle
        self._receiver = Receiver(folder, idle)

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request, then tell of it."""
        address = request.get_extra_info("peername")
        peer = endpoint(address) if address else "gone"
        request["sent"] = 0
        connection = request.protocol
        assert isinstance(connection, Connection)
        ended: dict[str, Any] = {}
        try:
            response = await self._respond(request, peer)
            # A file has been sent already, in its own time; the rest is small.
            async with asyncio.timeout(self._idle):
                await response.prepare(request)
                await response.write_eof()
            ended = {"status": response.status} | ({"cut": True} if "cut" in request else {})
            if isinstance(response, web.Response):
                request["sent"] = response.body_length
        except (ConnectionError, web.RequestPayloadError, TimeoutError):
            # The client went away or stopped. If a status was sent already, it does not hold.
            connection.reset()
            response, ended = web.Response(status=400), {"status": None, "cut": True}
        received = request.content.total_bytes
        emit(
            "request",
            peer=peer,
            method=request.method[:32],
            path=request.raw_path[:MAX_SHOWN],
            **ended,
            bytes=received or request["sent"],
        )
        connection.request_ends(response)
        return response

    async def _respond(self, request: web.BaseRequest, peer: str) -> web.StreamResponse:
        headers = {}
        try:
            if request["version"] < HttpVersion10:  # none at all is read as 0.9
                raise Refused(400, "the request line must end with HTTP/1.1 or 1.0")
            if request["version"] > HttpVersion11:
                raise Refused(505, "HTTP/1.1 and 1.0 only")
            needs_host = request["version"] == HttpVersion11
            if fault := host_fault(request.headers.getall("Host", []), is_required=needs_host):
                raise Refused(400, fault)
            path, query = names.split_target(request.raw_path)
            if path == "/":
                return await self._respond_to_root(request, query, peer)
            return await self._respond_to_file(request, names.decode(path))
        except Refused as refused:
            status, why = refused.status, str(refused)
            if isinstance(refused, MethodNotAllowed):
                headers["Allow"] = refused.allowed
            if status == 503:
                headers["Retry-After"] = "1"
        except web.RequestPayloadError:
            if request.transport is None:
                raise
            request["cut"] = True
            status, why = 400, f"the body is not whole after {request.content.total_bytes} bytes"
        except names.BadName as bad:
            status, why = 400, str(bad)
        except OSError as error:
            if error.errno not in _STATUS_OF_ERRNO:
                raise
            status, why = _STATUS_OF_ERRNO[error.errno], "the disk is full"
        if _wants_page(request):
            response = _page(listing.error_page(_host(request), status, why), status)
        else:
            response = _json({"error": why}, status)
        response.headers.update(headers)
        if not request.content.is_eof():
            response.force_close()  # what is left of the body is not the next request
        return response

    async def _respond_to_root(
        self, request: web.BaseRequest, query: str, peer: str
    ) -> web.StreamResponse:
        self._allow(request, "POST")
        if request.method != "POST":
            if _wants_page(request) and parse_qs(query).get("format") != ["json"]:
                host = _host(request)
                return _page(listing.as_page(self._folder, host, peer, self._read_only), 200)
            return _json(listing.as_json(self._folder), 200)
        stored = await self._receiver.post(request)
        if _wants_page(request):
            return web.Response(status=303, headers=_FOR_ALL | {"Location": "/"})
        return _json({"files": [listing.describe(file) for file in stored]}, 201)

    async def _respond_to_file(self, request: web.BaseRequest, name: str) -> web.StreamResponse:
        self._allow(request, "PUT")
        if request.method != "PUT":
            return await send(request, self._folder, name, self._idle, _FOR_ALL)
        stored, is_new = await self._receiver.put(request, name)
        response = _json(listing.describe(stored), 201 if is_new else 200)
        response.headers["ETag"] = f'"{stored.tag}"'
        response.headers["Location"] = names.encode(name)
        return response

    def _allow(self, request: web.BaseRequest, writing: str) -> None:
        """Refuse other methods than GET, HEAD and `writing`, and writes from other origins."""
        if request.method in ("GET", "HEAD"):
            return
        if request.method != writing or self._read_only:
            allowed = "GET, HEAD" if self._read_only else f"GET, HEAD, {writing}"
            raise MethodNotAllowed(allowed)
        site = request.headers.get("Sec-Fetch-Site")
        origin = request.headers.get("Origin")
        if site is not None:
            same = site in ("same-origin", "none")
        else:
            # An origin is scheme://host:port and nothing else (RFC 6454, section 6.2), or "null".
            same = origin is None or origin.partition("://")[1:] == ("://", _host(request))
        if not same:
            raise Refused(403, "a page of another site may not write here")


def _host(request: web.BaseRequest) -> str:
    # Not request.host: without a Host field (HTTP/1.0) that would wait for the DNS.
    return request.headers.get("Host", "")


def _wants_page(request: web.BaseRequest) -> bool:
    return "text/html" in request.headers.get("Accept", "")


def _json(value: Any, status: int) -> web.Response:
    body = json.dumps(value, indent=1) + "\n"
    media_type = "application/json"
    return web.Response(text=body, status=status, headers=_FOR_ALL, content_type=media_type)


def _page(text: str, status: int) -> web.Response:
    headers = _FOR_ALL | {"Content-Security-Policy": listing.PAGE_POLICY}
    return web.Response(text=text, status=status, headers=headers, content_type="text/html")
