"""The templates of all pages. What comes from outside is text in them, and stays text."""

from __future__ import annotations

import contextlib
import os
import re
import sys
from pathlib import Path

from jinja2 import Environment, FileSystemBytecodeCache, FileSystemLoader, StrictUndefined
from jinja2.bccache import Bucket
from markupsafe import Markup

TEXT_SHOWN = 3000  # characters of one text
_INVISIBLE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff\ufdd0-\ufdef\ufffe\uffff]"
)


class _Cache(FileSystemBytecodeCache):
    """Like Python's: what cannot be kept is compiled again the next time."""

    def dump_bytecode(self, bucket: Bucket) -> None:
        """Keep it, if there is room."""
        with contextlib.suppress(OSError):
            super().dump_bytecode(bucket)


def templates(folder: Path, *more: Path) -> Environment:
    """Those in a folder, which may use those in others."""
    # Where Python keeps its own: compiling a template takes longer than all the rest.
    cache = folder / "__pycache__"
    may = os.access(cache, os.W_OK) and not sys.dont_write_bytecode  # root in someone's clone
    return Environment(
        loader=FileSystemLoader([folder, *more]),
        bytecode_cache=_Cache(str(cache)) if may else None,
        autoescape=True,
        undefined=StrictUndefined,
        finalize=visible,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def visible(value: object) -> object:
    """Text without characters that are not seen; of a very long one the beginning."""
    if not isinstance(value, str) or isinstance(value, Markup):
        return value
    if len(value) > TEXT_SHOWN:
        value = f"{value[:TEXT_SHOWN]} … ({len(value) - TEXT_SHOWN:,} characters more)"
    return _INVISIBLE.sub(lambda found: f"⟨{ord(found[0]):04X}⟩", value)
