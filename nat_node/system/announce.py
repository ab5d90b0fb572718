"""What the program prints: one JSON object a line on stdout, text for people on stderr.

The reader may have gone, and the disk may be full. A NAPT must not stop for that, so errors of
writing are ignored.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from typing import Any

STDOUT, STDERR = 1, 2


def announce(event: str, **fields: Any) -> None:
    """Print an event on stdout, with the wall-clock time."""
    line = json.dumps({"event": event, "time": time.time(), **fields}) + "\n"
    _write(STDOUT, line)


def warn(event: str, why: str) -> None:
    """Print an event on stdout, and its reason on stderr."""
    announce(event, why=why)
    complain(why)


def complain(why: str) -> None:
    """Print what is wrong on stderr."""
    _write(STDERR, f"nat_node: {why}\n")


def _write(descriptor: int, line: str) -> None:
    with contextlib.suppress(OSError):
        os.write(descriptor, line.encode())
