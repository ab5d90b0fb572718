"""Range requests (RFC 9110, section 14): one range of bytes, or the whole file.

Theory of operation. A server may ignore a Range field (section 14.2), and this one does so
whenever it cannot be sure to be understood: another unit than bytes, several ranges, a field
that breaks the grammar. Only a well-formed single range that lies outside the file is an
error: 416, with the file's length in Content-Range.
"""

from __future__ import annotations

import re

_ONE_RANGE = re.compile(r"bytes[ \t]*=[ \t]*(?:([0-9]{1,19})-([0-9]{0,19})|-([0-9]{1,19}))[ \t]*")


class Unsatisfiable(ValueError):
    """The range has no byte in common with the file: answer 416."""


def byte_range(field: str, size: int) -> range | None:
    """The offsets that a Range field asks of a file of `size` bytes; None: ignore the field."""
    match = _ONE_RANGE.fullmatch(field)
    if match is None:
        return None
    first, last, suffix = match.groups()
    if suffix is not None:
        wanted = range(max(0, size - int(suffix)), size)
    elif last and int(last) < int(first):
        return None
    else:
        wanted = range(int(first), min(size, int(last) + 1) if last else size)
    if not wanted:
        raise Unsatisfiable(f"the file has {size} bytes")
    return wanted
