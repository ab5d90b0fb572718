"""A button on the page that ends the prompt at the terminal. Apart, for it needs no web server."""

from __future__ import annotations

import contextlib
import queue
import signal
import threading
import time
from collections.abc import Iterator
from types import FrameType

TRIES = 50
AGAIN_SECONDS = 0.02
BUSY = "A command runs at the terminal: try again when that has ended."
ANOTHER = "Another button was pressed at the same moment."


class GoOn(Exception):
    """The page wants the prompt to end; the text is the command that ends it, "" the next step."""


class PromptEnding:
    """Ends a prompt that waits for a line in the main thread, from another thread.

    Only a signal interrupts readline, and readline does not notice one that comes while it handles
    a key. While a word is completed or a command runs, none may interrupt. So the signal is sent
    again and again, until the prompt has taken the wish.
    """

    def __init__(self) -> None:
        self._one_at_a_time = threading.Lock()
        self._wishes: queue.SimpleQueue[str] = queue.SimpleQueue()  # one at most
        signal.signal(signal.SIGUSR1, signal.SIG_IGN)

    @contextlib.contextmanager
    def allowed(self) -> Iterator[None]:
        """Within, GoOn is raised where a prompt waits for a line, if `end` wants it."""
        self._wishes = queue.SimpleQueue()  # what was wanted of an earlier prompt is void
        signal.signal(signal.SIGUSR1, self._take)
        try:
            yield
        finally:
            signal.signal(signal.SIGUSR1, signal.SIG_IGN)

    def end(self, wish: str) -> str:
        """End the prompt with a command; the answer is empty, or says why it did not end."""
        if not self._one_at_a_time.acquire(blocking=False):
            return ANOTHER
        try:
            wishes = self._wishes
            wishes.put(wish)
            for _ in range(TRIES):
                signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGUSR1)
                time.sleep(AGAIN_SECONDS)
                if wishes.empty():
                    return ""
            with contextlib.suppress(queue.Empty):
                wishes.get_nowait()
                return BUSY
            return ""
        finally:
            self._one_at_a_time.release()

    def _take(self, _number: int, frame: FrameType | None) -> None:
        if frame is None or frame.f_code.co_name != "cmdloop":
            return  # it does not wait for a line
        try:
            wish = self._wishes.get_nowait()
        except queue.Empty:
            return
        # A signal that comes while GoOn is on its way would be a second exception (SystemError).
        signal.signal(signal.SIGUSR1, signal.SIG_IGN)
        raise GoOn(wish)
