"""stdin, stdout and stderr that cannot end a run.

A run's verdict is in its results and its exit status. A closed pipe (`| head`), a full disk behind
`>` or a terminal without ✓ must not change it. So output that cannot be written is dropped, and
characters that the encoding lacks are replaced.
"""

from __future__ import annotations

import io
import os
import sys
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer


class _UntilBroken(io.FileIO):
    """Writes until that fails, then to /dev/null, like the programs that it starts."""

    def write(self, data: ReadableBuffer, /) -> int:
        try:
            return super().write(data)
        except OSError:
            _open_null(self.fileno())
            return super().write(data)


def make_sturdy() -> None:
    """Replace stdout and stderr by such streams; open whichever of the three was closed."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:  # else the next file we open would be what others take for, say, stdout
            _open_null(number)
    sys.stdin = sys.stdin or open(0, encoding="utf-8")  # noqa: SIM115  # for good
    sys.stdout = _sturdy(1, sys.stdout, errors="replace")
    sys.stderr = _sturdy(2, sys.stderr, errors="backslashreplace")


def _sturdy(number: int, stream: TextIO | None, errors: str) -> TextIO:
    encoding = stream.encoding if stream else "utf-8"
    line_buffering = number == 2 or os.isatty(number)
    raw = _UntilBroken(number, "w", closefd=False)
    buffer = io.BufferedWriter(raw)
    return io.TextIOWrapper(buffer, encoding=encoding, errors=errors, line_buffering=line_buffering)


def _open_null(number: int) -> None:
    null = os.open(os.devnull, os.O_RDWR)
    if null != number:
        os.dup2(null, number)
        os.close(null)
    os.set_inheritable(number, True)
