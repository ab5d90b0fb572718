"""Downloads: GET and HEAD of one file, with conditions and ranges (RFC 9110, 13 and 14).

Theory of operation. The file is opened once; everything said about it (size, ETag, date) is
about that open file, so a replacement that happens meanwhile cannot mix two versions. The
bytes flow in pieces, the next one read from the disk only when the client took the last.

`Repr-Digest` (RFC 9530) carries the SHA-256 of the whole file also with a range or HEAD, so
that a client can check what it put together. A file is always sent as an attachment of no
particular type: what strangers upload must never run as a page of this server.
"""

from __future__ import annotations

import asyncio
import os
from base64 import b64encode
from email.utils import formatdate
from urllib.parse import quote

from aiohttp import web

from napt_lab.servers.files.conditions import Conditions, entity_tag
from napt_lab.servers.files.ranges import Unsatisfiable, byte_range
from napt_lab.servers.files.receiving import PIECE
from napt_lab.servers.files.storage import Folder


async def send(
    request: web.BaseRequest, folder: Folder, name: str, idle: float, headers: dict[str, str]
) -> web.StreamResponse:
    """Answer a GET or HEAD for a file with `headers` added; counts in `request["sent"]`.

    The client must take each PIECE bytes within `idle` seconds (else TimeoutError). Raises
    Refused when there is no such file, ConnectionError when the client went away.
    """
    file, status = folder.open(name)
    with file:
        digest = await folder.digests.of(file, status)
        tag = entity_tag(digest)
        response = web.StreamResponse(
            headers=headers
            | {
                "Accept-Ranges": "bytes",
                "Content-Disposition": f"attachment; filename*=UTF-8''{quote(name, safe='')}",
                "Content-Type": "application/octet-stream",
                "ETag": tag,
                "Last-Modified": formatdate(status.st_mtime, usegmt=True),
                "Repr-Digest": f"sha-256=:{b64encode(digest).decode()}:",
            }
        )
        wanted = _select(request, response, tag, status)
        response.content_length = len(wanted)
        if response.status == 304:
            response.content_length = None
        await response.prepare(request)
        if request.method != "HEAD":
            for offset in range(wanted.start, wanted.stop, PIECE):
                length = min(PIECE, wanted.stop - offset)
                piece = await asyncio.to_thread(os.pread, file.fileno(), length, offset)
                if len(piece) < length:
                    raise ConnectionAbortedError("somebody cut the file short meanwhile")
                async with asyncio.timeout(idle):
                    await response.write(piece)
                request["sent"] += length
        return response


def _select(
    request: web.BaseRequest, response: web.StreamResponse, tag: str, status: os.stat_result
) -> range:
    """Set the response's status; returns the offsets to send. In RFC 9110's order (13.2.2)."""
    headers = request.headers
    conditions = Conditions.of(headers.get("If-Match"), headers.get("If-None-Match"))
    modified = int(status.st_mtime)
    if conditions.match is not None:
        holds = conditions.match_holds(tag)
    else:
        since = request.if_unmodified_since
        holds = since is None or modified <= since.timestamp()
    if not holds:
        response.set_status(412)
        return range(0)
    if conditions.none_match is not None:
        changed = conditions.none_match_holds(tag)
    else:
        since = request.if_modified_since
        changed = since is None or modified > since.timestamp()
    if not changed:
        response.set_status(304)
        return range(0)
    whole = range(status.st_size)
    # A date in If-Range is not a strong validator here (13.1.5): such a range is ignored.
    if "Range" not in headers or headers.get("If-Range", tag) != tag or request.method != "GET":
        return whole
    try:
        wanted = byte_range(headers["Range"], status.st_size)
    except Unsatisfiable:
        response.set_status(416)
        response.headers["Content-Range"] = f"bytes */{status.st_size}"
        return range(0)
    if wanted is None:
        return whole
    response.set_status(206)
    response.headers["Content-Range"] = f"bytes {wanted.start}-{wanted[-1]}/{status.st_size}"
    return wanted
