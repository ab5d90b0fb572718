"""Work side by side, each piece in a sandbox and a process of its own, until it is done or due.

A piece hands back one text through a pair of sockets. One that ends without, or is not done at its
deadline, is an error of the machine, and is tried once more when all others are done: alone, so
that a machine with too much to do is not the reason.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from napt_lab.topologies.network.nursery import from_template
from napt_lab.topologies.sandbox import sandbox

_READ = 1 << 16


@dataclass(frozen=True, slots=True)
class Piece:
    """`work` returns a text, in a sandbox; it is told whether it has the machine for itself.

    It is ended after `seconds`.
    """

    name: str
    work: Callable[[bool], str]
    seconds: float


@dataclass(slots=True)
class _Running:
    piece: Piece
    child: int
    source: socket.socket
    due: float
    data: list[bytes] = field(default_factory=list)

    def read(self) -> bool:
        """Take what has come; False at the end."""
        self.data.append(self.source.recv(_READ))
        return bool(self.data[-1])

    def end(self) -> str:
        """What went wrong, "" if nothing did; it has ended, or is killed."""
        self.source.close()
        overdue = time.monotonic() >= self.due
        if overdue:
            os.kill(self.child, signal.SIGKILL)
        _, status = os.waitpid(self.child, 0)
        if overdue:
            return f"it was not done after {self.piece.seconds:.0f} s"
        code = os.waitstatus_to_exitcode(status)
        return f"its process ended with status {code}" if code else ""


def side_by_side(
    pieces: Sequence[Piece], at_a_time: int, is_error: Callable[[str], bool]
) -> Iterator[tuple[Piece, str, str]]:
    """Each piece as it is done: its text, and "" or why it has none.

    `is_error`: whether a text says that the machine failed; then it is tried once more as well.
    """
    again: list[Piece] = []
    with from_template():
        for piece, text, problem in _round(pieces, at_a_time):
            if problem or is_error(text):
                again.append(piece)
            else:
                yield piece, text, ""
        yield from _round(again, 1)


def _round(pieces: Sequence[Piece], at_a_time: int) -> Iterator[tuple[Piece, str, str]]:
    waiting, running = list(pieces), list[_Running]()
    try:
        while waiting or running:
            while waiting and len(running) < at_a_time:
                piece = waiting[0]
                try:
                    running.append(_start(piece, running, alone=at_a_time == 1))
                except OSError as error:
                    if running:  # when one of these has ended, there may be room
                        break
                    yield piece, "", f"no process could be started for it: {error}"
                del waiting[0]
            if not running:
                return
            ended = _await_one(running)
            running.remove(ended)
            problem = ended.end()
            yield ended.piece, b"".join(ended.data).decode("utf-8", "replace"), problem
    finally:
        for left in running:
            left.due = 0.0
            left.end()


def _start(piece: Piece, others: Sequence[_Running], *, alone: bool) -> _Running:
    source, into = socket.socketpair()

    def work() -> int:
        for end in (source, *(one.source for one in others)):  # they are not for this one
            end.close()
        into.sendall(piece.work(alone).encode("utf-8", "replace"))
        return 0

    try:
        child = sandbox.fork_into(work)
    except OSError:
        source.close()
        raise
    finally:
        into.close()
    return _Running(piece, child, source, time.monotonic() + piece.seconds)


def _await_one(running: Sequence[_Running]) -> _Running:
    """The first that ends, by itself or at its deadline."""
    while True:
        wait = max(0.0, min(one.due for one in running) - time.monotonic())
        ready, _, _ = select.select([one.source for one in running], [], [], wait)
        for one in running:
            if (one.source in ready and not one.read()) or time.monotonic() >= one.due:
                return one
