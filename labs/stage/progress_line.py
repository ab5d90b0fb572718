"""The last line of a terminal, which moves while something takes time."""

from __future__ import annotations

from rich.console import Console
from rich.status import Status
from rich.text import Text


class ProgressLine:
    """At most one line at a time; none where the output is no terminal."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._status: Status | None = None

    def begin(self, text: Text) -> None:
        """Show a line, instead of one that is shown."""
        self.end()
        if self._console.is_terminal:
            self._status = self._console.status(text)
            self._status.start()

    def update(self, text: Text) -> None:
        """Change the line, if one is shown."""
        if self._status is not None:
            self._status.update(text)

    def end(self) -> None:
        """Remove the line, before others use the terminal."""
        if self._status is not None:
            self._status.stop()
            self._status = None
