"""Serves the live page to this user's browser, and to nobody else.

Theory of operation. A thread of its own serves on the door's socket, one request on each connection
(exchange.py). The page and all it asks for lie below a secret path. The Host must be this machine's
loopback address (DNS rebinding), an Origin must be the page's own, and a request that changes
something must have one. There are no CORS headers, and the page's policy lets it load nothing.

The entries of the run are kept in one list, and each browser has its place in it. So a slow
browser slows nobody down: it comes late, and if it is far behind, the packets that it missed are
left out. How many packets are kept in all is limited, too.
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import json
import threading
from collections.abc import Callable, Sequence
from http import HTTPStatus

from napt_lab.labs.records.stream import Record
from napt_lab.labs.view.door import LOCAL, Door
from napt_lab.labs.view.exchange import Exchange, Refusal, Request
from napt_lab.labs.view.page import as_json, live_page, live_policy

PACKETS_KEPT = 20_000
BEHIND = 4_000  # entries: a browser that is further behind gets no packets of them
AT_ONCE = 400  # entries in one message
END_SECONDS = 2.0  # that browsers have at the end to get the rest

Act = Callable[[str, str, int], tuple[bool, str]]
"""Does something ("do" with a line, "next", "predict" with an answer), meant for the step of this
number (0: for none): whether it went well, and what came of it, in words."""


class Server:
    """The page of one run, from `start` to `stop`."""

    def __init__(self, door: Door, title: str, act: Act) -> None:
        self._door = door
        self._page = live_page(title)
        self._headers = {
            "Content-Security-Policy": f"{live_policy()}; frame-ancestors 'none'",
            "Cache-Control": "no-store",
            "Referrer-Policy": "no-referrer",
            "X-Content-Type-Options": "nosniff",
            "Cross-Origin-Resource-Policy": "same-origin",
            "Cross-Origin-Opener-Policy": "same-origin",
        }
        self._act = act
        self._entries: list[tuple[bool, str]] = []  # whether it is a packet; as JSON
        self._packets = 0
        self._over: str | None = None
        self._loop: asyncio.AbstractEventLoop  # from `start` on
        self._stopped = asyncio.Event()
        self._news = asyncio.Condition()
        self._behind: set[asyncio.Task[None]] = set()  # browsers that listen
        self._thread = threading.Thread(target=self._run, name="view", daemon=True)
        self._ready = threading.Event()

    def start(self) -> None:
        """Serve from now on."""
        self._thread.start()
        self._ready.wait()

    def publish(self, records: Sequence[Record]) -> None:
        """Give records to all browsers; returns at once."""
        self._loop.call_soon_threadsafe(self._add, list(records))

    def end(self, words: str) -> None:
        """Tell all browsers that nothing more comes. They have END_SECONDS to get the rest."""
        done = asyncio.run_coroutine_threadsafe(self._end(words), self._loop)
        with contextlib.suppress(TimeoutError):
            done.result(2 * END_SECONDS)

    def stop(self) -> None:
        """End the server."""
        self._loop.call_soon_threadsafe(self._stopped.set)
        self._thread.join()

    # ── in the server's thread ───────────────────────────────────────────────────────────

    def _run(self) -> None:
        asyncio.run(self._serve())  # which ends what is still being answered

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        listening = await asyncio.start_server(self._exchange, sock=self._door.listener)
        self._ready.set()
        await self._stopped.wait()
        listening.close()

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        exchange = Exchange(reader, writer)
        try:
            with contextlib.suppress(ConnectionError, TimeoutError):  # the browser has gone
                try:
                    await self._answer(exchange, await exchange.receive())
                except Refusal as refusal:
                    await self._answer_text(exchange, refusal.status, str(refusal))
        finally:
            exchange.close()

    async def _answer(self, exchange: Exchange, request: Request) -> None:
        match request.method, self._admit(request):
            case "GET", "":
                await self._answer_text(exchange, HTTPStatus.OK, self._page, "text/html")
            case "GET", "stream":
                await self._answer_stream(exchange, request)
            case "POST", ("do" | "next" | "predict") as what:
                line, step = _read(request)
                well, text = await asyncio.to_thread(self._act, what, line, step)
                status = HTTPStatus.OK if well else HTTPStatus.CONFLICT
                answer = json.dumps({"text": text})
                await self._answer_text(exchange, status, answer, "application/json")
            case _:
                raise Refusal(HTTPStatus.NOT_FOUND, "There is nothing here.")

    async def _answer_text(
        self, exchange: Exchange, status: int, text: str, kind: str = "text/plain"
    ) -> None:
        content = {"Content-Type": f"{kind}; charset=utf-8"}
        await exchange.begin(status, self._headers | content)
        await exchange.send(text.encode())
        await exchange.end()

    def _admit(self, request: Request) -> str:
        """What is asked for, below the secret. Only requests of the page itself go through."""
        host = request.headers.get("host", "")
        if host not in {f"{name}:{self._door.port}" for name in (LOCAL, "localhost")}:
            raise Refusal(HTTPStatus.FORBIDDEN, "This page has another address.")
        before, _, what = request.target.rpartition("/")
        if not hmac.compare_digest(before, f"/{self._door.secret}"):
            raise Refusal(
                HTTPStatus.FORBIDDEN, "The address lacks its secret: use the one that was printed."
            )
        origin = request.headers.get("origin")
        foreign = origin != f"http://{host}" and (origin is not None or request.method != "GET")
        site = request.headers.get("sec-fetch-site", "none")
        if foreign or site not in ("none", "same-origin"):
            raise Refusal(HTTPStatus.FORBIDDEN, "Another page may not ask this.")
        return what

    async def _answer_stream(self, exchange: Exchange, request: Request) -> None:
        """Server-sent events (HTML, section 9.2); each has its place in the list as its id."""
        await exchange.begin(HTTPStatus.OK, self._headers | {"Content-Type": "text/event-stream"})
        task = asyncio.current_task()
        assert task is not None
        self._behind.add(task)
        try:
            await self._tell(exchange, _place(request.headers.get("last-event-id", "")))
            await exchange.end()
        finally:
            self._behind.discard(task)

    async def _tell(self, exchange: Exchange, place: int) -> None:
        here = False  # whether the page was told that it has all that had been
        while True:
            while place < len(self._entries):
                until = min(place + AT_ONCE, len(self._entries))
                late = len(self._entries) - until > BEHIND
                told = [
                    text for packet, text in self._entries[place:until] if not packet or not late
                ]
                place = until
                if told:
                    data = f"id: {place}\ndata: [{','.join(told)}]\n\n"
                    await exchange.send(data.encode())
            if not here:
                here = True
                await exchange.send(b"event: here\ndata:\n\n")
            if self._over is not None:
                await exchange.send(f"event: over\ndata: {self._over}\n\n".encode())
                return
            async with self._news:
                if place == len(self._entries) and self._over is None:
                    await self._news.wait()

    def _add(self, records: list[Record]) -> None:
        for record in records:
            packet = record["kind"] == "packet"
            self._packets += packet
            if packet and self._packets > PACKETS_KEPT:
                continue
            self._entries.append((packet, as_json([record])[1:-1]))
        self._loop.create_task(self._wake())

    async def _wake(self) -> None:
        async with self._news:
            self._news.notify_all()

    async def _end(self, words: str) -> None:
        self._over = words
        await self._wake()
        if self._behind:
            await asyncio.wait(self._behind, timeout=END_SECONDS)


def _read(request: Request) -> tuple[str, int]:
    """The line, and the step that it is meant for. Raises Refusal."""
    if request.headers.get("content-type") != "application/json":  # another page cannot send it
        raise Refusal(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "A request is JSON.")
    with contextlib.suppress(ValueError, RecursionError):
        match json.loads(request.body):
            case {"line": str(line), "step": int(step)}:
                return line, step
    raise Refusal(HTTPStatus.BAD_REQUEST, "A request has a line and the number of a step.")


def _place(text: str) -> int:
    return int(text) if text.isascii() and text.isdecimal() else 0
