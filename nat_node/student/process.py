"""The node's side of the worker: start it, ask it, and end it when it does not answer.

A worker is forked, so that the file that it loads finds a fresh process each time. Whether one
that does not answer is at work or only unlucky on a busy machine is told by the processor time
that it has taken since it was asked.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import time
from pathlib import Path

from nat_node.settings import Settings
from nat_node.student import channel
from nat_node.student.channel import Frame, Frames
from nat_node.student.faults import LoadError

PROCESSOR_SECONDS, CLOCK_SECONDS = 2.0, 12.0  # until a worker that does not answer is ended
LOAD_SECONDS = 8.0
LOOK_SECONDS = 0.25
TRACE_SECONDS = 1.0  # how long it has for saying where it stands
TRACE_BYTES = 16_384
_TICKS = os.sysconf("SC_CLK_TCK")


class WorkerLost(Exception):
    """The worker has ended, or had to be ended; the text says how and where it stood."""


class WorkerProcess:
    """One worker at a time. `start` it, `ask` it, `end` it."""

    def __init__(self, settings: Settings, file: Path) -> None:
        self._settings = settings
        self._file = file
        self._pid = 0

    def start(self) -> tuple[list[str], list[Frame]]:
        """A fresh worker: which optional functions the file has, and what it said meanwhile.

        Raises LoadError if the file cannot be used.
        """
        ours, theirs = socket.socketpair()
        self._traces, traces = os.pipe()
        self._pid = os.fork()
        if not self._pid:
            try:
                from nat_node.student.worker import run

                run(theirs, traces, self._settings, self._file)
            finally:
                os._exit(70)
        theirs.close()
        os.close(traces)
        self._link, self._frames = ours, Frames(ours)
        frames: list[Frame] = []
        try:
            while not any(kind in (channel.READY, channel.FAULT) for kind, _ in frames):
                frames += self._await(LOAD_SECONDS, LOAD_SECONDS * 3)
        except WorkerLost as lost:
            raise LoadError(f"{self._file}:1: it could not be loaded: {lost}") from None
        for kind, body in frames:
            if kind == channel.FAULT:
                self.end()
                raise LoadError(channel.read(body)["text"])
            if kind == channel.READY:
                functions: list[str] = channel.read(body)
        return functions, [frame for frame in frames if frame[0] == channel.PRINTED]

    @property
    def alive(self) -> bool:
        return bool(self._pid)

    def ask(self, question: bytes) -> list[Frame]:
        """All frames of the answer. Raises WorkerLost."""
        answer: list[Frame] = []
        try:
            self._link.sendall(question)
        except OSError:
            raise self._gone() from None
        while not answer or answer[-1][0] != channel.DONE:
            answer += self._await(PROCESSOR_SECONDS, CLOCK_SECONDS)
        return answer[:-1]

    def end(self) -> None:
        """End it now."""
        if self._pid:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._pid, signal.SIGKILL)
            os.waitpid(self._pid, 0)
            self._pid = 0
            self._link.close()
            os.close(self._traces)

    def _await(self, processor: float, clock: float) -> list[Frame]:
        """The frames that come next."""
        taken, began = self._processor_time(), time.monotonic()
        while not select.select([self._link], [], [], LOOK_SECONDS)[0]:
            computed, waited = self._processor_time() - taken, time.monotonic() - began
            if computed > processor or waited > clock:
                raise self._stuck(f"{max(computed, 0):.1f} s of computing, {waited:.1f} s in all")
        try:
            self._frames.receive()
        except channel.Lost:
            raise self._gone() from None
        return list(self._frames.whole())

    def _processor_time(self) -> float:
        """Seconds that the worker has computed; 0 if it is gone."""
        try:
            fields = Path(f"/proc/{self._pid}/stat").read_text(encoding="ascii", errors="replace")
        except OSError:
            return 0.0
        user, system = fields.rpartition(")")[2].split()[11:13]
        return (int(user) + int(system)) / _TICKS

    def _stuck(self, how_long: str) -> WorkerLost:
        """It hears no signal that Python would handle: ask the C library where it stands."""
        os.kill(self._pid, signal.SIGUSR1)
        trace = b""
        while len(trace) < TRACE_BYTES and select.select([self._traces], [], [], TRACE_SECONDS)[0]:
            data = os.read(self._traces, 4096)
            trace += data
            if not data or b"in _call\n" in trace:
                break
        where = _own_lines(trace.decode(errors="replace"), self._file)
        self.end()
        return WorkerLost(f"{where}it does not come back ({how_long}), so it was ended")

    def _gone(self) -> WorkerLost:
        _, status = os.waitpid(self._pid, 0)
        self._pid = 0
        self._link.close()
        os.close(self._traces)
        code = os.waitstatus_to_exitcode(status)
        how = f"with status {code} (os._exit?)" if code >= 0 else f"by {signal.Signals(-code).name}"
        return WorkerLost(f"{self._file}: its process has ended {how}")


def _own_lines(trace: str, file: Path) -> str:
    """From faulthandler's trace, innermost first, the student's lines, innermost last."""
    own = [
        line.strip().removeprefix("File ").replace('", line ', ":").replace('"', "")
        for line in trace.splitlines()
        if str(file.resolve()) in line
    ]
    return "".join(f"{line}\n" for line in reversed(own[:3]))
