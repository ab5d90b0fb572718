"""The node's side of the worker: start it, ask it, and end it when it does not answer.

A worker is forked, so that the file that it loads finds a fresh process each time. One that does
not answer may have no luck on a busy machine. So it is ended only when it has taken so much
processor time since it was asked (an endless loop), or when it was found asleep so often (it
waits for something).
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from napt_lab.nat_node.core.settings import Settings
from napt_lab.nat_node.engines.student import channel
from napt_lab.nat_node.engines.student.channel import Frame, Frames
from napt_lab.nat_node.engines.student.faults import LoadError

PROCESSOR_SECONDS, LOAD_SECONDS = 2.0, 5.0  # of computing until it is ended
LOOK_SECONDS = 0.25
ASLEEP = 12  # looks in a row
CLOCK_SECONDS = 60.0
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

    @property
    def pid(self) -> int:
        """The worker's process; 0 if there is none."""
        return self._pid

    def start(self) -> tuple[list[str], list[Frame]]:
        """A fresh worker: which optional functions the file has, and what it said meanwhile.

        Raises LoadError if the file cannot be used.
        """
        ours, theirs = socket.socketpair()
        self._traces, traces = os.pipe()
        self._pid = os.fork()
        if not self._pid:
            try:
                from napt_lab.nat_node.engines.student.worker import run

                run(theirs, traces, self._settings, self._file)
            finally:
                os._exit(70)
        theirs.close()
        os.close(traces)
        self._link, self._frames = ours, Frames(ours)
        frames: list[Frame] = []
        try:
            while not any(kind in (channel.READY, channel.FAULT) for kind, _ in frames):
                frames += self._await(LOAD_SECONDS)
        except WorkerLost as lost:
            raise LoadError(f"{self._file}:1: it could not be loaded: {lost}") from None
        for kind, body in frames:
            if kind == channel.FAULT:
                self.end()
                raise LoadError(channel.read(body)["text"])
            if kind == channel.READY:
                functions: list[str] = channel.read(body)
        return functions, [frame for frame in frames if frame[0] == channel.PRINTED]

    def ask(self, questions: Sequence[bytes]) -> Iterator[Frame]:
        """All frames of the answers; DONE ends each. Raises WorkerLost."""
        try:
            self._link.sendall(b"".join(questions))
        except OSError:
            raise self._gone() from None
        missing = len(questions)
        while missing:
            for kind, body in self._await(PROCESSOR_SECONDS):
                missing -= kind == channel.DONE
                yield kind, body

    def end(self) -> None:
        """End it now."""
        if self._pid:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._pid, signal.SIGKILL)
            os.waitpid(self._pid, 0)
            self._pid = 0
            self._link.close()
            os.close(self._traces)

    def _await(self, processor: float) -> list[Frame]:
        """The frames that come next."""
        if not select.select([self._link], [], [], LOOK_SECONDS)[0]:
            self._watch(processor)
        try:
            self._frames.receive()
        except channel.Lost:
            raise self._gone() from None
        return list(self._frames.whole())

    def _watch(self, processor: float) -> None:
        """Look at the worker until it says something; WorkerLost if it never will."""
        (began, taken), asleep = (time.monotonic(), self._look()[1]), 0
        while not select.select([self._link], [], [], LOOK_SECONDS)[0]:
            state, total = self._look()
            asleep = asleep + 1 if state == "S" else 0
            waited = time.monotonic() - began
            if asleep >= ASLEEP or waited > CLOCK_SECONDS:
                raise self._stuck("it waits for something (sleep, a socket?): a NAPT never does")
            if total - taken > processor:
                raise self._stuck(f"it has been computing for {total - taken:.0f} s")

    def _look(self) -> tuple[str, float]:
        """What the worker does (R: at work, S: asleep), and the seconds that it has computed."""
        stat = Path(f"/proc/{self._pid}/stat").read_text(encoding="ascii", errors="replace")
        state, *fields = stat.rpartition(")")[2].split()
        return state, (int(fields[10]) + int(fields[11])) / _TICKS

    def _stuck(self, why: str) -> WorkerLost:
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
        return WorkerLost(f"{where}{why}; it had to be ended")

    def _gone(self) -> WorkerLost:
        _, status = os.waitpid(self._pid, 0)
        self._pid = 0
        self._link.close()
        os.close(self._traces)
        code = os.waitstatus_to_exitcode(status)
        how = f"with status {code} (os._exit?)" if code >= 0 else f"by {signal.Signals(-code).name}"
        return WorkerLost(f"{self._file.name}: its process has ended {how}")


def _own_lines(trace: str, file: Path) -> str:
    """From faulthandler's trace, innermost first, the student's lines, innermost last."""
    own = [
        line.strip().removeprefix(f'File "{file.resolve().parent}/').replace('", line ', ":")
        for line in trace.splitlines()
        if str(file.resolve()) in line
    ]
    return "".join(f"{line}\n" for line in reversed(own[:3]))
