"""PCP's messages (RFC 6887): what each is answered, whatever its bytes are."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from napt_lab.nat_node.core.settings import LeaseLimits
from tests.unit.nat_node.nat_testing import ALICE, BOB, EXTERNAL, OTHER, assert_empty
from tests.unit.nat_node.port_control_world import (
    ADDRESS_MISMATCH,
    EXACTLY,
    EXCESSIVE_REMOTE_PEERS,
    FOREVER,
    LONG,
    MALFORMED_OPTION,
    MALFORMED_REQUEST,
    OTHER_NONCE,
    SUCCESS,
    UNSUPP_OPCODE,
    UNSUPP_OPTION,
    UNSUPP_PROTOCOL,
    Home,
    address,
    map_request,
    only,
    option,
    read,
)


@pytest.mark.parametrize(
    ("request_", "result", "lifetime"),
    [
        (map_request(80)[:56], MALFORMED_REQUEST, LONG),  # too short for its opcode
        (map_request(80) + bytes(2), MALFORMED_REQUEST, LONG),  # not a multiple of 4
        (map_request(80, 9, *[only(OTHER)] * 44), MALFORMED_REQUEST, LONG),  # 1116 bytes
        (map_request(80, client=BOB), ADDRESS_MISMATCH, LONG),
        (map_request(80, protocol=132), UNSUPP_PROTOCOL, LONG),  # SCTP
        (map_request(0), UNSUPP_PROTOCOL, LONG),  # all ports of TCP
        (map_request(0, protocol=0), UNSUPP_PROTOCOL, LONG),  # a "DMZ host"
        (map_request(80, protocol=0), MALFORMED_REQUEST, LONG),
        (map_request(80, 0, protocol=0), MALFORMED_REQUEST, LONG),
        (map_request(80, 9, option(1, address(BOB))), UNSUPP_OPTION, LONG),
        (map_request(80, 9, option(1, address(ALICE))), MALFORMED_REQUEST, LONG),
        (map_request(80, 9, option(1, bytes(4))), MALFORMED_OPTION, LONG),
        (map_request(80, 9, option(77)), UNSUPP_OPTION, LONG),
        (map_request(80, 9, EXACTLY), MALFORMED_OPTION, LONG),  # which port?
        (map_request(80, 9, EXACTLY, EXACTLY, wish=80), MALFORMED_OPTION, LONG),
        (map_request(80, 9, option(2, bytes(4)), wish=80), MALFORMED_OPTION, LONG),
        (map_request(80, 0, EXACTLY, wish=80), MALFORMED_OPTION, LONG),
        (map_request(80, 0, only(OTHER)), MALFORMED_OPTION, LONG),
        (map_request(80, 9, only(OTHER, 95)), MALFORMED_OPTION, LONG),
        (map_request(80, 9, only(OTHER, 129)), MALFORMED_OPTION, LONG),
        (map_request(80, 9, option(3, bytes(16))), MALFORMED_OPTION, LONG),
        (map_request(80, 9) + b"\x80\0\0\x08" + bytes(4), MALFORMED_OPTION, LONG),  # cut off
        (
            map_request(80, 9, *(only(f"203.0.113.{n}") for n in range(9))),
            EXCESSIVE_REMOTE_PEERS,
            LONG,
        ),
        (
            map_request(80, 9, option(3, b"\0\x40\0\0\x20\x01" + bytes(14))),  # 2001::/64
            EXCESSIVE_REMOTE_PEERS,
            LONG,
        ),
    ],
)
def test_what_cannot_be_granted_is_refused_and_changes_nothing(request_, result, lifetime):
    home = Home()
    reply = home.send(request_)
    assert (reply[0], reply[1], reply[2], reply[3]) == (2, 0x81, 0, result)
    assert int.from_bytes(reply[4:8], "big") == lifetime
    # Section 8.2: the rest is the request itself, up to 1100 bytes, in multiples of 4.
    whole = (request_ + bytes(-len(request_) % 4))[:1100]
    assert reply[24:] == whole[24:]
    not_parsed = result in (MALFORMED_REQUEST, MALFORMED_OPTION)
    assert reply[12:24] == (whole[12:24] if not_parsed else bytes(12))
    assert home.rules == []


@pytest.mark.parametrize("port", [0, 80])
def test_deleting_what_cannot_exist_is_a_success(port):
    home = Home()
    home.ask(80, wish=80)
    for protocol in (0, 6, 132):
        if protocol != 6 and port:
            continue
        assert home.ask(port, 0, protocol=protocol).result == SUCCESS
    assert len(home.rules) == (1 if port == 0 else 0)


@pytest.mark.parametrize("opcode", [2, 3, 127])  # 2 is PEER
def test_other_opcodes(opcode):
    home = Home()
    request = struct.pack("!BBHI16s", 2, opcode, 0, 9, address(ALICE)) + bytes(range(56))
    reply = home.send(request)
    assert (reply[1], reply[3], reply[24:]) == (0x80 | opcode, UNSUPP_OPCODE, request[24:])


def test_announce_tells_since_when():
    home = Home()
    home.wait(77.5)
    request = struct.pack("!BBHI16s", 2, 0, 0, 0, address(ALICE))
    assert home.send(request) == struct.pack("!BBBBII12x", 2, 0x80, 0, 0, 0, 77)
    assert home.send(request + option(200, b"abc")) == home.send(request), "an optional option"
    assert home.send(request + option(3, bytes(20)))[3] == UNSUPP_OPTION


@pytest.mark.parametrize("version", [1, 3, 255])
def test_other_versions(version):
    home = Home()
    for length in (2, 3, 24, 60):
        request = (bytes([version, 1]) + map_request(80)[2:])[:length]
        reply = home.send(request)
        assert (len(reply), reply[0], reply[1], reply[3]) == (max(24, length), 2, 0x81, 1)


def test_what_is_not_answered():
    home = Home()
    for data in (b"", b"\2", map_request(80)[:23], b"\2\x81" + map_request(80)[2:]):
        assert home.send(data) is None


def test_options_that_were_processed_come_back_and_others_do_not():
    home = Home()
    reply = home.ask(
        80, 600, option(200, b"what?"), EXACTLY, option(129), only(OTHER, 128, 7), wish=80
    )
    assert (reply.result, reply.options) == (SUCCESS, EXACTLY + only(OTHER, 128, 7))


def test_who_starts_says_so_ten_times_and_ever_more_rarely():
    home = Home()
    heard = []
    while (deadline := home.server.next_deadline()) is not None:
        home.now = deadline
        pcp, pmp = home.server.announcements(home.now)
        assert home.server.announcements(home.now) == []
        heard.append(home.now - 1000)
        epoch = int(heard[-1])
        assert pcp == struct.pack("!BBBBII12x", 2, 0x80, 0, 0, 0, epoch)
        assert pmp == struct.pack("!BBHI4s", 0, 128, 0, epoch, address(EXTERNAL)[12:])
    assert heard == [0, *(0.25 * (2**n - 1) for n in range(1, 10))]


# -- whatever the bytes are -------------------------------------------------------------------

MESSAGES = st.one_of(
    st.binary(max_size=120),
    st.builds(
        lambda version, opcode, rest: bytes([version, opcode]) + rest,
        st.sampled_from([0, 0, 1, 2, 2, 2, 3]),
        st.sampled_from([0, 1, 1, 1, 2, 3, 127, 128, 129]),
        st.binary(max_size=120),
    ),
    st.builds(
        lambda request, at, byte, more: request[:at] + bytes([byte]) + request[at + 1 :] + more,
        st.builds(
            map_request,
            st.sampled_from([0, 80, 81]),
            st.sampled_from([0, 1, 600, FOREVER]),
            nonce=st.sampled_from([bytes(12), OTHER_NONCE]),
            protocol=st.sampled_from(["tcp", "udp"]),
            wish=st.sampled_from([0, 80, 81, 5351]),
        ),
        st.integers(0, 59),
        st.integers(0, 255),
        st.sampled_from([b"", EXACTLY, only(OTHER), only(OTHER, 0), option(9), b"\x03\0\xff\xff"]),
    ),
)


@given(st.lists(st.tuples(MESSAGES, st.sampled_from([ALICE, BOB]), st.sampled_from([0, 1, 90]))))
def test_no_bytes_break_it_and_no_answer_is_longer_than_its_request_need_be(messages):
    home = Home(LeaseLimits(quota=2))
    for data, sender, pause in messages:
        home.wait(pause)
        before = len(home.rules)
        answer = home.send(data, sender)
        if answer is None:
            assert len(home.rules) == before
            continue
        assert len(answer) <= max(24, len(data) + 4)
        assert answer[1] & 0x80
        if answer[0] == 2 and answer[1] == 0x81 and len(answer) >= 60:
            assert read(answer).nonce == data[24:36]
        leases = [rule.lease for rule in home.rules if rule.explicit]
        assert len(leases) <= 4
    home.wait(2 * 86_400)
    assert_empty(home.translator)
    assert home.server.next_deadline() is None
