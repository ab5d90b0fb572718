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


class GoOn(Exception):
    """The page wants the prompt to end; the text is the command that ends it, "" the next step."""


class PromptEnding:
    """Ends a prompt that waits for a line in the main thread, from another thread.

    Only a signal interrupts readline. It does not notice one that comes while it handles a key, not
    before the next key; and while a word is completed or a command runs, none may end them. So the
    signal is sent again and again, until the prompt has taken the wish.
    """

    def __init__(self) -> None:
        self._wishes: queue.SimpleQueue[str] = queue.SimpleQueue()
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

    def end(self, wish: str) -> bool:
        """End the prompt with a command; False if it did not wait for a line in all that time."""
        wishes = self._wishes
        wishes.put(wish)
        for _ in range(TRIES):
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGUSR1)
            time.sleep(AGAIN_SECONDS)
            if wishes.empty():
                return True
        with contextlib.suppress(queue.Empty):
            wishes.get_nowait()
            return False
        return True

    def _take(self, _number: int, frame: FrameType | None) -> None:
        if frame is not None and frame.f_code.co_name == "cmdloop":  # it waits for a line
            with contextlib.suppress(queue.Empty):
                raise GoOn(self._wishes.get_nowait())
