"""RFC 9110, section 13, as rows: what is there, what the client asks for, what it gets."""

from __future__ import annotations

import pytest
from aiohttp.test_utils import make_mocked_request

from napt_lab.servers.files.conditions import Conditions

THERE = "aaaa"


def conditions(if_match, if_none_match):
    """As they are read from a request's fields; None where there is no such field."""
    fields = {"If-Match": if_match, "If-None-Match": if_none_match}
    present = {name: value for name, value in fields.items() if value is not None}
    request = make_mocked_request("PUT", "/", headers=present)
    return Conditions(request.if_match, request.if_none_match)


@pytest.mark.parametrize(
    ("current", "if_match", "if_none_match", "status"),
    [
        (None, None, None, None),
        (THERE, None, None, 409),
        (None, None, "*", None),
        (THERE, None, "*", 412),
        (THERE, "*", None, None),
        (None, "*", None, 412),
        (THERE, '"aaaa"', None, None),
        (THERE, '"bbbb", "aaaa"', None, None),
        (THERE, '"bbbb"', None, 412),
        (None, '"aaaa"', None, 412),
        (THERE, 'W/"aaaa"', None, 412),  # If-Match compares strongly
        (THERE, "aaaa", None, 412),  # not an entity tag
        (THERE, "", None, 409),  # an empty field is no condition
        (THERE, '"aaaa"', '"aaaa"', 412),
        (THERE, None, '"bbbb"', 409),  # that alone does not ask to overwrite
        (THERE, "*", 'W/"aaaa"', 412),  # If-None-Match compares weakly
        (THERE, "*", '"bbbb"', None),
    ],
)
def test_may_it_be_written(current, if_match, if_none_match, status):
    refusal = conditions(if_match, if_none_match).refusal_to_write(current)
    assert (refusal and refusal[0]) == status
