"""A file that comes over a network: it stands under its name when it is whole, and not before."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO


@contextlib.contextmanager
def arriving_file(path: Path) -> Iterator[BinaryIO]:
    """A file to write to, which replaces `path` when the block ends without an exception.

    What is not a regular file (/dev/null, a FIFO) is written to directly, and never replaced.
    Raises OSError.
    """
    if path.exists() and not path.is_file():
        with path.open("wb") as file:
            yield file
        return
    part = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        with part.open("xb") as file:
            yield file
        part.rename(path)
    finally:
        part.unlink(missing_ok=True)
