"""The explicit proxy: a client that is configured for it asks it to fetch, or to open a tunnel.

Theory of operation
-------------------
    PC 10.0.0.7 ──TCP──► 10.0.0.1:3128 proxy 24.9.3.7 ──TCP──► 151.101.1.69:80

Two TCP connections. The PC's packets are addressed to the proxy; the server sees the proxy's own
address, because the proxy opened that connection itself. Nothing is translated, so no NAPT is
needed, but the program on the PC must know how to ask (RFC 9110, sections 7.6 and 9.3.6).

With CONNECT the proxy answers 200 and then passes bytes without reading them: TLS is end to end.
Any other request is read, made anew (`proxy_request`) and its body streamed, one piece of at most
64 KiB at a time; h11 is the HTTP/1.1 state machine on both sides.

An end that the server or the client did not make itself (a time-out, an error on the other side,
the end of this program) is passed on as a reset: half a message must not be taken for a whole one.

Each connection carries one request (RFC 9112, section 9.6 lets a proxy say Connection: close). A
connection that is never used twice can neither mix up two answers nor smuggle a second request.

Events: `request` when the answer is known (peer, method, target, source, server, status),
`ended` when the last byte has passed (bytes up to the server and down to the client, reason).
"""

from __future__ import annotations

import argparse
import asyncio
import http
import os
import secrets
import socket
import sys
from dataclasses import dataclass

import h11

from napt_lab.servers.proxy import request as proxy_request
from napt_lab.servers.proxy.request import RefusedError, Target
from napt_lab.servers.shared.arguments import add_proxying, port_number
from napt_lab.servers.shared.destinations import Destinations, NotDialledError
from napt_lab.servers.shared.events import emit, endpoint
from napt_lab.servers.shared.splice import Pair, fin_when_closed, reset
from napt_lab.servers.shared.tcp_server import (
    Endpoint,
    Limits,
    close_gently,
    listen,
    port_of,
    run,
    serve,
)

HEAD_BYTES = 16_384  # a message's start line and fields; a longer head is refused
PIECE_BYTES = 65_536
STATUS_OF = {"policy": 403, "unreachable": 502, "timeout": 504}
EVENT_TEXT = 200  # characters of a client's text that an event repeats


@dataclass(frozen=True, slots=True)
class Settings:
    """The servers that may be reached, and how long each step may take, in seconds."""

    destinations: Destinations
    tunnel_ports: frozenset[int]
    head_seconds: float
    idle_seconds: float
    pseudonym: str
    """This process's name in Via."""


class Side:
    """One connection of the two: its socket, its HTTP/1.1 state, bytes of body received on it."""

    def __init__(self, sock: socket.socket, role: type[h11.CLIENT] | type[h11.SERVER]) -> None:
        self.sock = sock
        # h11 bounds only what is incomplete: a head of HEAD_BYTES without its end is too long.
        self.state = h11.Connection(role, max_incomplete_event_size=HEAD_BYTES - 1)
        self.body_bytes = 0

    async def receive(self, idle: float) -> h11.Event:
        """The next event. Raises RemoteProtocolError, OSError, TimeoutError after `idle` s."""
        loop = asyncio.get_running_loop()
        while (event := self.state.next_event()) is h11.NEED_DATA:
            async with asyncio.timeout(idle):
                self.state.receive_data(await loop.sock_recv(self.sock, self._room()))
        if isinstance(event, h11.Data):
            self.body_bytes += len(event.data)
        assert isinstance(event, h11.Event)
        return event

    def _room(self) -> int:
        """How many bytes to ask for: of a head never more than it may still have."""
        if self.state.their_state not in (h11.IDLE, h11.SEND_RESPONSE):
            return PIECE_BYTES
        buffered, _ = self.state.trailing_data
        return HEAD_BYTES - len(buffered)

    async def send(self, event: h11.Event, idle: float) -> None:
        """Send all of it. Raises OSError, TimeoutError if it does not go out within `idle` s."""
        if data := self.state.send(event):
            async with asyncio.timeout(idle):
                await asyncio.get_running_loop().sock_sendall(self.sock, data)


class Exchange:
    """One client connection: one request, answered, tunnelled or refused."""

    def __init__(self, sock: socket.socket, peer: Endpoint, settings: Settings) -> None:
        self.client = Side(sock, h11.SERVER)
        self.server: Side | None = None
        self.settings = settings
        self.story: dict[str, object] = {"peer": endpoint(peer)}

    async def run(self) -> None:
        """Serve it to its end; what the two peers do raises no exception here."""
        try:
            request = await self._head()
            if request is None:
                return
            target = self._accepted(request)
            with await self._dial(target) as server:
                if target.path is None:
                    await self._tunnel(server)
                else:
                    await self._forward(request, target, Side(server, h11.CLIENT))
        except RefusedError as refusal:
            await self._refuse(refusal)
        except (OSError, TimeoutError) as error:
            self._give_up(os.strerror(error.errno) if error.errno else "idle")

    async def _head(self) -> h11.Request | None:
        # One deadline for the whole head: sending a byte now and then does not prolong it.
        try:
            async with asyncio.timeout(self.settings.head_seconds):
                event = await self.client.receive(self.settings.head_seconds)
        except TimeoutError:
            seconds = self.settings.head_seconds
            raise RefusedError(408, f"no whole request head within {seconds:g} s") from None
        except h11.RemoteProtocolError as error:
            raise RefusedError(error.error_status_hint, str(error)) from error
        return event if isinstance(event, h11.Request) else None

    def _accepted(self, request: h11.Request) -> Target:
        self.story |= {
            "method": request.method.decode()[:EVENT_TEXT],
            "target": request.target.decode()[:EVENT_TEXT],
        }
        proxy_request.check(request, self.settings.pseudonym)
        target = proxy_request.target_of(request)
        if target.path is None and target.port not in self.settings.tunnel_ports:
            raise RefusedError(403, f"no tunnels to port {target.port}")
        return target

    async def _dial(self, target: Target) -> socket.socket:
        try:
            server = await self.settings.destinations.dial(target.host, target.port)
        except NotDialledError as error:
            raise RefusedError(STATUS_OF[error.cause], str(error)) from error
        try:
            source, peer = server.getsockname(), server.getpeername()
        except OSError as error:
            server.close()
            raise RefusedError(502, f"the server broke off: {error.strerror}") from error
        self.story |= {"source": endpoint(source), "server": endpoint(peer)}
        return server

    async def _tunnel(self, server: socket.socket) -> None:
        idle, client = self.settings.idle_seconds, self.client
        await client.receive(idle)  # EndOfMessage: CONNECT has no body
        await client.send(h11.Response(status_code=200, headers=[], reason=b"Connected"), idle)
        self._tell(200)
        early, _ = client.state.trailing_data
        pair = Pair(client.sock, server, ("client", "server"), early)
        try:
            await pair.run(idle)
        finally:
            self._ended(pair.forth, pair.back, pair.reason)

    async def _forward(self, request: h11.Request, target: Target, server: Side) -> None:
        made_anew = proxy_request.request_to_server(request, target, self.settings.pseudonym)
        # Both at once: a server may answer 100 (Continue), or in full, before it has all the body.
        # Once it has answered in full, what is left of the body is not sent.
        self.server = server
        body = asyncio.create_task(self._pass_request(made_anew, server))
        answer = asyncio.create_task(self._pass_answer(server))
        try:
            await asyncio.wait({body, answer}, return_when=asyncio.FIRST_COMPLETED)
            if body.done() and not answer.done():
                fault = body.exception()
                if isinstance(fault, RefusedError):
                    raise fault
            await answer  # also when the server no longer reads the body: its answer says why
            if body.done() and not body.exception():
                fin_when_closed(server.sock)
        except asyncio.CancelledError as cancelled:
            self._give_up(str(cancelled) or "stopped")
            raise
        finally:
            for task in (body, answer):
                task.cancel()
            await asyncio.gather(body, answer, return_exceptions=True)
        self._ended(*self._passed(), "closed")
        await close_gently(self.client.sock)

    async def _pass_request(self, head: h11.Request, server: Side) -> None:
        idle = self.settings.idle_seconds
        await server.send(head, idle)
        while True:
            try:
                event = await self.client.receive(idle)
            except h11.RemoteProtocolError as error:
                raise RefusedError(error.error_status_hint, str(error)) from error
            except TimeoutError:
                raise RefusedError(408, f"no more of the body within {idle:g} s") from None
            except OSError as error:
                raise RefusedError(400, f"the client broke off: {error.strerror}") from error
            if isinstance(event, h11.EndOfMessage):
                await server.send(h11.EndOfMessage(), idle)  # trailers are dropped (RFC 9110, 6.5)
                return
            await server.send(event, idle)

    async def _pass_answer(self, server: Side) -> None:
        idle, pseudonym = self.settings.idle_seconds, self.settings.pseudonym
        while True:
            event = await self._from_server(server)
            if isinstance(event, h11.InformationalResponse):
                # HTTP/1.0 has no 1xx (RFC 9110, section 15.2).
                if self.client.state.their_http_version != b"1.0":
                    event = proxy_request.interim_to_client(event, pseudonym)
                    await self.client.send(event, idle)
                continue
            if isinstance(event, h11.Response):
                status = event.status_code
                event = proxy_request.response_to_client(event, pseudonym)
                await self.client.send(event, idle)
                self._tell(status)
                continue
            if isinstance(event, h11.EndOfMessage):
                await self.client.send(h11.EndOfMessage(), idle)
                return
            await self.client.send(event, idle)

    async def _from_server(self, server: Side) -> h11.Event:
        try:
            event = await server.receive(self.settings.idle_seconds)
        except h11.RemoteProtocolError as error:
            raise RefusedError(502, f"the server's answer cannot be read: {error}") from error
        except TimeoutError:
            seconds = self.settings.idle_seconds
            raise RefusedError(504, f"the server was silent for {seconds:g} s") from None
        except OSError as error:
            raise RefusedError(502, f"the server broke off: {error.strerror}") from error
        if isinstance(event, h11.ConnectionClosed):
            raise RefusedError(502, "the server closed without an answer")
        return event

    async def _refuse(self, refusal: RefusedError) -> None:
        """Answer with the status and reason; if an answer is under way already, break it off."""
        client = self.client
        if client.state.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
            self._give_up(str(refusal))
            return
        body = f"{refusal}\n".encode()
        headers = [
            ("Content-Type", "text/plain; charset=utf-8"),
            ("Content-Length", str(len(body))),
            ("Connection", "close"),
        ]
        if refusal.status == 405:
            headers.append(("Allow", proxy_request.ALLOWED))
        reason = REASONS.get(refusal.status, "Refused")
        self._tell(refusal.status, reason=str(refusal)[:EVENT_TEXT])
        answer: list[h11.Event] = [
            h11.Response(status_code=refusal.status, headers=headers, reason=reason),
            h11.Data(data=body),
            h11.EndOfMessage(),
        ]
        if self.story.get("method") == "HEAD":  # it is answered without a body
            del answer[1]
        try:
            for event in answer:
                await client.send(event, self.settings.head_seconds)
        except (OSError, TimeoutError):
            reset(client.sock)
        else:
            await close_gently(client.sock)

    def _give_up(self, reason: str) -> None:
        reset(self.client.sock)
        self._ended(*self._passed(), reason[:EVENT_TEXT])

    def _passed(self) -> tuple[int, int]:
        return self.client.body_bytes, self.server.body_bytes if self.server else 0

    def _tell(self, status: int, **more: object) -> None:
        emit("request", **self.story, status=status, **more)

    def _ended(self, up: int, down: int, reason: str) -> None:
        emit("ended", **self.story, bytes_up=up, bytes_down=down, reason=reason)


REASONS = {status.value: status.phrase for status in http.HTTPStatus}
FULL = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


def main() -> int:
    """Run the explicit proxy; returns the exit status."""
    options = argparse.ArgumentParser(
        prog="proxy",
        description="HTTP proxy: CONNECT and absolute-form requests. Use: curl -x ADDRESS:PORT URL",
    )
    add = options.add_argument
    add("--listen", metavar="ADDRESS", default="0.0.0.0", help="default: %(default)s")
    add("--port", type=port_number, default=3128, help="TCP port, default: %(default)s")
    add(
        "--tunnel-port",
        metavar="PORT",
        type=port_number,
        action="append",
        default=[],
        help="port that CONNECT may reach besides 443; can be repeated",
    )
    add(
        "--head-time",
        type=float,
        default=10,
        help="seconds for a whole request head, default: %(default)s",
    )
    add("--idle-time", type=float, default=120, help="seconds without a byte, default: %(default)s")
    add_proxying(options)
    given = options.parse_args()

    async def program() -> None:
        listener = listen(given.listen, given.port, given.device)
        settings = Settings(
            Destinations(port_of(listener), given.allow, given.source, given.connect_time),
            frozenset({443, *given.tunnel_port}),
            given.head_time,
            given.idle_time,
            f"napt-lab-{secrets.token_hex(4)}",
        )

        async def handle(sock: socket.socket, peer: Endpoint) -> None:
            await Exchange(sock, peer, settings).run()

        await serve(listener, handle, Limits(given.connections, given.per_client), farewell=FULL)

    return run(program())


if __name__ == "__main__":
    sys.exit(main())
