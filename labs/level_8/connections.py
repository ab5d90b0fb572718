"""Hold TCP connections to a web server, and do with some of them what one is told.

    connections 151.101.1.69:80 --count 16384 &
    echo use 0-249 > connections        # a GET on each of these, and its answer
    echo close 7 > connections          # FIN (and wait for the server's)
    echo reset 8 > connections          # RST

Theory of operation. One thread and one epoll for all connections. Only BURST handshakes are
under way at any time: each SYN waits in queues on its way, and one that does not fit is sent
again only a second later (RFC 6298, section 5.7). An open connection costs nothing but its file
descriptor. Commands come one a line through a FIFO in the working directory, so that a person
at a prompt gives them as a program does; connections have numbers, in the order of opening.

Events: `progress` (open and failed so far), `failed` (for the first few: number and error),
`opened` (all tried; the first few endpoints), and one for each command: `used` (how many
answered, and whom the server saw in the first few), `closed`, `reset` (how many).

Exit status: 0 told to stop (SIGTERM), 1 cannot run, 2 wrong usage.
"""

from __future__ import annotations

import argparse
import errno
import os
import re
import resource
import select
import signal
import socket
import struct
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from napt_lab.servers.shared.events import emit, endpoint

BURST = 128  # handshakes under way at the same time
TOLD = 8  # endpoints and errors that an event tells of
PROGRESS_SECONDS = 0.2
SPARE_DESCRIPTORS = 32
PEER = re.compile(rb"You are ([0-9.]+:[0-9]+)")
ABORT = struct.pack("ii", 1, 0)  # SO_LINGER on, 0 seconds: close(2) sends RST
RANGE = re.compile(r"([0-9]{1,6})(?:-([0-9]{1,6}))?")

Endpoint = tuple[str, int]


class Connections:
    """The connections of this process. Times are in seconds."""

    def __init__(self, servers: list[Endpoint], from_port: int, patience: float) -> None:
        """They go to `servers` in turn, from `from_port` (0: any port).

        After `patience` seconds in which nothing was heard, waiting ends.
        """
        self._servers = servers
        self._from_port = from_port
        self._patience = patience
        self._poll = select.epoll()
        self._open: dict[int, socket.socket] = {}  # by number
        self._opened = 0
        self._failed = 0
        self._told = 0.0

    def open(self, count: int) -> None:
        """Open `count` connections, and tell about it."""
        under_way: dict[int, tuple[int, socket.socket]] = {}  # by descriptor
        number = 0
        while number < count or under_way:
            while number < count and len(under_way) < BURST:
                sock = self._begin(number)
                if sock is not None:
                    under_way[sock.fileno()] = (number, sock)
                number += 1
            ready = self._poll.poll(self._patience)
            for descriptor, _ in ready:
                self._complete(*under_way.pop(descriptor))
            if not ready:
                for waiting, sock in under_way.values():
                    self._fail(waiting, sock, errno.ETIMEDOUT)
                under_way.clear()
            self._tell_progress()
        sample = [self._open[number] for number in sorted(self._open)[:TOLD]]
        emit(
            "opened",
            open=self._opened,
            failed=self._failed,
            first=[endpoint(sock.getsockname()) for sock in sample],
        )

    def _begin(self, number: int) -> socket.socket | None:
        sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        if self._from_port:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind(("0.0.0.0", self._from_port))
        error = sock.connect_ex(self._servers[number % len(self._servers)])
        if error not in (0, errno.EINPROGRESS):
            self._fail(number, sock, error)
            return None
        self._poll.register(sock, select.EPOLLOUT | select.EPOLLONESHOT)
        return sock

    def _complete(self, number: int, sock: socket.socket) -> None:
        error = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if error:
            self._fail(number, sock, error)
        else:
            self._open[number] = sock
            self._opened += 1

    def _fail(self, number: int, sock: socket.socket, error: int) -> None:
        sock.close()
        self._failed += 1
        if self._failed <= TOLD:
            emit("failed", number=number, error=os.strerror(error), errno=errno.errorcode[error])

    def _tell_progress(self) -> None:
        now = time.monotonic()
        if now - self._told >= PROGRESS_SECONDS:
            self._told = now
            emit("progress", open=self._opened, failed=self._failed)

    # ── commands ───────────────────────────────────────────────────────────────────────────

    def obey(self, command: str) -> None:
        """Do what one line says; tell about it, or what is wrong with it."""
        match command.split():
            case [("use" | "close" | "reset") as verb, numbers] if m := RANGE.fullmatch(numbers):
                first, last = int(m[1]), int(m[2] or m[1])
                chosen = [n for n in range(first, last + 1) if n in self._open]
                {"use": self._use, "close": self._close, "reset": self._reset}[verb](chosen)
            case _:
                emit("misunderstood", command=command[:80], allowed="use|close|reset N or N-M")

    def _use(self, numbers: list[int]) -> None:
        """A request on each connection; a connection that answers is alive."""
        began = time.monotonic()
        waiting: dict[int, socket.socket] = {}
        for number in numbers:
            sock = self._open[number]
            host = endpoint(sock.getpeername())
            try:
                sock.send(f"GET / HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
            except OSError:
                continue  # it does not answer, and is counted so
            self._poll.modify(sock, select.EPOLLIN | select.EPOLLONESHOT)
            waiting[sock.fileno()] = sock
        seen = []
        while waiting and (ready := self._poll.poll(self._patience)):
            for descriptor, _ in ready:
                sock = waiting.pop(descriptor)
                if peer := _answer(sock):
                    seen.append(f"{endpoint(sock.getsockname())} as {peer}")
        emit(
            "used",
            count=len(numbers),
            answered=len(seen),
            first=seen[:TOLD],
            seconds=round(time.monotonic() - began, 3),
        )

    def _close(self, numbers: list[int]) -> None:
        for number in numbers:
            self._open.pop(number).close()
        emit("closed", count=len(numbers))

    def _reset(self, numbers: list[int]) -> None:
        for number in numbers:
            sock = self._open.pop(number)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, ABORT)
            sock.close()
        emit("reset", count=len(numbers))


def _answer(sock: socket.socket) -> str | None:
    """Whom the server says that it sees; None if it says nothing of the kind."""
    try:
        match = PEER.search(sock.recv(4096))  # the page is short: one segment
    except OSError:
        return None
    return match[1].decode() if match else None


@contextmanager
def commands(path: Path) -> Iterator[Iterator[str]]:
    """Lines from the FIFO at `path`, which exists meanwhile; they end at SIGTERM."""
    path.unlink(missing_ok=True)
    os.mkfifo(path, 0o600)
    try:
        # Open for writing as well: without a writer, reading would find the end again and again.
        with os.fdopen(os.open(path, os.O_RDWR), encoding="ascii", errors="replace") as fifo:
            yield (line.strip() for line in fifo)
    finally:
        path.unlink(missing_ok=True)


def server(text: str) -> Endpoint:
    """From ADDRESS:PORT, as the command line has it."""
    address, _, port = text.rpartition(":")
    try:
        socket.inet_aton(address)
        if not 0 < int(port) < 65_536:
            raise ValueError
    except (OSError, ValueError):
        raise argparse.ArgumentTypeError(f"{text!r} is not ADDRESS:PORT") from None
    return address, int(port)


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(
        "connections", description="Hold TCP connections to web servers."
    )
    add = parser.add_argument
    add("server", type=server, nargs="+", metavar="ADDRESS:PORT", help="in turn, if several")
    add("--count", type=int, default=1, metavar="N", help="connections (default 1)")
    add("--from-port", type=int, default=0, metavar="PORT", help="of all of them (default: any)")
    add("--patience", type=float, default=5.0, metavar="SECONDS", help="of silence (default 5)")
    add("--commands", type=Path, default=Path("connections"), metavar="FIFO")
    given = parser.parse_args()
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if not 0 <= given.count <= hard - SPARE_DESCRIPTORS:
        parser.error(f"--count: this process may have {hard - SPARE_DESCRIPTORS} connections")
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        with commands(given.commands) as lines:
            held = Connections(given.server, given.from_port, given.patience)
            held.open(given.count)
            for line in lines:
                held.obey(line)
    except OSError as error:
        print(f"connections: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
