"""Downloads: GET and HEAD of one file, with conditions and ranges by aiohttp's FileResponse.

Theory of operation. The file is opened once, and FileResponse is given the open file by its name
in /proc: so a replacement that happens meanwhile cannot mix two versions. The kernel moves the
bytes from the file to the socket (sendfile(2)).

A client that takes nothing for the idle time is cut off by the kernel (TCP_USER_TIMEOUT, RFC
5482); one that takes a little now and then, when the whole file should have passed. A file is
always sent as an attachment of no particular type: what strangers upload must never run as a page
of this server.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import socket
import struct
from urllib.parse import quote

from aiohttp import web
from aiohttp.abc import AbstractStreamWriter

from napt_lab.servers.files.conditions import entity_tag
from napt_lab.servers.files.connection import Connection
from napt_lab.servers.files.receiving import PIECE
from napt_lab.servers.files.storage import Folder

# Other ranges, such as several at once, are ignored, as RFC 9110, section 14.2 allows or demands.
_ONE_RANGE = re.compile(r"bytes=(?:[0-9]{1,19}-[0-9]{0,19}|-0*[1-9][0-9]{0,18})", re.IGNORECASE)
_BYTES_ACKED = struct.Struct("=120xQ")  # of struct tcp_info (linux/tcp.h): RFC 4898


class _Once(web.FileResponse):
    """Sent when it is prepared first; aiohttp prepares each response that a handler returns."""

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        return None if self.prepared else await super().prepare(request)


async def send(
    request: web.BaseRequest, folder: Folder, name: str, idle: float, headers: dict[str, str]
) -> web.StreamResponse:
    """Answer a GET or HEAD for a file with `headers` added; counts in `request["sent"]`.

    Each PIECE bytes must pass within `idle` seconds, on average (else TimeoutError). Raises
    Refused when there is no such file, ConnectionError when the client went away.
    """
    file, status = folder.open(name)
    with file:
        attachment = {
            "Content-Disposition": f"attachment; filename*=UTF-8''{quote(name, safe='')}",
            "Content-Type": "application/octet-stream",
        }
        response = _Once(f"/proc/self/fd/{file.fileno()}", headers=headers | attachment)
        sock = request.get_extra_info("socket")
        if sock is None:
            raise ConnectionResetError("the client is gone")
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(1000 * idle))
        before = _acknowledged(sock)
        try:
            assert isinstance(request.protocol, Connection)
            with request.protocol.sending_file():
                async with asyncio.timeout(idle * (1 + status.st_size // PIECE)):
                    await response.prepare(_with_range_for_get(request, f'"{entity_tag(status)}"'))
            if os.fstat(file.fileno()).st_size < status.st_size:
                raise ConnectionAbortedError("the file was cut short while it was sent")
        except BaseException:
            with contextlib.suppress(OSError):  # the socket may be closed: then nobody knows
                passed = _acknowledged(sock) - before - request.writer.output_size
                request["sent"] = max(0, passed)
            raise
        if request.method != "HEAD":
            request["sent"] = response.content_length or 0
        return response


def _with_range_for_get(request: web.BaseRequest, tag: str) -> web.BaseRequest:
    """The request without Range where that must be ignored (RFC 9110, sections 13.1.5, 14.2)."""
    headers = request.headers.copy()
    applies = request.method == "GET" and headers.get("If-Range", tag) == tag
    if not (applies and _ONE_RANGE.fullmatch(headers.get("Range", ""))):
        headers.popall("Range", None)
    return request.clone(headers=headers)


def _acknowledged(sock: socket.socket) -> int:
    """How many bytes the client's TCP has taken on this connection so far."""
    acked: int = _BYTES_ACKED.unpack(sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 128))[0]
    return acked
