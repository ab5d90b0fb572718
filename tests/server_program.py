"""A server program in a test: started, ready, asked for what it tells, ended."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
DEADLINE = 20.0  # seconds, for what takes milliseconds on an idle machine


class Events:
    """JSON lines from a pipe, read as they come: all that is in it so far is in `events`."""

    def __init__(self, pipe: Iterable[bytes]) -> None:
        self.events: list[dict[str, Any]] = []
        self._changed = threading.Condition()
        self._ended = False
        self._reader = threading.Thread(target=self._read, args=(pipe,), daemon=True)
        self._reader.start()

    def event(self, name: str, **fields: object) -> dict[str, Any]:
        """The first event of that name with these fields, awaited if it has not come yet."""
        until = time.monotonic() + DEADLINE
        with self._changed:
            while True:
                if found := self.told(name, **fields):
                    return found[0]
                left = until - time.monotonic()
                assert left > 0, f"no {name} {fields} within {DEADLINE} s, only {self.events}"
                assert not self._ended, f"it ended without {name} {fields}: {self.events}"
                self._changed.wait(left)

    def told(self, name: str, **fields: object) -> list[dict[str, Any]]:
        """All such events so far."""
        wanted = {"event": name, **fields}
        return [event for event in self.events if wanted.items() <= event.items()]

    def read_to_end(self) -> None:
        """Wait until the program has nothing more to tell."""
        self._reader.join(DEADLINE)
        assert not self._reader.is_alive(), "somebody keeps the program's stdout open"

    def _read(self, pipe: Iterable[bytes]) -> None:
        try:
            for line in pipe:
                with self._changed:
                    self.events.append(json.loads(line))
                    self._changed.notify_all()
        finally:
            with self._changed:
                self._ended = True
                self._changed.notify_all()


class Program(Events):
    """A `python -m MODULE` that is ready when the constructor returns, ended by `with`."""

    def __init__(
        self,
        module: str,
        *arguments: object,
        prefix: tuple[str, ...] = (),
    ) -> None:
        self.process = self._start(module, *map(str, arguments), prefix=prefix)
        super().__init__(self.process.stdout)
        self.ready = self.event("ready")

    def _start(self, module: str, *arguments: str, prefix: tuple[str, ...] = ()) -> Any:
        """A subprocess.Popen, or what has its methods."""
        words = [*prefix, sys.executable, "-m", module, *arguments]
        return subprocess.Popen(words, stdout=subprocess.PIPE)

    def status(self, field: str) -> int:
        """A figure of /proc/PID/status; sizes are in KiB."""
        text = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(text.split(f"{field}:")[1].split()[0])

    def descriptors(self) -> int:
        return len(list(Path(f"/proc/{self.process.pid}/fd").iterdir()))

    def stop(self) -> int:
        """End it with SIGTERM, and read what it still has to tell; returns its exit status."""
        self.process.send_signal(signal.SIGTERM)
        status = self.process.wait(DEADLINE)
        self.read_to_end()
        return status

    def __enter__(self) -> Program:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            assert self.stop() == 0
        self.read_to_end()
        self.process.stdout.close()
