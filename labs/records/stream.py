"""The stream of events of a run, from which its screen and all its reports are made.

An event is a dictionary that can be written as JSON: a step begins, a command is typed, a check was
made. Narration, results, JUnit and events.jsonl only listen. So they cannot contradict each other.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

PROMPT = "prompt"  # the program whose lines a person has typed

Record = dict[str, Any]
Listener = Callable[[Record], None]


class Stream:
    """Events in order, from any thread; each listener gets one at a time."""

    def __init__(self) -> None:
        self._listeners: list[Listener] = []
        self._one_at_a_time = threading.Lock()

    def listen(self, listener: Listener) -> None:
        """Call `listener` with every later event."""
        self._listeners.append(listener)

    def emit(self, event: str, /, **fields: Any) -> None:
        """Send an event to all listeners; `time` is wall time in seconds unless given."""
        record = {"event": event, "time": time.time(), **fields}
        with self._one_at_a_time:
            for listener in self._listeners:
                listener(record)

    def silence(self) -> None:
        """Remove all listeners."""
        with self._one_at_a_time:
            self._listeners.clear()
