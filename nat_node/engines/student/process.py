"""The node's side of the worker: start it, ask it, and end it when it does not answer.

A worker is a program started afresh, with an environment that holds nothing of ours: what runs in
it can read all of its memory. It takes itself behind a wall (wall.py) by forking once; its first
process ends, and the kernel gives its child to us.

One that does not answer may only be waiting for its turn on a busy machine. So it is ended when it
has taken so much processor time since it was asked (an endless loop), or when it was found asleep
so often (it waits for something).
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from napt_lab.nat_node.core.settings import Settings
from napt_lab.nat_node.engines.student import channel
from napt_lab.nat_node.engines.student.channel import Frame, Frames
from napt_lab.nat_node.engines.student.faults import LoadError
from napt_lab.nat_node.engines.student.wall import WallError

PROCESSOR_SECONDS, LOAD_SECONDS = 2.0, 5.0  # of computing until it is ended
LOOK_SECONDS = 0.25
ASLEEP = 12  # looks in a row
CLOCK_SECONDS = 60.0
TRACE_SECONDS = 1.0  # how long it has for saying where it stands
TRACE_BYTES = 16_384
LONGEST_SOURCE = 1 << 20  # bytes of a student's file
MOST_FRAMES = 200_000  # of one answer: when 65,535 rules end at once, each is told
LOAD_BYTES = 1 << 20  # of what it prints meanwhile
_TICKS = os.sysconf("SC_CLK_TCK")
_CHILD_SUBREAPER = 36
_KEPT = ("PYTHONPATH",)  # of our environment: where a checkout's modules are
_ENVIRONMENT = {"PYTHONDONTWRITEBYTECODE": "1", "LANG": "C.UTF-8"}
_libc = ctypes.CDLL(None, use_errno=True)


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

        Raises LoadError if the file cannot be used, WallError if it cannot be walled in.
        """
        source = self._source()
        ours, theirs = socket.socketpair()
        self._traces, traces = os.pipe()
        argv = [sys.executable, "-s", "-P", "-m", "napt_lab.nat_node.engines.student.worker"]
        ends = (theirs.fileno(), traces)
        kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
        _libc.prctl(_CHILD_SUBREAPER, 1, 0, 0, 0)  # what it forks becomes our child
        try:
            launcher = subprocess.Popen(
                [*argv, *map(str, ends)], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                env=_ENVIRONMENT | kept, cwd="/", pass_fds=ends,
            )  # fmt: skip
            theirs.close()
            os.close(traces)
            self._link, self._frames = ours, Frames(ours)
            launcher.wait()
        finally:
            _libc.prctl(_CHILD_SUBREAPER, 0, 0, 0, 0)
        self._pid = int(self._built(channel.BORN))
        self._link.sendall(channel.start(self._settings, self._file, source))
        self._built(channel.WALLED_IN)
        try:
            return self._loaded()
        except WorkerLost as lost:
            raise LoadError(f"{self._file}:1: it could not be loaded: {lost}") from None
        except channel.NONSENSE:
            self.end()
            raise LoadError(f"{self._file}:1: it writes into the channel to its NAPT") from None

    def _built(self, stage: int) -> Any:
        """What the worker says when it has come to a stage of the wall. Raises WallError.

        No line of the student's has run yet, so it can be believed.
        """
        try:
            kind, body = self._frames.one()
        except channel.Lost:
            kind, body = channel.WALLED_OUT, b'"its program has ended"'
        if kind == stage:
            return channel.read(body)
        if self._pid:
            self.end()
        else:
            self._link.close()
            os.close(self._traces)
        raise WallError(f"the wall around a translator: {channel.read(body)}")

    def _loaded(self) -> tuple[list[str], list[Frame]]:
        """Which functions the file has, and what it has printed. Raises LoadError."""
        printed: list[Frame] = []
        while sum(len(body) for _, body in printed) < LOAD_BYTES:
            for kind, body in self._await(LOAD_SECONDS):
                if kind == channel.READY:
                    return [str(name) for name in channel.read(body)], printed
                if kind == channel.FAULT:
                    why = str(channel.read(body)["text"])
                    self.end()
                    raise LoadError(why)
                channel.read(body)["text"]  # or it makes no sense
                printed.append((channel.PRINTED, body))
        raise self._stuck("it says too much while it is loaded")

    def _source(self) -> bytes:
        try:
            with self._file.open("rb") as file:
                source = file.read(LONGEST_SOURCE + 1)
        except OSError as error:
            hidden = "; the lab has its own /run and /dev/shm" if not self._file.exists() else ""
            raise LoadError(f"{self._file}: cannot be read: {error.strerror}{hidden}") from None
        if len(source) > LONGEST_SOURCE:
            raise LoadError(f"{self._file}:1: longer than {LONGEST_SOURCE} bytes")
        return source

    def ask(self, questions: Sequence[bytes]) -> Iterator[Frame]:
        """All frames of the answers; DONE ends each. Raises WorkerLost, or ValueError: nonsense."""
        if select.select([self._link], [], [], 0)[0]:
            self._await(PROCESSOR_SECONDS)
            raise ValueError("it has said something unasked")
        try:
            self._link.sendall(b"".join(questions))
        except OSError:
            raise self._gone() from None
        missing, told = len(questions), 0
        while missing > 0:
            for kind, body in self._await(PROCESSOR_SECONDS):
                done = kind == channel.DONE
                missing, told = missing - done, 0 if done else told + 1
                if missing < 0:
                    raise ValueError("it has answered more than it was asked")
                if told > MOST_FRAMES:
                    raise self._stuck("it says too much about one packet")
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
        if found := list(self._frames.whole()):
            return found
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
        """It has closed its end of the channel: mostly, but not surely, by ending."""
        os.kill(self._pid, signal.SIGKILL)  # changes nothing if it has ended
        _, status = os.waitpid(self._pid, 0)
        self._pid = 0
        self._link.close()
        os.close(self._traces)
        code = os.waitstatus_to_exitcode(status)
        how = f"with status {code} (os._exit?)" if code >= 0 else f"by {signal.Signals(-code).name}"
        return WorkerLost(f"{self._file.name}: its process has ended {how}")


def _own_lines(trace: str, file: Path) -> str:
    """From faulthandler's trace, innermost first, the student's lines, innermost last."""
    mark = f'File "{file}", line '
    own = [
        line.strip().replace(mark, f"{file.name}:") for line in trace.splitlines() if mark in line
    ]
    return "".join(f"{line}\n" for line in reversed(own[:3]))
