"""Starts programs on nodes, reads their output, and ends them with their children.

A program is started as `mnexec -a PID argv...`, without a shell: Mininet's helper enters the node's
namespaces and becomes the program. For each program a thread reads its stdout and stderr, so that
it never blocks on a full pipe, and keeps a limited part of both. Node programs print one JSON
object per line; these become events in the network's event log. Code that needs an event waits for
it with a deadline.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

KEPT_OUTPUT = 1 << 20  # bytes that are kept of each program's stdout, and of its stderr
KEPT_EVENTS = 200_000  # the oldest events above this number are deleted
LINE_LIMIT = 1 << 16  # bytes of one JSON line; a longer one is not an event


class DeadlinePassed(Exception):
    """Something did not happen in time; the message says what."""

    def __init__(self, what: str, seconds: float) -> None:
        super().__init__(f"timed out after {seconds:g} s waiting for {what}")
        self.what = what
        self.seconds = seconds


class ProgramEnded(Exception):
    """A program ended while it was still needed; the message has the end of its stderr."""


@dataclass(frozen=True, slots=True)
class Event:
    """One event that a program reported. `time` is wall time in seconds."""

    time: float
    node: str
    program: str
    name: str
    fields: Mapping[str, Any]


class EventLog:
    """The events of all programs of a network, in order of arrival; safe for threads."""

    def __init__(self) -> None:
        self._events: list[Event] = []
        self._forgotten = 0
        self._changed = threading.Condition()
        self._listeners: list[Callable[[Event], None]] = []

    def listen(self, listener: Callable[[Event], None]) -> None:
        """Call `listener` with every later event, from the thread that reads the program."""
        self._listeners.append(listener)

    def add(self, node: str, program: str, fields: Mapping[str, Any]) -> None:
        """Append an event; the field `event` is its name, `time` its wall time."""
        stamp = fields.get("time")
        event = Event(
            time=float(stamp) if isinstance(stamp, (int, float)) else time.time(),
            node=node,
            program=program,
            name=str(fields.get("event", "")),
            fields=fields,
        )
        with self._changed:
            self._events.append(event)
            if len(self._events) > KEPT_EVENTS:
                surplus = KEPT_EVENTS // 10
                del self._events[:surplus]
                self._forgotten += surplus
            self._changed.notify_all()
        for listener in self._listeners:
            listener(event)

    def wake(self) -> None:
        """Wake all threads that wait: a program has ended."""
        with self._changed:
            self._changed.notify_all()

    def mark(self) -> int:
        """The current end of the log, for later calls with `since`."""
        with self._changed:
            return self._forgotten + len(self._events)

    def since(self, mark: int = 0) -> list[Event]:
        """The events that came after `mark`."""
        with self._changed:
            return self._events[max(0, mark - self._forgotten) :]

    def wait_for(
        self,
        predicate: Callable[[Event], bool],
        *,
        deadline: float,
        what: str,
        since: int = 0,
        give_up: Callable[[], str | None] = lambda: None,
    ) -> Event:
        """Wait for the first event after `since` that `predicate` accepts.

        Raises DeadlinePassed after `deadline` seconds, ProgramEnded as soon as `give_up` returns
        a reason why the event cannot come any more.
        """
        end = time.monotonic() + deadline
        position = since
        with self._changed:
            while True:
                start = max(0, position - self._forgotten)
                for event in self._events[start:]:
                    if predicate(event):
                        return event
                position = self._forgotten + len(self._events)
                reason = give_up()
                if reason is not None:
                    raise ProgramEnded(f"{reason} while waiting for {what}")
                left = end - time.monotonic()
                if left <= 0:
                    raise DeadlinePassed(what, deadline)
                self._changed.wait(left)


@dataclass(frozen=True, slots=True)
class Completed:
    """A command that has ended. `status` is its exit status, negative for a signal.

    Output beyond KEPT_OUTPUT is cut (the end of stdout, the beginning of stderr), and says so.
    """

    node: str
    argv: tuple[str, ...]
    status: int
    stdout: str
    stderr: str
    seconds: float


class Process:
    """A command that runs on a node. A thread reads its output and keeps a limited part."""

    def __init__(
        self,
        node: str,
        argv: Sequence[str],
        *,
        prefix: Sequence[str],
        env: Mapping[str, str],
        cwd: str,
        log: EventLog | None = None,
        name: str = "",
    ) -> None:
        """Start `argv` after `prefix`, the words that enter the node.

        With `log`, stdout is JSON lines, logged as events of the program `name`.
        """
        self.node = node
        self.name = name or argv[0]
        self.argv = tuple(argv)
        self.told_to_end = False
        self._log = log
        self._started = time.monotonic()
        self._seconds = 0.0
        self._stdout, self._stderr = bytearray(), bytearray()
        self._cut_stdout = self._cut_stderr = 0  # bytes beyond what is kept
        self._partial = b""
        self._ended = threading.Event()
        self._popen = subprocess.Popen(
            [*prefix, *argv],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=dict(env),
            cwd=cwd,
            start_new_session=True,  # killing its group ends its children as well
        )
        self._reader = threading.Thread(target=self._drain, name=f"{node}-{self.name}", daemon=True)
        self._reader.start()

    @property
    def pid(self) -> int:
        """Its process number, in the sandbox."""
        return self._popen.pid

    @property
    def running(self) -> bool:
        """Whether the process has not ended."""
        return not self._ended.is_set()

    def ends_within(self, seconds: float) -> bool:
        """Wait at most `seconds` for the command's end; whether it has ended."""
        return self._ended.wait(seconds)

    def wait(self, timeout: float) -> Completed:
        """Wait for the result. After `timeout` seconds: kill the command, raise DeadlinePassed."""
        if not self._ended.wait(timeout):
            self.kill()
            self.await_end()
            raise DeadlinePassed(f"{self.node}$ {' '.join(self.argv)} to end", timeout)
        stdout, stderr = (kept.decode(errors="replace") for kept in (self._stdout, self._stderr))
        if self._cut_stdout:
            stdout += f"\n[cut here: {self._cut_stdout} more bytes]\n"
        if self._cut_stderr:
            stderr = f"[cut here: {self._cut_stderr} bytes before this]\n{stderr}"
        return Completed(
            node=self.node,
            argv=self.argv,
            status=self._popen.returncode,
            stdout=stdout,
            stderr=stderr,
            seconds=self._seconds,
        )

    def wait_for(
        self,
        event: str,
        predicate: Callable[[Event], bool] = lambda _: True,
        *,
        deadline: float,
        since: int = 0,
    ) -> Event:
        """Wait for an event of this program; see EventLog.wait_for."""
        if self._log is None:
            raise ValueError(f"{self.argv} does not report events")
        return self._log.wait_for(
            lambda e: (e.node, e.program, e.name) == (self.node, self.name, event) and predicate(e),
            deadline=deadline,
            what=f"`{event}` from {self.name} on {self.node}",
            since=since,
            give_up=self.obituary,
        )

    def terminate(self) -> None:
        """Ask the command and its children to end (SIGTERM)."""
        self._signal(signal.SIGTERM)

    def kill(self) -> None:
        """End the command and its children now."""
        self._signal(signal.SIGKILL)

    def await_end(self) -> None:
        """Wait until a command that was killed has ended."""
        self._ended.wait()

    def _signal(self, number: signal.Signals) -> None:
        self.told_to_end = True
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._popen.pid, number)

    def obituary(self) -> str | None:
        """How it ended, with its last words; None if it runs."""
        if self.running:
            return None
        words = self._stderr.decode(errors="replace").strip() or "its stderr is empty"
        return (
            f"{self.name} on {self.node} ended with status {self._popen.returncode}: "
            f"{words[-2000:]}"
        )

    def _drain(self) -> None:
        """Read both streams until the command has ended, even if a child keeps them open."""
        assert self._popen.stdout is not None
        assert self._popen.stderr is not None
        pidfd = os.pidfd_open(self._popen.pid)
        with selectors.DefaultSelector() as selector, self._popen.stdout, self._popen.stderr:
            for stream, sink in (
                (self._popen.stdout, self._take_stdout),
                (self._popen.stderr, self._take_stderr),
            ):
                os.set_blocking(stream.fileno(), False)
                selector.register(stream, selectors.EVENT_READ, sink)
            selector.register(pidfd, selectors.EVENT_READ)
            alive = True
            while alive:
                ready = selector.select()
                alive = not any(key.fd == pidfd for key, _ in ready)
                # After its end, the rest of its output is in the pipes.
                keys = [key for key, _ in ready] if alive else list(selector.get_map().values())
                for key in keys:
                    if key.data is not None and not self._read(key.fd, key.data, to_end=not alive):
                        selector.unregister(key.fileobj)
        self._popen.wait()
        os.close(pidfd)
        self._seconds = time.monotonic() - self._started
        self._ended.set()
        if self._log is not None:
            self._log.wake()

    @staticmethod
    def _read(fd: int, sink: Callable[[bytes], None], *, to_end: bool) -> bool:
        while True:
            try:
                data = os.read(fd, 1 << 16)
            except BlockingIOError:
                return True
            if not data:
                return False
            sink(data)
            if not to_end:
                return True

    def _take_stderr(self, data: bytes) -> None:
        self._stderr += data
        surplus = max(0, len(self._stderr) - KEPT_OUTPUT)
        del self._stderr[:surplus]  # keep the end
        self._cut_stderr += surplus

    def _take_stdout(self, data: bytes) -> None:
        if self._log is None:
            kept = data[: KEPT_OUTPUT - len(self._stdout)]
            self._stdout += kept
            self._cut_stdout += len(data) - len(kept)
            return
        *lines, self._partial = (self._partial + data).split(b"\n")
        self._partial = self._partial[:LINE_LIMIT]
        for line in lines:
            fields = parse_line(line)
            if fields is not None:
                self._log.add(self.node, self.name, fields)


def parse_line(line: bytes) -> dict[str, Any] | None:
    """The JSON object on one line; None if the line is not an object or is too long."""
    if len(line) > LINE_LIMIT:
        return None
    try:
        fields = json.loads(line)
    except ValueError:
        return None
    return fields if isinstance(fields, dict) else None
