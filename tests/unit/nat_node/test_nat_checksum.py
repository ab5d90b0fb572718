"""The Internet checksum: scapy is the judge."""

from hypothesis import example, given
from hypothesis import strategies as st
from scapy.utils import checksum as judge

from napt_lab.nat_node.core.checksum import checksum, difference, update, update_partial

words = st.integers(0, 0xFFFF)
even = st.binary(max_size=64).filter(lambda data: len(data) % 2 == 0)


def test_the_example_of_rfc_1071():
    data = bytes.fromhex("0001f203f4f5f6f7")
    assert checksum(data) == 0xFFFF - 0xDDF2


@given(st.binary(max_size=100))
@example(b"")
@example(b"\0" * 8)
@example(b"\xff" * 8)
@example(b"\x01")
def test_it_is_scapys(data):
    assert checksum(data) == judge(data)


@given(data=even, at=st.integers(0, 31), new=words)
@example(data=b"\x55\x55\x48\x44\0\0", at=0, new=0x3285)  # RFC 1624, section 4: 0000, not FFFF
def test_an_update_is_what_computing_anew_gives(data, at, new):
    data = b"\x45\0" + data  # headers are never all zero, and nor is this
    at = 2 + at * 2
    if at >= len(data):
        return
    changed = data[:at] + new.to_bytes(2, "big") + data[at + 2 :]
    change = difference(int.from_bytes(data[at : at + 2], "big"), new)
    assert update(checksum(data), change) == judge(changed)


@given(field=words, old=words, new=words)
def test_an_update_and_its_inverse_cancel_out(field, old, new):
    there = update(field, difference(old, new))
    back = update(there, difference(new, old))
    assert back in (field, 0) if field == 0xFFFF else back == field  # two ways to write zero


@given(field=words, old=words, new=words)
def test_a_partial_sum_moves_the_other_way(field, old, new):
    """What a full checksum loses, a plain sum gains."""
    change = difference(old, new)
    partial, full = update_partial(field, change), update(field ^ 0xFFFF, change)
    assert (partial + full) % 0xFFFF == 0
