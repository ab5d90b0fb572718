"""Serves the live page to this user's browser, and to nobody else.

Theory of operation. A thread of its own runs aiohttp on the door's socket. The page and all it
asks for lie below a secret path. The Host must be this machine's loopback address (DNS rebinding),
an Origin must be the page's own, and a request that changes something must have one. There are no
CORS headers, and the page's policy lets it load nothing.

The entries of the run are kept in one list, and each browser has its place in it. So a slow
browser slows nobody down: it comes late, and if it is far behind, the packets that it missed are
left out. How many packets are kept in all is limited, too.
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import threading
from collections.abc import Awaitable, Callable, Sequence

from aiohttp import web

from napt_lab.labs.records.stream import Record
from napt_lab.labs.view.door import LOCAL, Door
from napt_lab.labs.view.page import as_json, live_page, live_policy

PACKETS_KEPT = 20_000
BEHIND = 4_000  # entries: a browser that is further behind gets no packets of them
AT_ONCE = 400  # entries in one message
LINE_LIMIT = 4096  # bytes of a request
END_SECONDS = 2.0  # that browsers have at the end to get the rest

Act = Callable[[str, str], tuple[bool, str]]
"""Does something ("do" with a line, "next", "predict" with an answer): whether it went well, and
what came of it, in words."""


class Server:
    """The page of one run, from `start` to `stop`."""

    def __init__(self, door: Door, title: str, act: Act) -> None:
        self._door = door
        self._page = live_page(title)
        self._act = act
        self._entries: list[tuple[bool, str]] = []  # whether it is a packet; as JSON
        self._packets = 0
        self._over: str | None = None
        self._loop = asyncio.new_event_loop()
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
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    # ── in the server's thread ───────────────────────────────────────────────────────────

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        runner = self._loop.run_until_complete(self._open())
        self._ready.set()
        self._loop.run_forever()
        self._loop.run_until_complete(runner.cleanup())

    async def _open(self) -> web.AppRunner:
        application = web.Application(
            middlewares=[self._guard], client_max_size=LINE_LIMIT
        )  # fmt: skip
        application.router.add_get("/{secret}/", self._answer_page)
        application.router.add_get("/{secret}/stream", self._answer_stream)
        application.router.add_post("/{secret}/{what:do|next|predict}", self._answer_act)
        runner = web.AppRunner(application, access_log=None, shutdown_timeout=END_SECONDS)
        await runner.setup()
        await web.SockSite(runner, self._door.listener).start()
        return runner

    @web.middleware
    async def _guard(
        self,
        request: web.Request,
        handler: Callable[[web.Request], Awaitable[web.StreamResponse]],
    ) -> web.StreamResponse:
        """Only requests of the page itself go through."""
        hosts = {f"{name}:{self._door.port}" for name in (LOCAL, "localhost")}
        if request.host not in hosts:
            raise web.HTTPForbidden(text="This page has another address.")
        secret = request.match_info.get("secret", "")
        if not hmac.compare_digest(secret.encode(), self._door.secret.encode()):
            raise web.HTTPForbidden(
                text="The address lacks its secret: use the one that was printed."
            )
        origin = request.headers.get("Origin")
        own = origin == f"http://{request.host}"
        if (origin is not None or request.method != "GET") and not own:
            raise web.HTTPForbidden(text="Another page may not ask this.")
        if request.headers.get("Sec-Fetch-Site", "none") not in ("none", "same-origin"):
            raise web.HTTPForbidden(text="Another page may not ask this.")
        return await handler(request)

    async def _answer_page(self, _request: web.Request) -> web.StreamResponse:
        policy = f"{live_policy()}; frame-ancestors 'none'"
        return web.Response(
            text=self._page,
            content_type="text/html",
            headers=_HEADERS | {"Content-Security-Policy": policy},
        )

    async def _answer_act(self, request: web.Request) -> web.StreamResponse:
        if request.content_type != "application/json":
            raise web.HTTPUnsupportedMediaType
        try:
            line = str((await request.json()).get("line", ""))
        except (ValueError, AttributeError):
            raise web.HTTPBadRequest from None
        well, text = await asyncio.to_thread(self._act, request.match_info["what"], line)
        return web.json_response({"text": text}, status=200 if well else 409, headers=_HEADERS)

    async def _answer_stream(self, request: web.Request) -> web.StreamResponse:
        """Server-sent events (HTML, section 9.2); each has its place in the list as its id."""
        response = web.StreamResponse(headers=_HEADERS | {"Content-Type": "text/event-stream"})
        await response.prepare(request)
        task = asyncio.current_task()
        assert task is not None
        self._behind.add(task)
        try:
            await self._tell(response, _place(request.headers.get("Last-Event-ID", "")))
        except ConnectionError:
            pass  # the page was closed
        finally:
            self._behind.discard(task)
        return response

    async def _tell(self, response: web.StreamResponse, place: int) -> None:
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
                    await response.write(data.encode())
            if not here:
                here = True
                await response.write(b"event: here\ndata:\n\n")
            if self._over is not None:
                await response.write(f"event: over\ndata: {self._over}\n\n".encode())
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


_HEADERS = {
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}


def _place(text: str) -> int:
    return int(text) if text.isascii() and text.isdecimal() else 0
