"""One packet: what is refused as malformed, and every checksum after a rewriting."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from napt_lab.nat_node.core.behavior import parse_address, parse_endpoint
from napt_lab.nat_node.core.packet import Malformed, Packet, give_back_hop
from tests.packets import fragments, ping, set_bytes, tcp, udp
from tests.unit.nat_node.nat_testing import ALICE, IP, SERVER, show, wrong_checksums

PC, WEB = f"{ALICE}:40000", f"{SERVER}:80"
UDP_PACKET, TCP_PACKET = udp(PC, WEB), tcp(PC, WEB)


def ihl(packet, words):
    return set_bytes(packet, 0, bytes([0x40 | words]))


def fragment_at(offset, size):
    """The last fragment of a datagram whose header has 20 bytes."""
    return bytes(IP(src=ALICE, dst=SERVER, proto=17, frag=offset // 8) / (b"x" * size))


@pytest.mark.parametrize(
    ("packet", "why"),
    [
        (b"", "shorter than an IPv4 header"),
        (UDP_PACKET[:19], "shorter than an IPv4 header"),
        (set_bytes(UDP_PACKET, 0, b"\x65"), "not an IPv4 header"),  # version 6
        (ihl(UDP_PACKET, 4), "not an IPv4 header"),  # 16 bytes of header cannot be
        (UDP_PACKET[:-1], "not the packet's length"),
        (UDP_PACKET + b"\0", "not the packet's length"),
        (set_bytes(UDP_PACKET, 2, b"\0\x13"), "not the packet's length"),  # total length 19
        (ihl(udp(PC, WEB, b""), 7), "shorter than its transport header"),  # no room for UDP
        (tcp(PC, WEB)[:2] + b"\0\x27" + tcp(PC, WEB)[4:39], "shorter than its transport header"),
        (udp(f"{ALICE}:0", WEB), "port 0"),
        (tcp(PC, f"{SERVER}:0"), "port 0"),
        (fragments(tcp(PC, WEB, payload=b"x" * 40), 8)[0], "shorter than its transport header"),
        (fragments(tcp(PC, WEB, payload=b"x" * 40), 8)[1], "overwrite TCP's flags"),  # RFC 3128
        (fragment_at(65_528, 8), "end beyond the longest datagram"),
        (fragment_at(65_512, 4), "end beyond the longest datagram"),
    ],
)
def test_malformed(packet, why):
    with pytest.raises(Malformed, match=why):
        Packet(bytearray(packet))


@pytest.mark.parametrize(
    "packet",
    [
        UDP_PACKET,
        TCP_PACKET,
        ping(ALICE, SERVER),
        udp(PC, WEB, b""),
        tcp(PC, WEB, payload=b"x" * 1400),
        udp(PC, WEB, options=b"\x07\x07\x04\0\0\0\0\0"),  # record route, and padding
        set_bytes(UDP_PACKET, 9, b"\x2f"),  # GRE: not ours, but whole
        fragment_at(65_512, 3),  # 65,535 bytes in all
    ],
)
def test_well_formed(packet):
    parsed, judge = Packet(bytearray(packet)), IP(packet)
    assert parsed.source == parse_address(judge.src)
    assert parsed.destination == parse_address(judge.dst)
    assert parsed.header_length == judge.ihl * 4
    assert parsed.protocol == judge.proto


endpoints = st.tuples(st.integers(1, 0xFFFFFFFF), st.integers(1, 65535))
payloads = st.binary(max_size=9)


@given(
    payload=payloads, new_source=endpoints, new_destination=endpoints, kind=st.sampled_from("tu")
)
def test_every_checksum_follows_a_rewriting(payload, new_source, new_destination, kind):
    data = bytearray((tcp if kind == "t" else udp)(PC, WEB, payload=payload))
    packet = Packet(data)
    packet.rewrite_source(new_source)
    packet.rewrite_destination(new_destination)
    assert not wrong_checksums(bytes(data))
    assert packet.source_endpoint == new_source
    assert packet.destination_endpoint == new_destination
    again = Packet(data)  # what stands in the bytes is what the object says
    assert again.source_endpoint == new_source
    assert again.destination_endpoint == new_destination


@given(identifier=st.integers(0, 65535), payload=payloads)
def test_the_icmp_checksum_follows_the_identifier(identifier, payload):
    data = bytearray(ping(ALICE, SERVER, data=payload))
    Packet(data).rewrite_identifier(identifier)
    assert not wrong_checksums(bytes(data))
    assert IP(bytes(data)).payload.id == identifier


def test_a_udp_checksum_of_zero_stays_zero():
    """It means that there is none (RFC 768)."""
    data = bytearray(set_bytes(UDP_PACKET, 26, b"\0\0"))
    Packet(data).rewrite_source(parse_endpoint("24.9.3.7:1025"))
    assert data[26:28] == b"\0\0"


def test_a_udp_checksum_never_becomes_zero():
    """Computed as zero it is sent as FFFF (RFC 768): all 65,536 ports meet the case once."""
    zeros = 0
    for port in range(1, 65536):
        data = bytearray(UDP_PACKET)
        Packet(data).rewrite_source((parse_address("24.9.3.7"), port))
        assert data[26:28] != b"\0\0"
        if data[26:28] == b"\xff\xff":
            zeros += 1
            assert not wrong_checksums(bytes(data))
    assert zeros == 1


def test_a_partial_checksum_is_the_pseudo_headers_sum():
    """Only addresses count for it; whoever finishes it finds the rest of the packet changed."""

    def pseudo_sum(packet):
        words = packet[12:20] + bytes([0, packet[9]]) + (len(packet) - 20).to_bytes(2, "big")
        return sum(int.from_bytes(words[i : i + 2], "big") for i in range(0, 12, 2)) % 0xFFFF

    for make, at in ((tcp, 36), (udp, 26)):
        data = bytearray(make(PC, WEB))
        data[at : at + 2] = pseudo_sum(data).to_bytes(2, "big")
        Packet(data, partial=True).rewrite_source(parse_endpoint("24.9.3.7:1025"))
        assert int.from_bytes(data[at : at + 2], "big") == pseudo_sum(data)


@pytest.mark.parametrize(("ttl", "given_back"), [(0, 1), (1, 2), (63, 64), (254, 255), (255, 255)])
def test_a_hop_is_given_back(ttl, given_back):
    data = bytearray(udp(PC, WEB, ttl=ttl))
    give_back_hop(data)
    assert data[8] == given_back
    assert not wrong_checksums(bytes(data))


def test_nothing_else_is_touched():
    """Type of service (DSCP, ECN), identification, DF, options, TCP's numbers: all stay."""
    before = tcp(
        PC, WEB, "SEC", b"data", tos=0x2A, id=4711, flags="DF", options=b"\x94\x04\0\0",
    )  # fmt: skip
    after = bytearray(before)
    Packet(after).rewrite_source(parse_endpoint("24.9.3.7:1025"))
    changed = {at for at in range(len(before)) if before[at] != after[at]}
    header = 24
    assert changed <= {10, 11, 12, 13, 14, 15, header, header + 1, header + 16, header + 17}
    assert show(bytes(after)) == "tcp 24.9.3.7:1025 > 151.101.1.69:80"
