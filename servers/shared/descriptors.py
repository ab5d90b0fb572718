"""File descriptors: each connection takes some, and a process has few unless it asks for more."""

from __future__ import annotations

import resource


def take_all() -> int:
    """Raise this process's limit to the most that it may have, and return that."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard
