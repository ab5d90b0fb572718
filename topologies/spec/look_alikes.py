"""Signs that look like those of YAML and mean nothing to it.

Theory of operation. What was copied from a web page or a word processor has no-break spaces,
dashes and curved quotes. To YAML they are letters as any (YAML 1.1, 5.1), so that a text begins
where an indentation, a list's item or a quoted text was meant. Within a text they are right: they
are looked for only where something else is wrong already.
"""

from __future__ import annotations

import re
import unicodedata

from napt_lab.topologies.spec.errors import quoted

_KEY_OR_DASH = r"(?:[\w-]+:|-)? *"
_SPACE = re.compile(
    _KEY_OR_DASH + "([\u00a0\u1680\u2000-\u200b\u202f\u205f\u2060\u3000\ufeff])", re.ASCII
)
_DASH = re.compile("([\u2010-\u2015\u2022\u2212])")
_QUOTE = re.compile("([\u00ab\u00bb\u2018-\u201f\u2039\u203a])")


def odd_space(text: str) -> str | None:
    """What to say of a text before which, or behind whose key or '-', an odd space stands."""
    return _told(_SPACE.match(text), "spaces as the space bar makes them")


def odd_dash(text: str) -> str | None:
    """What to say of a text that was to be an item."""
    return _told(_DASH.match(text), "'- ' before a list's item")


def odd_quote(text: str) -> str | None:
    """What to say of a text that was to be in quotes."""
    return _told(_QUOTE.match(text), "quotes as \" or '")


def _told(found: re.Match[str] | None, allowed: str) -> str | None:
    if found is None:
        return None
    sign, behind = found[1], found.string[found.end() :].strip()
    name = unicodedata.name(sign).lower()
    article = "an" if name[0] in "aeiou" else "a"
    return (
        f"{article} {name} (U+{ord(sign):04X}) stands before {quoted(behind)}; allowed: {allowed}"
    )
