"""Uploads: PUT with the file as the body, and POST with a form's files (RFC 7578).

Theory of operation. The body flows in pieces: network -> piece -> thread that hashes and
writes it; the next piece is read only then, so that TCP's own flow control (RFC 9293,
section 3.8.6) holds back a client that is faster than the disk, and memory stays at a few
pieces per upload. What can be refused is refused before the body is asked for: a client
that sent `Expect: 100-continue` (RFC 9110, section 10.1.1) then keeps its gigabytes.

Uploads at the same time are bounded, and shared fairly by addresses (`shares`): the longest of
the address that has the most is ended with 503 when an address with fewer asks. So is one that is
slow, when an address with none asks: as many slow uploads as there are places keep no one out.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import ExitStack, asynccontextmanager, contextmanager

from aiohttp import BodyPartReader, MultipartReader, StreamReader, web
from aiohttp.http import HttpProcessingError

from napt_lab.servers.files import names
from napt_lab.servers.files.conditions import ANY, Conditions
from napt_lab.servers.files.form import BadForm, names_of_part
from napt_lab.servers.files.storage import Folder, Refused, Stored, Upload
from napt_lab.servers.shared.shares import NoPlaceError, Shares

PIECE = 128 * 1024  # bytes
MAX_PARTS = 100  # of one form
SLOW = 8  # an upload keeps its place for sure if it is so many times as fast as it must be


class Incoming:
    """One request that uploads: how long it may take, and whether its place was given away."""

    def __init__(self, idle: float) -> None:
        self._idle = idle
        self._begun = asyncio.get_running_loop().time()
        self._pieces = 0
        self._displaced = False
        self._timeout: asyncio.Timeout | None = None

    @asynccontextmanager
    async def patience(self) -> AsyncIterator[None]:
        """While it waits for the client. Raises Refused (408, 503)."""
        try:
            async with asyncio.timeout(0 if self._displaced else self._idle) as self._timeout:
                yield
            self._pieces += 1
        except TimeoutError as error:
            if self._displaced:
                raise Refused(503, "another address needed this upload's place") from error
            raise Refused(408, "the file came too slowly") from error
        finally:
            self._timeout = None

    def is_busy(self) -> bool:
        """Whether its pieces have come fast on average: SLOW times as fast as they must."""
        taken = asyncio.get_running_loop().time() - self._begun
        return taken <= (self._pieces + 1) * self._idle / SLOW

    def displace(self) -> None:
        """End it now, or as soon as it waits for the client again."""
        self._displaced = True
        if self._timeout is not None:
            self._timeout.reschedule(0)


class Receiver:
    """Takes uploads into a folder. Each PIECE bytes must arrive within `idle` seconds."""

    def __init__(self, folder: Folder, idle: float) -> None:
        self._folder = folder
        self._idle = idle
        self._places: Shares[Incoming] = Shares(folder.limits.max_uploads)

    async def put(self, request: web.BaseRequest, name: str) -> tuple[Stored, bool]:
        """Store the body as `name`; also says whether the file is new. Raises Refused."""
        if "Content-Encoding" in request.headers:
            raise Refused(415, "send the file as it is, without Content-Encoding")
        if "Content-Range" in request.headers:  # RFC 9110, section 14.5
            raise Refused(400, "a part of a file cannot be PUT")
        conditions = Conditions(request.if_match, request.if_none_match)
        is_new = self._check(name, conditions)
        with self._place(request) as incoming, self._folder.upload(name, conditions) as upload:
            upload.expect(request.content_length or 0)
            await _continue(request)
            async for piece in _pieces(request.content, incoming):
                await asyncio.to_thread(upload.write, piece)
            (stored,) = await asyncio.to_thread(self._folder.publish, [upload])
            return stored, is_new

    async def post(self, request: web.BaseRequest) -> Sequence[Stored]:
        """Store the files of a form, all or none. Raises Refused.

        A field `replace` before a file lets it replace another.
        """
        if request.content_type != "multipart/form-data":
            raise Refused(415, "POST takes a form (multipart/form-data); PUT takes a file")
        with self._place(request) as incoming, ExitStack() as stack:
            await _continue(request)
            with _as_bad_form():
                form = await request.multipart()
            replace = False
            uploads: dict[str, Upload] = {}
            async for part in _parts(form, incoming):
                with _as_bad_form():
                    fields = part.headers.getall("Content-Disposition", [])
                    field, filename = names_of_part(fields)
                if filename is None:
                    replace = replace or field == "replace"
                    continue
                if filename == "":  # what a browser sends when no file was chosen
                    await _require_empty(part, incoming)
                    continue
                if filename in uploads:
                    raise Refused(400, f"the form has two files of the name {filename}")
                upload = stack.enter_context(self._upload(names.check(filename), replace))
                await _receive(part, incoming, upload)
                uploads[filename] = upload
            if not uploads:
                raise Refused(400, "the form has no file")
            return await asyncio.to_thread(self._folder.publish, list(uploads.values()))

    @contextmanager
    def _place(self, request: web.BaseRequest) -> Iterator[Incoming]:
        peer = request.get_extra_info("peername")
        if peer is None:
            raise ConnectionResetError("the client is gone")
        incoming = Incoming(self._idle)
        try:
            loser = self._places.take(peer[0], incoming, Incoming.is_busy)
        except NoPlaceError as error:
            raise Refused(503, f"{error}, by other uploads; try again later") from None
        if loser is not None:
            loser.displace()
        try:
            yield incoming
        finally:
            self._places.release(incoming)

    @contextmanager
    def _upload(self, name: str, replace: bool) -> Iterator[Upload]:
        exists = self._folder.current_tag(name) is not None
        conditions = Conditions(match=[ANY]) if replace and exists else Conditions()
        try:
            self._check(name, conditions)
        except Refused as refused:
            raise Refused(refused.status, f"{name}: {refused}") from None
        with self._folder.upload(name, conditions) as upload:
            yield upload

    def _check(self, name: str, conditions: Conditions) -> bool:
        """Refuse early what `publish` would refuse; also says whether the file is new."""
        current = self._folder.current_tag(name)
        if refusal := conditions.refusal_to_write(current):
            raise Refused(*refusal)
        return current is None


async def _pieces(content: StreamReader, incoming: Incoming) -> AsyncIterator[bytearray]:
    while not content.at_eof():
        piece = bytearray()
        async with incoming.patience():
            while len(piece) < PIECE and not content.at_eof():
                piece += await content.readany()
        yield piece


async def _parts(form: MultipartReader, incoming: Incoming) -> AsyncIterator[BodyPartReader]:
    for _ in range(MAX_PARTS):
        with _as_bad_form():
            async with incoming.patience():
                part = await form.next()
        if part is None:
            return
        if not isinstance(part, BodyPartReader):
            raise Refused(400, "a form within a form")
        yield part
    raise Refused(400, f"a form may have {MAX_PARTS} parts")


async def _pieces_of_part(part: BodyPartReader, incoming: Incoming) -> AsyncIterator[bytes]:
    while not part.at_eof():
        with _as_bad_form():
            async with incoming.patience():
                piece = await part.read_chunk(PIECE)
        if not piece and not part.at_eof():
            raise Refused(400, "the form ends within a file")
        yield piece


async def _receive(part: BodyPartReader, incoming: Incoming, upload: Upload) -> None:
    async for piece in _pieces_of_part(part, incoming):
        await asyncio.to_thread(upload.write, piece)


async def _require_empty(part: BodyPartReader, incoming: Incoming) -> None:
    async for piece in _pieces_of_part(part, incoming):
        if piece:
            raise Refused(400, "a file in the form has no name")


async def _continue(request: web.BaseRequest) -> None:
    """Ask a client that waits for it to send the body."""
    if request.headers.get("Expect", "").lower() == "100-continue":
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        request.writer.output_size = 0  # aiohttp's own way: the response is still to come


@contextmanager
def _as_bad_form() -> Iterator[None]:
    """What aiohttp's reader of forms raises about a malformed form, and BadForm, as 400."""
    try:
        yield
    except BadForm as error:
        raise Refused(400, str(error)) from error
    except (ValueError, RuntimeError, AssertionError, HttpProcessingError) as error:
        raise Refused(400, "this is not a well-formed form") from error
