"""Ctrl-C while one network is removed and the next one is built: it waits until that is done."""

from __future__ import annotations

import signal


class Interrupts:
    """Between `hold` and `release`, SIGINT is only noted. For the main thread."""

    def __init__(self) -> None:
        self._usual = signal.getsignal(signal.SIGINT)
        self._came = False

    def hold(self) -> None:
        """From now on it waits."""
        signal.signal(signal.SIGINT, self._note)

    def release(self) -> bool:
        """From now on it does what it did before. True if it came meanwhile."""
        signal.signal(signal.SIGINT, self._usual)
        came, self._came = self._came, False
        return came

    def _note(self, _number: int, _frame: object) -> None:
        self._came = True
