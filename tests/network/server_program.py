"""Start a server program in a test, and read what it says."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
DEADLINE = 10.0  # seconds


class Program:
    """A `python -m MODULE` that is ready when the constructor returns, ended by `with`."""

    def __init__(self, module: str, *arguments: object, prefix: tuple[str, ...] = ()) -> None:
        self.process = subprocess.Popen(
            [*prefix, sys.executable, "-m", module, *map(str, arguments)],
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        self.events: list[dict[str, Any]] = []
        self._rest = b""
        self.ready = self.event("ready")

    def event(self, name: str, **fields: object) -> dict[str, Any]:
        """The first event of that name with these fields, awaited if it has not come yet."""
        wanted = {"event": name, **fields}
        until = time.monotonic() + DEADLINE
        seen = 0
        while True:
            for event in self.events[seen:]:
                if wanted.items() <= event.items():
                    return event
            seen = len(self.events)
            self._read(until, wanted)

    def _read(self, until: float, wanted: dict[str, object]) -> None:
        assert self.process.stdout
        ready, _, _ = select.select([self.process.stdout], [], [], until - time.monotonic())
        data = os.read(self.process.stdout.fileno(), 65536) if ready else b""
        assert data, f"no {wanted} within {DEADLINE} s; events so far: {self.events}"
        *lines, self._rest = (self._rest + data).split(b"\n")
        self.events += map(json.loads, lines)

    def status(self, field: str) -> int:
        """A figure of /proc/PID/status; sizes are in KiB."""
        text = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(text.split(f"{field}:")[1].split()[0])

    def descriptors(self) -> int:
        return len(list(Path(f"/proc/{self.process.pid}/fd").iterdir()))

    def stop(self) -> int:
        """End it with SIGTERM; returns its exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(DEADLINE)

    def __enter__(self) -> Program:
        return self

    def __exit__(self, *_: object) -> None:
        assert self.process.stdout
        if self.process.poll() is None:
            assert self.stop() == 0
        self.process.stdout.close()
