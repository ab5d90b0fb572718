"""What a lab says has commands and names between backticks, as in this project's documents."""

from __future__ import annotations

import re

_CODE = re.compile(r"`([^`\n]+)`")


def pieces(text: str) -> list[tuple[str, bool]]:
    """`text` in pieces without backticks, each with whether it stood between two."""
    return [(piece, bool(number % 2)) for number, piece in enumerate(_CODE.split(text)) if piece]
