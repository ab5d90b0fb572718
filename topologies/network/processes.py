"""Starts programs on nodes, reads their output, and ends them with their children.

A program is started as `mnexec -a PID argv...`, without a shell: Mininet's helper enters the node's
namespaces and becomes the program. (Our own come from a nursery, in nursery.py.) For each program a
thread reads its stdout and stderr, so that it never blocks on a full pipe, and keeps a limited part
of both. Node programs print one JSON object per line; these become events in the network's event
log. Code that needs an event waits for it with a deadline.
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
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

KEPT_OUTPUT = 1 << 20  # bytes that are kept of each program's stdout, and of its stderr
KEPT_EVENTS = 200_000  # the oldest events above this number are deleted
LAST_WORDS = 2000  # characters of its output that are told of a program that ended
GONE_SECONDS = 20.0  # until killed children must be gone
GONE_POLL = 0.002  # seconds between two looks whether killed children are gone
LINE_LIMIT = 1 << 16  # bytes of one JSON line; a longer one is not an event
Tell = Callable[[str, bool], None]


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

    Output beyond KEPT_OUTPUT is cut in the middle, and says so.
    """

    node: str
    argv: tuple[str, ...]
    status: int
    stdout: str
    stderr: str
    seconds: float


class Kept:
    """The first and the last bytes of a stream, KEPT_OUTPUT in all, and how many are between."""

    def __init__(self) -> None:
        self._first, self._last = bytearray(), bytearray()
        self._cut = 0

    def add(self, data: bytes) -> None:
        """Keep `data`, or its ends."""
        room = max(0, KEPT_OUTPUT // 2 - len(self._first))
        self._first += data[:room]
        self._last += data[room:]
        surplus = max(0, len(self._last) - KEPT_OUTPUT // 2)
        del self._last[:surplus]
        self._cut += surplus

    def text(self) -> str:
        """All of it, or a note in the place of what was cut."""
        if not self._cut:
            return (self._first + self._last).decode(errors="replace")
        first, last = (part.decode(errors="replace") for part in (self._first, self._last))
        return f"{first}\n[cut here: {self._cut} bytes]\n{last}"

    def line_with(self, text: str) -> str | None:
        """The first line that contains `text`, if there is one; it may not be whole yet."""
        for part in (self._first, self._last) if self._cut else (self._first + self._last,):
            if (at := part.find(text.encode())) >= 0:
                begin, end = part.rfind(b"\n", 0, at) + 1, part.find(b"\n", at)
                return part[begin : end if end >= 0 else None].decode(errors="replace").strip()
        return None


@dataclass(frozen=True, slots=True)
class Started:
    """A process that has begun. `end` is a descriptor that is readable when it has ended.

    `wait` then gives its exit status, negative for a signal.
    """

    pid: int
    stdout: IO[bytes]
    stderr: IO[bytes]
    end: int
    wait: Callable[[], int]


def start(argv: Sequence[str], env: Mapping[str, str], cwd: str) -> Started:
    """Start a program, in a session of its own: killing its group ends its children as well."""
    popen = subprocess.Popen(
        argv,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=dict(env),
        cwd=cwd,
        start_new_session=True,
    )
    assert popen.stdout is not None
    assert popen.stderr is not None
    return Started(popen.pid, popen.stdout, popen.stderr, os.pidfd_open(popen.pid), popen.wait)


def _is_dead(pid: int) -> bool:
    """Whether a process has ended or is about to, although its parent was not told yet.

    A process that ends gives its memory back first, and its command line is in its memory.
    """
    try:
        return not Path(f"/proc/{pid}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return True


class Process(ABC):
    """What runs on a node. A thread reads its output.

    A `Command` prints what it likes; a `NodeProgram` is ours, and reports events.
    """

    def __init__(self, node: str, argv: Sequence[str], started: Started, *, name: str = "") -> None:
        self.node = node
        self.name = name or argv[0]
        self.argv = tuple(argv)
        self.told_to_end = self._killed = self._awaited = False
        self._started = time.monotonic()
        self._seconds = 0.0
        self._stdout, self._stderr = Kept(), Kept()
        self._ended = threading.Event()
        self._process = started
        self._status = 0
        self._reader = threading.Thread(target=self._drain, name=f"{node}-{self.name}", daemon=True)
        self._reader.start()

    @property
    def pid(self) -> int:
        """Its process number, in the sandbox."""
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether the process has not ended."""
        return not self._ended.is_set()

    @property
    def status(self) -> int | None:
        """Its exit status, negative for a signal; None while it runs."""
        return None if self.running else self._status

    @abstractmethod
    def await_ready(self, deadline: float) -> None:
        """Wait until it serves. Raises ProgramEnded, or DeadlinePassed after `deadline` seconds."""

    def ends_within(self, seconds: float) -> bool:
        """Wait at most `seconds` for the command's end; whether it has ended."""
        return self._ended.wait(seconds)

    def wait(self, timeout: float) -> Completed:
        """Wait for the result. After `timeout` seconds: kill the command, raise DeadlinePassed."""
        if not self._ended.wait(timeout):
            self.kill()
            self.await_end()
            raise DeadlinePassed(f"{self.node}$ {' '.join(self.argv)} to end", timeout)
        self._awaited = True
        return Completed(
            node=self.node,
            argv=self.argv,
            status=self._status,
            stdout=self._stdout.text(),
            stderr=self._stderr.text(),
            seconds=self._seconds,
        )

    def terminate(self) -> None:
        """Ask the command and its children to end (SIGTERM)."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """End the command and its children now."""
        self._killed = True
        self.send_signal(signal.SIGKILL)

    def await_end(self) -> None:
        """Wait until the command has ended; if it was killed, its children as well."""
        self._ended.wait()
        # They end a moment later, and have devices until then.
        end = time.monotonic() + GONE_SECONDS
        with contextlib.suppress(ProcessLookupError):
            while self._killed:
                os.killpg(self.pid, 0)
                if time.monotonic() > end:
                    raise DeadlinePassed(f"all of {self.name} on {self.node} to end", GONE_SECONDS)
                time.sleep(GONE_POLL)

    def send_signal(self, number: int) -> None:
        """Send a signal to the command and its children."""
        self.told_to_end = True
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, number)

    @property
    def has_fallen(self) -> bool:
        """Whether it has failed by itself, and nothing has asked for its result."""
        return bool(self.status) and not (self.told_to_end or self._awaited)

    def obituary(self) -> str | None:
        """How it ended, with its last words; None if it runs."""
        if self.running:
            return None
        return f"{self.name} on {self.node} ended with status {self._status}: {self.last_words()}"

    def loss(self) -> str | None:
        """The same if it should still run; None if it does, or was told to end.

        It may have ended a moment ago: then this waits until that is known here as well.
        """
        if self.told_to_end:
            return None
        if _is_dead(self.pid):
            self._ended.wait(GONE_SECONDS)
        return self.obituary()

    def last_words(self) -> str:
        """The end of what it printed."""
        return self._stderr.text().strip()[-LAST_WORDS:] or "its stderr is empty"

    def _drain(self) -> None:
        """Read both streams until the command has ended, even if a child keeps them open."""
        process = self._process
        with selectors.DefaultSelector() as selector, process.stdout, process.stderr:
            for stream, sink in (
                (process.stdout, self._take_stdout),
                (process.stderr, self._take_stderr),
            ):
                os.set_blocking(stream.fileno(), False)
                selector.register(stream, selectors.EVENT_READ, sink)
            selector.register(process.end, selectors.EVENT_READ)
            alive = True
            while alive:
                ready = selector.select()
                alive = not any(key.fd == process.end for key, _ in ready)
                # After its end, the rest of its output is in the pipes.
                keys = [key for key, _ in ready] if alive else list(selector.get_map().values())
                for key in keys:
                    if key.data is not None and not self._read(key.fd, key.data, to_end=not alive):
                        selector.unregister(key.fileobj)
        self._status = process.wait()
        os.close(process.end)
        self._seconds = time.monotonic() - self._started
        self._finish()

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
        self._stderr.add(data)

    @abstractmethod
    def _take_stdout(self, data: bytes) -> None:
        """Take what it has printed."""

    def _finish(self) -> None:
        """It has ended, and all of its output is read."""
        self._ended.set()


class NodeProgram(Process):
    """One of our programs: its stdout is JSON lines, logged as events of the program `name`."""

    def __init__(self, *args: Any, log: EventLog, **kwargs: Any) -> None:
        self._log = log
        self._mark = log.mark()  # an earlier process may have had its name
        self._partial = b""
        super().__init__(*args, **kwargs)

    def await_ready(self, deadline: float) -> None:
        """Wait for its event `ready`."""
        self.wait_for("ready", deadline=deadline, since=self._mark)

    def wait_for(
        self,
        event: str,
        predicate: Callable[[Event], bool] = lambda _: True,
        *,
        deadline: float,
        since: int = 0,
    ) -> Event:
        """Wait for an event of this program; see EventLog.wait_for."""
        return self._log.wait_for(
            lambda e: (e.node, e.program, e.name) == (self.node, self.name, event) and predicate(e),
            deadline=deadline,
            what=f"`{event}` from {self.name} on {self.node}",
            since=since,
            give_up=self.obituary,
        )

    def _take_stdout(self, data: bytes) -> None:
        *lines, self._partial = (self._partial + data).split(b"\n")
        self._partial = self._partial[:LINE_LIMIT]
        for line in lines:
            fields = parse_line(line)
            if fields is not None:
                self._log.add(self.node, self.name, fields)

    def _finish(self) -> None:
        super()._finish()
        self._log.wake()


class Command(Process):
    """A program of the user's.

    `ready`: text of a line that it prints when it serves; it must run from then on. `tell` gets
    each line of its output, from a thread, and whether it was on stderr.
    """

    def __init__(
        self, *args: Any, ready: str | None = None, tell: Tell | None = None, **kwargs: Any
    ) -> None:
        self._ready = ready
        self._tell = tell
        self._begun = [b"", b""]  # the beginning of the next line, of stdout and stderr
        self._sought: dict[str, str | None] = {}  # texts that are waited for: the line with it
        self._said = threading.Condition()
        super().__init__(*args, **kwargs)

    def await_ready(self, deadline: float) -> None:
        """Wait for its line, if it has one."""
        if self._ready is not None:
            self.wait_for(self._ready, deadline=deadline)

    def wait_for(self, text: str, *, deadline: float = 30.0) -> str:
        """Wait until it prints a line that contains `text`, on stdout or stderr; returns the line.

        A line that it has printed already counts. Raises ProgramEnded if it ends without it,
        DeadlinePassed after `deadline` seconds, both with the end of its output.
        """
        end = time.monotonic() + deadline
        with self._said:
            self._sought[text] = self._stdout.line_with(text) or self._stderr.line_with(text)
            while (line := self._sought[text]) is None:
                if (obituary := self.obituary()) is not None:
                    raise ProgramEnded(f"before a line with {text!r}: {obituary}")
                if (left := end - time.monotonic()) <= 0:
                    what = f"a line with {text!r} from {self.name} on {self.node}"
                    raise DeadlinePassed(f"{what}; so far: {self.last_words()}", deadline)
                self._said.wait(left)
            return line

    def loss(self) -> str | None:
        """How it ended, if it should still run: without `ready` it may be done, with status 0."""
        if self._ready is None and self.status == 0:
            return None
        return super().loss()

    def last_words(self) -> str:
        """The end of what it printed, on both streams."""
        both = (kept.text().strip()[-LAST_WORDS:] for kept in (self._stdout, self._stderr))
        return "\n".join(filter(None, both)) or "it has printed nothing"

    def _take_stdout(self, data: bytes) -> None:
        self._take(data, self._stdout, 0)

    def _take_stderr(self, data: bytes) -> None:
        self._take(data, self._stderr, 1)

    def _take(self, data: bytes, kept: Kept, stream: int) -> None:
        *lines, begun = (self._begun[stream] + data).split(b"\n")
        if len(begun) > LINE_LIMIT:
            lines, begun = [*lines, begun], b""
        self._begun[stream] = begun
        self._tell_lines(lines, stream)
        with self._said:
            kept.add(data)
            for text in [text for text, line in self._sought.items() if line is None]:
                self._sought[text] = kept.line_with(text)
            self._said.notify_all()

    def _tell_lines(self, lines: Sequence[bytes], stream: int) -> None:
        if self._tell is not None:
            for line in lines:
                self._tell(line.decode(errors="replace"), bool(stream))

    def _finish(self) -> None:
        for stream, begun in enumerate(self._begun):
            self._tell_lines([begun] if begun else [], stream)
        with self._said:
            super()._finish()
            self._said.notify_all()


def parse_line(line: bytes) -> dict[str, Any] | None:
    """The JSON object on one line; None if the line is not an object or is too long."""
    if len(line) > LINE_LIMIT:
        return None
    try:
        fields = json.loads(line)
    except ValueError:
        return None
    return fields if isinstance(fields, dict) else None
