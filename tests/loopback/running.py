"""Servers as real processes on 127.0.0.1, and curl as their client."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
DEADLINE = 20.0  # seconds, for what takes milliseconds on an idle machine


class Server:
    """`python -m MODULE` on an ephemeral port, from its ready event to its end."""

    def __init__(self, module: str, *flags: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", module, "--listen", "127.0.0.1", "--port", "0", *flags],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._events: list[dict[str, Any]] = []
        self._changed = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        ready = self.event(event="ready")
        self.port = int(ready["listening"][0].rpartition(":")[2])

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            with self._changed:
                self._events.append(json.loads(line))
                self._changed.notify_all()

    def events(self, **wanted: Any) -> list[dict[str, Any]]:
        """What the server has told so far."""
        with self._changed:
            return [event for event in self._events if wanted.items() <= event.items()]

    def event(self, **wanted: Any) -> dict[str, Any]:
        """The first event with these fields, awaited."""
        until = time.monotonic() + DEADLINE
        with self._changed:
            while True:
                for event in self._events:
                    if wanted.items() <= event.items():
                        return event
                if not self._changed.wait(until - time.monotonic()):
                    raise AssertionError(f"no event {wanted}, only {self._events}")

    def peak_memory(self) -> int:
        """The most that was resident so far, in bytes."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        match = re.search(r"VmHWM:\s+(\d+) kB", status)
        assert match is not None
        return 1024 * int(match[1])

    def end(self) -> str:
        """SIGTERM; what it had to complain about."""
        self.process.terminate()
        assert self.process.stderr is not None
        complaints = self.process.stderr.read()
        status = self.process.wait(DEADLINE)
        self._reader.join(DEADLINE)
        assert status == 0, complaints
        return complaints


@contextmanager
def running(module: str, *flags: str) -> Iterator[Server]:
    """A server that must end with exit status 0 and nothing on stderr."""
    server = Server(module, *flags)
    try:
        yield server
        complaints = server.end()
        assert not complaints, complaints
    finally:
        if server.process.poll() is None:
            server.process.kill()
            server.process.wait()


@dataclass
class Answer:
    """What curl got: the last response's status and header fields (lower case), the body."""

    status: int
    headers: dict[str, str]
    body: bytes
    interim: list[int] = field(default_factory=list)  # such as 100

    @property
    def json(self) -> Any:
        return json.loads(self.body)


def curl(*arguments: str, stdin: bytes | None = None) -> Answer:
    """Run the real curl and read what it received; a failing curl is an AssertionError."""
    command = ["curl", "-sS", "--max-time", str(DEADLINE), "-i", "--path-as-is", *arguments]
    done = subprocess.run(command, input=stdin, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    interim: list[int] = []
    rest = done.stdout
    while True:
        head, _, rest = rest.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        status = int(first.split(" ")[1])
        if status >= 200:
            break
        interim.append(status)
    pairs = (line.partition(":") for line in lines)
    headers = {name.lower(): value.strip() for name, _, value in pairs}
    return Answer(status, headers, rest, interim)


def names_in(folder: Path) -> list[str]:
    """Everything in a folder, hidden or not."""
    return sorted(entry.name for entry in folder.iterdir())


def until(condition: Any, what: str) -> None:
    """Await a condition that nothing announces."""
    deadline = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < deadline, f"still not so: {what}"
        time.sleep(0.01)
