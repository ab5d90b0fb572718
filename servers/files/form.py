"""What a part of a form is called (RFC 7578, section 4.2): its field's name, and its file's.

aiohttp reads a Content-Disposition field at every `;`, also within quotes, and a part that it
cannot read so has no name. Here a field is read whole, or it is an error.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

_TOKEN = r"[\w!#$&+.^`|~-]+"
_PARAMETER = re.compile(
    rf';[ \t]*({_TOKEN})=(?:"((?:[^"\\]|\\["\\]|\\(?!["\\]))*)"|({_TOKEN}))[ \t]*', re.ASCII
)
_ESCAPED = re.compile(r'\\(["\\])|%(22|0[AD])', re.IGNORECASE)


class BadForm(ValueError):
    """A form that cannot be read; the message says why."""


def names_of_part(fields: Sequence[str]) -> tuple[str, str | None]:
    """From a part's Content-Disposition lines: the field's name, and the file's (None: no file).

    Raises BadForm, also unless there is just one line.
    """
    if len(fields) > 1:
        raise BadForm("a part has more than one Content-Disposition")
    field = "".join(fields)
    kind = field.partition(";")[0]
    if kind.strip().lower() != "form-data":
        raise BadForm("a part has no Content-Disposition of form-data")
    rest = field[len(kind) :].rstrip("; \t")
    values: dict[str, str] = {}
    while rest:
        parameter = _PARAMETER.match(rest)
        if parameter is None or parameter[1].lower() in values:
            raise BadForm(f"the Content-Disposition cannot be read: {field[:200]}")
        quoted, token = parameter[2], parameter[3]
        values[parameter[1].lower()] = token if quoted is None else _unescape(quoted)
        rest = rest[parameter.end() :]
    if "name" not in values:
        raise BadForm("a part of the form has no name")
    return values["name"], values.get("filename")


def _unescape(quoted: str) -> str:
    # Older programs write a quote as \" (RFC 9110, section 5.6.4), browsers and curl as %22.
    return _ESCAPED.sub(lambda found: found[1] or chr(int(found[2], 16)), quoted)
