"""How tests wait: for a condition, with a deadline.

Where something is announced (an event, a byte on a socket, a process's end), await that. This is
for what is not announced, such as a file that appears or a descriptor that is closed.
"""

from __future__ import annotations

import os
import select
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

SECONDS = 30.0  # far more than it takes: a busy machine must not fail a test
AGAIN = 0.01  # seconds


def wait_until(
    condition: Callable[[], T],
    what: str | Callable[[], str],
    seconds: float = SECONDS,
    again: float = AGAIN,
) -> T:
    """Look until `condition()` is true; return what it gave. AssertionError after `seconds`.

    `again`: seconds between two looks. `what` ends "timed out after 30 s waiting for …".
    """
    end = time.monotonic() + seconds
    while not (found := condition()):
        if time.monotonic() >= end:
            awaited = what if isinstance(what, str) else what()
            raise AssertionError(f"timed out after {seconds:g} s waiting for {awaited}")
        time.sleep(again)  # the one place where a test polls
    return found


def await_death(pid: int, seconds: float = SECONDS) -> None:
    """Return when the process has ended; AssertionError after `seconds`. A kill takes a moment."""
    descriptor = os.pidfd_open(pid)
    try:
        assert select.select([descriptor], [], [], seconds)[0], f"process {pid} lives on"
    finally:
        os.close(descriptor)
