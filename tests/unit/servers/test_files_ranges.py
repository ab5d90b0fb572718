"""RFC 9110, section 14: which bytes a Range field asks for."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from napt_lab.servers.files.ranges import Unsatisfiable, byte_range


@pytest.mark.parametrize(
    ("field", "wanted"),
    [
        ("bytes=0-499", range(500)),
        ("bytes=500-999", range(500, 1000)),
        ("bytes=-500", range(9500, 10000)),
        ("bytes=9500-", range(9500, 10000)),
        ("bytes=0-0", range(1)),
        ("bytes=-1", range(9999, 10000)),
        ("bytes=-20000", range(10000)),
        ("bytes=9999-20000", range(9999, 10000)),
        ("bytes=0-9999999999999999999", range(10000)),
    ],
)
def test_one_range(field, wanted):
    assert byte_range(field, 10000) == wanted


@pytest.mark.parametrize(
    "field",
    ["", "bytes", "bytes=", "bytes=-", "bytes=a-b", "bytes=5-4", "bytes=0-1,3-4", "lines=1-2",
     "bytes=0x1-2", "bytes=1 -2", "bytes=+1-2", "bytes=١-٢", "bytes=" + "9" * 40 + "-"],
)  # fmt: skip
def test_ignored(field):
    assert byte_range(field, 10000) is None


@pytest.mark.parametrize(
    ("field", "size"), [("bytes=10000-", 10000), ("bytes=-0", 10000), ("bytes=0-", 0)]
)
def test_unsatisfiable(field, size):
    with pytest.raises(Unsatisfiable):
        byte_range(field, size)


@given(st.binary(min_size=1, max_size=50), st.integers(0, 60), st.integers(0, 60))
def test_the_same_bytes_as_slicing(content, first, last):
    if last < first:
        assert byte_range(f"bytes={first}-{last}", len(content)) is None
    elif first >= len(content):
        with pytest.raises(Unsatisfiable):
            byte_range(f"bytes={first}-{last}", len(content))
    else:
        wanted = byte_range(f"bytes={first}-{last}", len(content))
        assert wanted is not None
        assert bytes(content[i] for i in wanted) == content[first : last + 1]
