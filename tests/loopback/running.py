"""Servers as real processes on 127.0.0.1, and curl as their client."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.loopback.forked import Forked
from tests.server_program import DEADLINE, Program


class Server(Program):
    """`python -m MODULE` on an ephemeral port, from its ready event to its end."""

    def __init__(self, module: str, *flags: str) -> None:
        super().__init__(module, "--listen", "127.0.0.1", "--port", "0", *flags)
        self.port = int(self.ready["listening"][0].rpartition(":")[2])

    def _start(self, module: str, *arguments: str, prefix: tuple[str, ...] = ()) -> Forked:
        assert not prefix
        return Forked(module, *arguments)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def peak_memory(self) -> int:
        """The most that was resident so far, in bytes."""
        return 1024 * self.status("VmHWM")

    def end(self) -> str:
        """SIGTERM; what it had to complain about."""
        self.process.terminate()
        complaints = self.process.stderr.read().decode()
        assert self.stop() == 0, complaints
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
