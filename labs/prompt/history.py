"""The lines that were typed at a prompt, kept from one run to the next.

Each line is added to the file when it is typed, so that several prompts at once lose nothing of
each other's, nor does one that is killed. The file is bounded: a prompt that opens it when it has
grown to twice what is kept shortens it. If it cannot be written, only this run has a history.
"""

from __future__ import annotations

import contextlib
import functools
import os
import readline

from napt_lab.labs.records.state import make_state_folder, write_state

NAME = "history"
KEPT_LINES = 500
LONGEST_LINE = 1000  # characters
MOST_BYTES = 2 * KEPT_LINES * LONGEST_LINE


class History:
    """Readline's history, and the file behind it."""

    def __init__(self) -> None:
        readline.set_auto_history(False)
        readline.clear_history()
        for line in _read():
            readline.add_history(line)
        self._last = ""

    def add(self, line: str) -> None:
        """A line was typed."""
        if not line.strip() or line == self._last or len(line) > LONGEST_LINE:
            return
        self._last = line
        readline.add_history(line)
        with contextlib.suppress(OSError):
            flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
            file = os.open(make_state_folder() / NAME, flags, 0o600)
            try:
                os.write(file, f"{line}\n".encode(errors="replace"))
            finally:
                os.close(file)


@functools.cache
def history() -> History:
    """This run's: a lab that is stepped through has many prompts, and one history."""
    return History()


def _read() -> list[str]:
    try:
        with (make_state_folder() / NAME).open("rb") as file:
            lines = file.read(MOST_BYTES).decode(errors="replace").splitlines()
        if len(lines) > 2 * KEPT_LINES:
            lines = lines[-KEPT_LINES:]
            write_state(NAME, "\n".join([*lines, ""]))
    except OSError:
        return []
    return [line for line in lines[-KEPT_LINES:] if line.isprintable()]
