"""Characters that look like YAML's spaces, dashes and quotes, but are not.

Theory of operation. Text copied from a web page or a word processor contains no-break spaces,
dashes and curved quotes. To YAML they are ordinary letters (YAML 1.1, 5.1): a plain text begins
where the writer meant indentation, a list item or quotes. Inside a text they are allowed, so they
are looked for only where there is another error.
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
    """The message if an odd space is before `text`, or after its key or '-'; else None."""
    return _message(_SPACE.match(text), "ordinary spaces")


def odd_dash(text: str) -> str | None:
    """The message if `text` begins with a dash that is not YAML's '-'; else None."""
    return _message(_DASH.match(text), "'- ' before a list item")


def odd_quote(text: str) -> str | None:
    """The message if `text` begins with a quote that is not YAML's; else None."""
    return _message(_QUOTE.match(text), "the quotes \" or '")


def _message(found: re.Match[str] | None, allowed: str) -> str | None:
    if found is None:
        return None
    sign, behind = found[1], found.string[found.end() :].strip()
    name = unicodedata.name(sign).lower()
    article = "an" if name[0] in "aeiou" else "a"
    return f"{article} {name} (U+{ord(sign):04X}) is before {quoted(behind)}; allowed: {allowed}"
