"""What is sent through a punched hole: keep-alives, and a file.

A NAPT forgets a hole through which nothing was sent for its idle time. What this PC sends renews
its own NAPT's memory, what the peer sends need not (RFC 4787, REQ-6): so both keep it alive.
"""

from __future__ import annotations

import argparse
import asyncio
import socket

from napt_lab.servers.shared.events import emit
from napt_lab.servers.shared.file_in_datagrams import answer_repeats, receive_file, send_file
from napt_lab.servers.stun.attributes import Address

KEEP_ALIVE = b"still here"
LINGER = 1.0  # seconds in which the receiver of a file answers what comes again


class Hole:
    """The way to the peer, as file_in_datagrams wants it."""

    def __init__(self, sock: socket.socket, peer: Address) -> None:
        sock.setblocking(False)
        self._sock, self._peer = sock, peer

    async def send(self, data: bytes) -> None:
        """Send a datagram."""
        await asyncio.get_running_loop().sock_sendto(self._sock, data, self._peer)

    async def recv(self) -> bytes:
        """The peer's next datagram."""
        while True:
            await asyncio.sleep(0)  # else no time-out would come while a stranger floods the port
            data, source = await asyncio.get_running_loop().sock_recvfrom(self._sock, 2048)
            if source == self._peer:
                return data

    async def keep_alive(self, every: float) -> None:
        """Send something every so many seconds; never with 0."""
        while every:
            await asyncio.sleep(every)
            await self.send(KEEP_ALIVE)


async def use(sock: socket.socket, peer: Address, options: argparse.Namespace) -> None:
    """Send or receive the file that is wanted, after a pause. Raises OSError, TimeoutError.

    Events: `done` (bytes, sha256).
    """
    hole = Hole(sock, peer)
    keeping = asyncio.create_task(hole.keep_alive(options.keep_alive))
    await asyncio.sleep(options.pause)
    if options.send:
        size, digest = await send_file(hole, options.send, options.wait)
        emit("done", bytes=size, sha256=digest)
    if options.receive:
        size, digest = await receive_file(hole, options.receive, options.wait)
        emit("done", bytes=size, sha256=digest)
        await asyncio.wait([asyncio.create_task(answer_repeats(hole))], timeout=LINGER)
    keeping.cancel()
