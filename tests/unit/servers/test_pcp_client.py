"""The PCP client: which answers it believes, and when it concludes that the NAPT began anew."""

from __future__ import annotations

import struct
from ipaddress import IPv4Address, IPv4Network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from napt_lab.servers.pcp.keeping import Epoch
from napt_lab.servers.pcp.messages import (
    ANNOUNCE,
    MAP,
    Mapping,
    Refused,
    assigned,
    header,
    read_answer,
)

GRANTED = struct.pack("!BBBBII12x", 2, 0x81, 0, 0, 600, 17) + struct.pack(
    "!12sB3xHH12s4s", bytes(range(12)), 6, 80, 8080, bytes(10) + b"\xff\xff", b"\x18\x09\x03\x07"
)
WANTED = Mapping("tcp", 80, bytes(range(12)), 8080)


def test_a_request_byte_by_byte():
    """RFC 6887, figures 2, 9, 14 and 15."""
    wanted = Mapping(
        "udp", 0x1234, bytes(range(12)), 0x5678, IPv4Address("24.9.3.7"), True,
        (IPv4Network("203.0.113.0/24"),),
    )  # fmt: skip
    written = header(MAP, 3600, IPv4Address("10.0.0.7")) + wanted.opcode_data()
    assert written == bytes.fromhex(
        "02010000 00000e10 00000000000000000000ffff0a000007"
        "000102030405060708090a0b 11000000 1234 5678 00000000000000000000ffff18090307"
        "02000000"
        "03000014 00 78 0000 00000000000000000000ffffcb007100"
    )


def test_an_answer_is_read():
    answer = read_answer(GRANTED, MAP)
    assert (answer.result, answer.lifetime, answer.epoch) == (0, 600, 17)
    mapping = assigned(WANTED, answer)
    assert (str(mapping.external_address), mapping.external_port) == ("24.9.3.7", 8080)


def test_an_error_is_told_by_its_name():
    answer = read_answer(GRANTED[:3] + b"\x0a" + GRANTED[4:], MAP)
    with pytest.raises(Refused, match="USER_EX_QUOTA"):
        assigned(WANTED, answer)


def test_a_napt_that_knows_nat_pmp_only():
    with pytest.raises(Refused, match="natpmpc"):
        read_answer(b"\0\x80\0\1" + bytes(4), MAP)


@pytest.mark.parametrize(
    "data",
    [
        GRANTED[:59],
        GRANTED[:24],
        GRANTED + bytes(1),
        GRANTED + bytes(1100),
        b"\2\1" + GRANTED[2:],  # a request
        b"\2\x80" + GRANTED[2:],  # the answer to something else
        b"",
    ],
)
def test_what_is_no_answer(data):
    assert read_answer(data, MAP) is None


@given(st.binary(max_size=1200), st.sampled_from([ANNOUNCE, MAP]))
def test_no_bytes_break_it(data, opcode):
    try:
        answer = read_answer(data, opcode)
        if answer is not None and opcode == MAP:
            assigned(WANTED, answer)
    except Refused:
        pass


@pytest.mark.parametrize(
    ("passed", "epoch", "goes_on"),
    [
        (60.0, 160, True),
        (60.0, 99, False),  # back
        (0.2, 99, True),  # … by one second: packets overtake each other
        (60.0, 101, False),  # too slow a clock: it was set to 0 and has come back to 101
        (60.0, 155, True),  # slow by no more than a sixteenth and two seconds
        (60.0, 300, False),  # too fast
        (7200.0, 0, False),
    ],
)
def test_an_epoch_goes_on_or_not(passed, epoch, goes_on):
    """RFC 6887, section 8.5."""
    clock = Epoch()
    assert clock.goes_on(100, 5000.0)
    assert clock.goes_on(epoch, 5000.0 + passed) is goes_on
