"""The plain relay: two parties dial out to it, meet by a shared secret, and are spliced.

Theory of operation
-------------------
    PC ──► NAPT ──► relay 198.51.100.9:9000 ◄── NAPT ◄── PC

Neither PC can be dialled, both can dial, so both dial the relay. Each sends one line, the token;
from the next byte on, what one sends the other receives. The relay adds no byte of its own for a
party that is joined, so any program that uses TCP will do.

    TOKEN=$(openssl rand -hex 16)
    (echo $TOKEN; cat photo.jpg) | nc -N relay 9000                  the sender
    echo $TOKEN | nc relay 9000 > photo.jpg                          the receiver

The party that comes first waits, up to the waiting time; what it sends meanwhile stays in the
kernel's socket buffers, and TCP's own window stops it. Bytes then pass as `splice` explains: never
in this process's memory, never on disk. The end of one direction is passed on. When a party is cut
off or vanishes, or the relay is stopped, both parties are reset, so that half a file is not taken
for a whole one.

A FIN while a party waits means only that it has sent everything (`nc -N`). So a party is known to
be gone when it resets its connection: it is forgotten at once, with what it sent. `dial` resets
when it is interrupted or killed. A killed `nc` sends FIN like one that has finished; only a digest
of the file shows that.

A party that is turned away gets one line, `relay: ` and why, and is then reset: a FIN would say
that this line is the file. Tokens and limits: `rendezvous`.

Events: `waiting` (peer, meeting), `joined` (first, second, meeting), `ended` (bytes_forth from
first to second, bytes_back, reason), `left` (peer, reason), `refused` (peer, reason).
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import socket
import sys
from dataclasses import dataclass

from napt_lab.servers.relay import rendezvous
from napt_lab.servers.relay.rendezvous import (
    Failures,
    Meeting,
    RefusedError,
    Rendezvous,
    WrongTokenError,
)
from napt_lab.servers.shared import tcp_server
from napt_lab.servers.shared.arguments import port_number
from napt_lab.servers.shared.events import emit, endpoint
from napt_lab.servers.shared.splice import Pair, failed, readable
from napt_lab.servers.shared.tcp_server import Endpoint, listen, run, serve

FAREWELL_SECONDS = 0.5
"""How long a party has to read why it was turned away, before the reset."""


@dataclass(frozen=True, slots=True)
class Times:
    """How long a party may take for its first line, wait, and be silent, in seconds."""

    line: float
    waiting: float
    idle: float


@dataclass(slots=True, eq=False)
class Party:
    """A client that dialled: its socket, its task, and what a pair's two tasks tell each other."""

    sock: socket.socket
    name: str
    address: str
    task: asyncio.Task[None]
    joined: asyncio.Event
    parted: asyncio.Event


class Relay:
    """Serves parties: the first of a pair splices, the second waits until that is over."""

    def __init__(self, times: Times, limits: rendezvous.Limits) -> None:
        self.times = times
        self.rendezvous: Rendezvous[Party] = Rendezvous(limits)
        self.failures = Failures(limits.failures_per_address)

    async def handle(self, sock: socket.socket, peer: Endpoint) -> None:
        """Serve one party to its end."""
        task = asyncio.current_task()
        assert task is not None
        party = Party(sock, endpoint(peer), peer[0], task, asyncio.Event(), asyncio.Event())
        try:
            if self.failures.too_many(party.address, self._now()):
                raise RefusedError("too many failures from this address, wait a minute")
            try:
                token = rendezvous.parse_token(await self._line(sock))
                meeting, displaced = self.rendezvous.arrive(token, party, party.address)
            except WrongTokenError:
                self.failures.add(party.address, self._now())
                raise
            if displaced is not None:
                self._displace(displaced, party)
            if meeting.first is party:
                await self._host(party, meeting)
            else:
                await self._be_joined(party, meeting.first)
        except RefusedError as refusal:
            emit("refused", peer=party.name, reason=str(refusal))
            await self._farewell(sock, str(refusal))
        except OSError as error:
            emit("left", peer=party.name, reason=os.strerror(error.errno or 0).lower())

    def _displace(self, meeting: Meeting[Party], newcomer: Party) -> None:
        first, reason = meeting.first, f"its place went to {newcomer.address}"
        if meeting.second is None:
            emit("left", peer=first.name, meeting=meeting.name, reason=reason)
        first.task.cancel(reason)

    async def _be_joined(self, party: Party, first: Party) -> None:
        first.joined.set()
        try:
            await party.parted.wait()
        except asyncio.CancelledError as cancelled:
            if not first.task.cancelling():
                first.task.cancel(*cancelled.args)  # it tells the bytes, and resets both
            await party.parted.wait()
            raise

    async def _host(self, party: Party, meeting: Meeting[Party]) -> None:
        try:
            reason = await self._wait(party, meeting)
            if meeting.second is not None:
                await self._join(party, meeting.second, meeting.name)
                return
        finally:
            self.rendezvous.end(meeting)
            if meeting.second is not None:
                meeting.second.parted.set()
        self.failures.add(party.address, self._now())
        emit("left", peer=party.name, meeting=meeting.name, reason=reason)
        await self._farewell(party.sock, reason)

    async def _wait(self, party: Party, meeting: Meeting[Party]) -> str:
        """Wait for the second party; if none came, returns why the waiting ended."""
        emit("waiting", peer=party.name, meeting=meeting.name)
        joined = asyncio.create_task(party.joined.wait())
        gone = asyncio.create_task(failed(party.sock))
        try:
            done, _ = await asyncio.wait(
                {joined, gone}, timeout=self.times.waiting, return_when=asyncio.FIRST_COMPLETED
            )
        finally:
            joined.cancel()
            gone.cancel()
        if gone in done:
            gone.result()  # raises OSError when there was no descriptor left to watch with
            return "the connection was reset while waiting"
        return f"no other party came with this token within {self.times.waiting:g} s"

    async def _join(self, first: Party, second: Party, meeting: str) -> None:
        emit("joined", first=first.name, second=second.name, meeting=meeting)
        pair = Pair(first.sock, second.sock, (first.name, second.name))
        try:
            await pair.run(self.times.idle)
        finally:
            emit(
                "ended",
                first=first.name,
                second=second.name,
                meeting=meeting,
                bytes_forth=pair.forth,
                bytes_back=pair.back,
                reason=pair.reason,
            )

    async def _line(self, sock: socket.socket) -> bytes:
        """The first line; what follows it stays in the kernel for splice to move."""
        line = b""
        try:
            async with asyncio.timeout(self.times.line):
                while not line.endswith(b"\n"):
                    if len(line) == rendezvous.TOKEN_LINE_BYTES:
                        raise WrongTokenError("the first line is longer than any token")
                    await readable(sock)
                    peeked = sock.recv(rendezvous.TOKEN_LINE_BYTES - len(line), socket.MSG_PEEK)
                    if not peeked:
                        raise WrongTokenError("no token: the first line did not come to its end")
                    end = peeked.find(b"\n") + 1
                    line += sock.recv(end or len(peeked))
        except TimeoutError:
            raise WrongTokenError(f"no token within {self.times.line:g} s") from None
        return line

    async def _farewell(self, sock: socket.socket, reason: str) -> None:
        """Say why it is turned away, and leave it the time to read that; then it is reset."""
        with contextlib.suppress(OSError, TimeoutError):
            sock.send(f"relay: {reason}\n".encode())
            async with asyncio.timeout(FAREWELL_SECONDS):
                await failed(sock)

    def _now(self) -> float:
        return asyncio.get_running_loop().time()


def main() -> int:
    """Run the relay; returns the exit status."""
    options = argparse.ArgumentParser(
        prog="relay",
        description="Join two parties that send the same token, a line of hexadecimal digits.",
    )
    bounds = rendezvous.Limits()
    add = options.add_argument
    add("--listen", metavar="ADDRESS", default="0.0.0.0", help="default: %(default)s")
    add("--port", type=port_number, default=9000, help="TCP port, default: %(default)s")
    add("--line-time", type=float, default=10, help="seconds for the token, default: %(default)s")
    add("--waiting-time", type=float, default=120, help="seconds, default: %(default)s")
    add("--idle-time", type=float, default=120, help="seconds without a byte, default: %(default)s")
    for name, what in (
        ("waiting", "parties that wait"),
        ("waiting-per-address", "of these from one address"),
        ("pairs", "pairs that are joined"),
        ("pairs-per-address", "of these with one address"),
        ("failures-per-address", "wrong tokens from one address in a minute"),
    ):
        default = getattr(bounds, name.replace("-", "_"))
        add(f"--{name}", type=int, default=default, help=f"at most, {what}, default: %(default)s")
    given = options.parse_args()
    limits = rendezvous.Limits(
        given.waiting,
        given.waiting_per_address,
        given.pairs,
        given.pairs_per_address,
        given.failures_per_address,
    )
    times = Times(given.line_time, given.waiting_time, given.idle_time)
    # Room for parties that have not shown their token yet: as many as may wait.
    connections = tcp_server.Limits(
        connections=2 * given.waiting + 2 * given.pairs,
        per_client=2 * given.waiting_per_address + 2 * given.pairs_per_address,
    )

    async def program() -> None:
        await serve(listen(given.listen, given.port), Relay(times, limits).handle, connections)

    return run(program())


if __name__ == "__main__":
    sys.exit(main())
