"""A person at a terminal: what a program shows there, and what is typed."""

from __future__ import annotations

import os
import pty
import re
import select
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parents[2]
_CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\r|\x07")


class Terminal:
    """A program at a terminal of its own: `with Terminal(…) as terminal:` ends it at the latest."""

    def __init__(
        self, arguments: Sequence[str], environment: dict[str, str], folder: Path = ROOT
    ) -> None:
        self.pid, self.descriptor = pty.fork()
        if self.pid == 0:
            signal.signal(
                signal.SIGINT, signal.SIG_DFL
            )  # ignored where tests run in the background
            os.chdir(folder)
            os.execve(sys.executable, [sys.executable, *arguments], os.environ | environment)
        self.seen = ""

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *_: object) -> None:
        if self.descriptor != -1:  # it was not waited for: the test has failed
            os.kill(self.pid, signal.SIGKILL)
            self.status()

    def expect(self, text: str, *, seconds: float = 30.0) -> str:
        """Wait until it is shown; returns what came before."""
        end = time.monotonic() + seconds
        while text not in self.seen:
            left = end - time.monotonic()
            assert left > 0, f"no {text!r} after {seconds} s, but: {self.seen}"
            if select.select([self.descriptor], [], [], left)[0]:
                shown = os.read(self.descriptor, 65536).decode(errors="replace")
                self.seen += _CONTROL.sub("", shown)
        before, _, self.seen = self.seen.partition(text)
        return before

    def type(self, text: str) -> None:
        os.write(self.descriptor, text.encode())

    def interrupt(self, answer: str) -> None:
        """Press Ctrl-C until there is an answer.

        A signal that comes just before a Python program waits for input is noticed only with the
        next one: whoever sits there presses the keys again.
        """
        until = time.monotonic() + 30
        while True:
            self.type("\x03")
            try:
                self.expect(answer, seconds=1.0)
                return
            except AssertionError:
                if time.monotonic() > until:
                    raise

    def status(self) -> int:
        """Its exit status, when it has ended."""
        while True:
            try:
                if not os.read(self.descriptor, 65536):
                    break
            except OSError:  # the last one at this terminal has gone
                break
        os.close(self.descriptor)
        self.descriptor = -1
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
