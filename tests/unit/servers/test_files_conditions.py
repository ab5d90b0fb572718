"""RFC 9110, section 13, as rows: what is there, what the client asks for, what it gets."""

from __future__ import annotations

import pytest

from napt_lab.servers.files.conditions import UNKNOWN, Conditions

THERE = '"aaaa"'


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
        (THERE, '"*"', None, 412),  # a tag of one star, not "any"
        (THERE, "", None, 412),
        (THERE, '"aaaa"', '"aaaa"', 412),
        (THERE, None, '"bbbb"', 409),  # still nobody asked to overwrite
        (UNKNOWN, "*", None, None),
        (UNKNOWN, '""', None, 412),
        (UNKNOWN, '"aaaa"', None, 412),
        (UNKNOWN, None, None, 409),
    ],
)
def test_may_it_be_written(current, if_match, if_none_match, status):
    refusal = Conditions.of(if_match, if_none_match).refusal_to_write(current)
    assert (refusal and refusal[0]) == status


@pytest.mark.parametrize(
    ("field", "holds"),
    [(None, True), ('"bbbb"', True), ('"aaaa"', False), ('W/"aaaa"', False), ("*", False)],
)
def test_if_none_match_compares_weakly(field, holds):
    assert Conditions.of(None, field).none_match_holds(THERE) is holds
