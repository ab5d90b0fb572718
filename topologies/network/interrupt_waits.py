"""Ctrl-C in the middle of what must not be left half done."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator


@contextlib.contextmanager
def interrupt_waits() -> Iterator[None]:
    """A Ctrl-C that comes in this block takes effect at its end.

    To block the signal would not do: the kernel gives it to another thread then, and Python
    interrupts the main thread all the same.
    """
    usual = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or not callable(usual):
        yield  # no other thread is interrupted, and a signal that is ignored stays so
        return
    came = []
    signal.signal(signal.SIGINT, lambda *_: came.append(True))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, usual)
        if came:
            signal.raise_signal(signal.SIGINT)
