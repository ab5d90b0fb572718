"""What a server tells the outside: one JSON object per line on standard output.

At a terminal a person reads it: there it is words, `granted: port 8080, lifetime 60`.

Theory of operation. A lab reads these lines from a pipe as evidence ("the server sees
24.9.3.7"). Evidence must not be able to stop the server, so the pipe is opened anew as
non-blocking (which does not change the blocking mode of other processes that share standard
output). When the pipe is full because its reader does not read, lines are dropped and
counted; the next line that goes through says how many, in `dropped`. A line of at most
PIPE_BUF bytes is written whole or not at all (POSIX write()), also when several processes
share the pipe.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import select
import stat
import time
from collections.abc import Mapping
from typing import Any

PIPE_CAPACITY = 1 << 20  # bytes: what an ordinary user may ask for (/proc/sys/fs/pipe-max-size)


def endpoint(address: Any) -> str:
    """A socket address as `24.9.3.7:40001`, or `[2001:db8::1]:40001`."""
    host, port = address[0], address[1]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def in_words(fields: Mapping[str, Any]) -> str:
    """An event for a person: its name, and what it tells."""
    told = ", ".join(
        f"{key} {', '.join(map(str, value)) if isinstance(value, list) else value}"
        for key, value in fields.items()
        if key not in ("event", "time") and value != ""
    )
    return f"{fields['event']}: {told}" if told else str(fields["event"])


class Emitter:
    """Writes events to one file descriptor, and never waits for its reader."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._dropped = 0
        self._show = in_words if os.isatty(descriptor) else json.dumps
        if stat.S_ISFIFO(os.fstat(descriptor).st_mode):
            flags = os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC
            self._descriptor = os.open(f"/proc/self/fd/{descriptor}", flags)
            with contextlib.suppress(OSError):  # the user's pipes are used up: 64 KiB must do
                fcntl.fcntl(self._descriptor, fcntl.F_SETPIPE_SZ, PIPE_CAPACITY)

    def emit(self, event: str, **fields: Any) -> None:
        """Write `{"event": event, "time": <seconds since 1970>, …}`, or drop and count it."""
        record = {"event": event, "time": round(time.time(), 6), **fields}
        if self._dropped:
            record["dropped"] = self._dropped
        line = self._show(record).encode() + b"\n"
        try:
            if len(line) > select.PIPE_BUF:
                raise BlockingIOError("longer than a pipe takes in one piece")
            os.write(self._descriptor, line)
        except (BlockingIOError, BrokenPipeError):
            self._dropped += 1
        else:
            self._dropped = 0


_emitter: Emitter | None = None


def emit(event: str, **fields: Any) -> None:
    """Emit on this process's standard output."""
    global _emitter
    if _emitter is None:
        _emitter = Emitter(1)
    _emitter.emit(event, **fields)
