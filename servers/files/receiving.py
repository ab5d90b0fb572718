"""Uploads: PUT with the file as the body, and POST with a form's files (RFC 7578).

Theory of operation. The body flows in pieces: network -> piece -> thread that hashes and
writes it; the next piece is read only then, so that TCP's own flow control (RFC 9293,
section 3.8.6) holds back a client that is faster than the disk, and memory stays at a few
pieces per upload. Whatever can be refused is refused before the body is asked for: a client
that sent `Expect: 100-continue` (RFC 9110, section 10.1.1) then keeps its gigabytes.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager

from aiohttp import BodyPartReader, StreamReader, web
from aiohttp.http import HttpProcessingError

from napt_lab.servers.files import names
from napt_lab.servers.files.conditions import ANY, UNKNOWN, Conditions, entity_tag
from napt_lab.servers.files.storage import Folder, Refused, Stored

PIECE = 128 * 1024  # bytes
MAX_PARTS = 100  # of one form


class Receiver:
    """Takes uploads into a folder. Each PIECE bytes must arrive within `idle` seconds."""

    def __init__(self, folder: Folder, idle: float) -> None:
        self._folder = folder
        self._idle = idle

    async def put(self, request: web.BaseRequest, name: str) -> tuple[Stored, bool]:
        """Store the body as `name`; also says whether the file is new. Raises Refused."""
        headers = request.headers
        if "Content-Encoding" in headers:
            raise Refused(415, "send the file as it is, without Content-Encoding")
        if "Content-Range" in headers:  # RFC 9110, section 14.5
            raise Refused(400, "a part of a file cannot be PUT")
        conditions = Conditions.of(headers.get("If-Match"), headers.get("If-None-Match"))
        is_new = await self._check(name, conditions)
        with _as_request_timeout(), self._folder.upload(name) as upload:
            upload.reserve(request.content_length or 0)
            await _continue(request)
            async for piece in self._pieces(request.content):
                await asyncio.to_thread(upload.write, piece)
            return await asyncio.to_thread(upload.commit, conditions), is_new

    async def post(self, request: web.BaseRequest) -> list[Stored]:
        """Store each file of a form. A field `replace` before it lets it replace another."""
        if request.content_type != "multipart/form-data":
            raise Refused(415, "POST takes a form (multipart/form-data); PUT takes a file")
        await _continue(request)
        replace = False
        stored = []
        with _as_bad_form():
            form = await request.multipart()
        for _ in range(MAX_PARTS):
            with _as_request_timeout(), _as_bad_form():
                async with asyncio.timeout(self._idle):
                    part = await form.next()
            if part is None:
                break
            if not isinstance(part, BodyPartReader):
                raise Refused(400, "a form within a form")
            if part.filename:
                stored.append(await self._store_part(part, replace))
            elif part.name == "replace":
                replace = True
        else:
            raise Refused(400, f"a form may have {MAX_PARTS} parts")
        if not stored:
            raise Refused(400, "the form has no file")
        return stored

    async def _store_part(self, part: BodyPartReader, replace: bool) -> Stored:
        name = names.check(part.filename or "")
        is_there = self._folder.current_tag(name) is not None
        conditions = Conditions(match=frozenset({ANY})) if replace and is_there else Conditions()
        await self._check(name, conditions)
        with _as_request_timeout(), self._folder.upload(name) as upload:
            while not part.at_eof():
                with _as_bad_form():
                    async with asyncio.timeout(self._idle):
                        piece = await part.read_chunk(PIECE)
                if not piece and not part.at_eof():
                    raise Refused(400, "the form ends within a file")
                await asyncio.to_thread(upload.write, piece)
            return await asyncio.to_thread(upload.commit, conditions)

    async def _check(self, name: str, conditions: Conditions) -> bool:
        """Refuse early what `commit` would refuse; also says whether the file is new."""
        current = self._folder.current_tag(name)
        if current == UNKNOWN:
            file, status = self._folder.open(name)
            with file:
                current = entity_tag(await self._folder.digests.of(file, status))
        if refusal := conditions.refusal_to_write(current):
            raise Refused(*refusal)
        return current is None

    async def _pieces(self, content: StreamReader) -> AsyncIterator[bytearray]:
        while not content.at_eof():
            piece = bytearray()
            async with asyncio.timeout(self._idle):
                while len(piece) < PIECE and not content.at_eof():
                    piece += await content.readany()
            yield piece


async def _continue(request: web.BaseRequest) -> None:
    """Ask a client that waits for it to send the body."""
    if request.headers.get("Expect", "").lower() == "100-continue":
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        request.writer.output_size = 0  # aiohttp's own way: the response is still to come


@contextmanager
def _as_bad_form() -> Iterator[None]:
    """What aiohttp's reader of forms raises, each in its place, about a malformed form."""
    try:
        yield
    except (ValueError, RuntimeError, AssertionError, HttpProcessingError) as error:
        raise Refused(400, "this is not a well-formed form") from error


@contextmanager
def _as_request_timeout() -> Iterator[None]:
    try:
        yield
    except TimeoutError as error:
        raise Refused(408, "the file came too slowly") from error
