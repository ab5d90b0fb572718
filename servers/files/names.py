"""Which names a file may have, and how they are read out of a request's target.

Theory of operation. The folder is flat: a name is one path segment, so anything that could
mean another folder is refused, not cleaned up. Percent-encoding (RFC 3986, section 2.1) is
undone exactly once, to bytes, which must be UTF-8 (RFC 3629). What is then checked is the
very string that the operating system gets, so that no second decoding can change it.
"""

from __future__ import annotations

import re
import unicodedata
from urllib.parse import quote, unquote_to_bytes

MAX_NAME = 255  # bytes: NAME_MAX of Linux file systems
_TARGET = re.compile(r"(?:https?://[^/?#]*)?(/[^?#]*)(?:\?([^#]*))?", re.IGNORECASE)
_BAD_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")
# Control characters, lone surrogates (bytes that were not UTF-8), line and paragraph breaks.
_BAD_CATEGORIES = frozenset({"Cc", "Cs", "Zl", "Zp"})
# They make a name read as another one: "exe.gpj" shown as "jpg.exe" (Unicode TR 36, 3.1).
_BIDI_CONTROLS = frozenset(
    "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
)


class BadName(ValueError):
    """A name that no file here can have; the message says why."""


def split_target(target: str) -> tuple[str, str]:
    """A request target's path and query, still percent-encoded (RFC 9112, section 3.2).

    Both origin-form and absolute-form (what a proxy may pass on) are understood.
    """
    match = _TARGET.fullmatch(target)
    if match is None:
        raise BadName("this is not a path")
    return match[1], match[2] or ""


def decode(path: str) -> str:
    """The file name in a percent-encoded path such as `/na%C3%AFve.txt`."""
    segment = path.removeprefix("/")
    if _BAD_ESCAPE.search(segment):
        raise BadName("a % is not followed by two hexadecimal digits")
    raw = unquote_to_bytes(segment.encode("utf-8", "surrogateescape"))
    return check(raw.decode("utf-8", "surrogateescape"))


def encode(name: str) -> str:
    """The path of a file, percent-encoded: what a link points at."""
    return "/" + quote(name, safe="")


def check(name: str) -> str:
    """Return `name` if a file may have it; raise BadName otherwise."""
    if not name:
        raise BadName("the name is empty")
    if "/" in name or "\\" in name:
        raise BadName("a name has no / or \\: there are no folders here")
    if name.startswith("."):
        raise BadName("a name does not begin with a dot: such files are hidden")
    for character in name:
        category = unicodedata.category(character)
        if category == "Cs":
            raise BadName("the name is not UTF-8")
        if category in _BAD_CATEGORIES or character in _BIDI_CONTROLS:
            raise BadName(f"the name has the control character U+{ord(character):04X}")
    if len(name.encode()) > MAX_NAME:
        raise BadName(f"the name is longer than {MAX_NAME} bytes")
    return name
