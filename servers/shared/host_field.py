"""The Host field of an HTTP request: exactly one that is valid, or the answer is 400.

Source: RFC 9112, section 3.2; RFC 9110, section 7.2; RFC 3986, section 3.2.2.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

# uri-host [":" port]. A name may be empty; an address of IPv6 is in brackets.
_VALUE = re.compile(
    r"(?:\[[0-9A-Fa-f:.]+\]|(?:[A-Za-z0-9._~!$&'()*+,;=-]|%[0-9A-Fa-f]{2})*)(?::[0-9]*)?", re.ASCII
)


def host_fault(values: Sequence[str], is_required: bool) -> str | None:
    """What is wrong with a request's Host fields; None if they are valid.

    Only HTTP/1.0 does without one (`is_required` is False).
    """
    if len(values) > 1 or (is_required and not values):
        return f"{len(values) or 'no'} Host header fields"
    if values and not _VALUE.fullmatch(values[0]):
        return f"the Host header field is not valid: {values[0][:80]!r}"
    return None
