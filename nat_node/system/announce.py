"""What the program itself says: one JSON object a line on stdout, words for people on stderr.

Whoever listens may have gone, and the disk that the words go to may be full. That is no reason
for a NAPT to stop, so what cannot be said is not said.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from typing import Any

STDOUT, STDERR = 1, 2


def announce(event: str, **fields: Any) -> None:
    """Report an event, with the wall-clock time, to whoever reads our stdout."""
    line = json.dumps({"event": event, "time": time.time(), **fields}) + "\n"
    _write(STDOUT, line)


def warn(event: str, why: str) -> None:
    """Report an event that people must hear of, too."""
    announce(event, why=why)
    complain(why)


def complain(why: str) -> None:
    """Say what is wrong, to people."""
    _write(STDERR, f"nat_node: {why}\n")


def _write(descriptor: int, line: str) -> None:
    with contextlib.suppress(OSError):
        os.write(descriptor, line.encode())
