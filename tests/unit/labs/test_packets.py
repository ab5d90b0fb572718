"""The reader of captured headers, and the writer of captures, with scapy as the judge."""

from __future__ import annotations

from ipaddress import IPv4Network

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.inet import IP, TCP
from scapy.layers.l2 import ARP, Ether
from scapy.utils import PcapNgReader

from napt_lab.labs.capture.identity import identity
from napt_lab.labs.capture.packets import ACK, SYN, decode_frame, icmp_name
from napt_lab.labs.capture.pcapng import join_pcapng, write_pcapng
from tests.packets import error, ethernet, tcp, udp

# Without addresses of its own scapy would ask this machine's network for them, by ARP.
ETHERNET = Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02")

addresses = st.ip_addresses(v=4).map(str)
ports = st.integers(0, 65535)


@given(addresses, addresses, ports, ports, st.integers(0, 2**32 - 1), st.binary(max_size=40))
def test_tcp_is_read_as_scapy_wrote_it(source, destination, sport, dport, number, data):
    options = [("MSS", 1460), ("NOP", None), ("WScale", 7)]
    segment = TCP(sport=sport, dport=dport, seq=number, flags="SA", options=options)
    frame = ETHERNET / IP(src=source, dst=destination, ttl=61) / segment / data
    packet = decode_frame(bytes(frame))
    assert (packet.source, packet.destination, packet.ttl) == (source, destination, 61)
    assert (packet.source_port, packet.destination_port) == (sport, dport)
    assert (packet.sequence, packet.payload) == (number, len(data))
    assert packet.is_tcp(flags=SYN | ACK)
    assert not packet.is_tcp(flags=SYN)


def test_udp_and_arp():
    packet = decode_frame(ethernet(udp("10.0.0.7:5", "1.2.3.4:53", b"abc")))
    assert str(packet) == "10.0.0.7:5 → 1.2.3.4:53 udp"
    assert packet.payload == 3
    asked = ETHERNET / ARP(op=1, psrc="10.0.0.9", pdst="10.0.0.7")
    assert str(decode_frame(bytes(asked))) == "ARP who has 10.0.0.7? tell 10.0.0.9"
    answered = ETHERNET / ARP(op=2, psrc="10.0.0.7", pdst="10.0.0.9")
    assert decode_frame(bytes(answered)).arp == "is-at"


def test_an_icmp_error_quotes_the_packet_it_is_about():
    lost = tcp("203.0.113.5:4000", "10.0.0.7:8080", seq=9)
    # RFC 792 quotes the header and 64 bits.
    told = error("198.51.100.1", "203.0.113.5", lost, (3, 1), quote=28)
    packet = decode_frame(ethernet(told))
    assert packet.icmp == (3, 1)
    assert packet.quoted.destination == "10.0.0.7"
    assert (packet.quoted.destination_port, packet.quoted.sequence) == (8080, 9)
    assert packet.names_any_of(IPv4Network("10.0.0.0/24"))
    assert not packet.names_any_of(IPv4Network("172.16.0.0/12"))


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ((3, 1), "destination unreachable (host)"),
        ((3, 13), "destination unreachable (communication administratively prohibited)"),
        ((3, 99), "destination unreachable (code 99)"),
        ((8, 0), "echo request"),
        ((11, 0), "time exceeded"),
        ((11, 1), "time exceeded (fragment reassembly)"),
        ((12, 7), "parameter problem (code 7)"),
        ((42, 0), "type 42"),
    ],
)
def test_an_icmp_message_has_the_name_that_its_rfc_gives_it(kind, name):
    assert icmp_name(*kind) == name


@pytest.mark.parametrize("kind", [(11, 0), (3, 3)])
def test_an_icmp_error_is_known_again_behind_a_napt_that_had_numbered_the_datagram(kind):
    before = error("1.2.3.4", "24.9.3.7", udp("24.9.3.7:40000", "1.2.3.4:9", id=9), kind, id=5)
    behind = error("1.2.3.4", "10.0.0.7", udp("10.0.0.7:4711", "1.2.3.4:9", id=77), kind, id=5)
    later = error("1.2.3.4", "10.0.0.7", udp("10.0.0.7:4711", "1.2.3.4:9", id=78), kind, id=6)
    keys = [identity(decode_frame(ethernet(each)), "") for each in (before, behind, later)]
    assert keys[0] == keys[1] != keys[2]


@given(st.binary(max_size=120), st.integers(0, 120))
def test_nothing_on_a_wire_can_upset_the_reader(junk, cut):
    str(decode_frame(junk))
    str(decode_frame(bytes(12) + b"\x08\x00" + junk))
    about_junk = ethernet(error("1.1.1.1", "2.2.2.2", junk, (11, 0), quote=None))
    str(decode_frame(about_junk[:cut]))


@pytest.mark.parametrize("fragment", [1, 100])
def test_a_later_fragment_has_no_ports(fragment):
    frame = ETHERNET / IP(src="1.1.1.1", dst="2.2.2.2", proto=6, frag=fragment) / bytes(40)
    packet = decode_frame(bytes(frame))
    assert packet.protocol == "tcp"
    assert packet.source_port is None


def test_a_capture_names_every_interface_and_keeps_nanoseconds(tmp_path):
    frame = ethernet(udp("1.1.1.1:53", "2.2.2.2:53", b"odd"))
    path = tmp_path / "capture.pcapng"
    places = ["alice:eth0", "napt_a:wan0", "never:used"]
    stamp = 1_700_000_000_123_456_789
    write_pcapng(path, places, [(1, stamp, True, 1500, frame), (0, stamp + 1, False, 3, frame)])
    for name in places:
        assert name.encode() in path.read_bytes()
    with PcapNgReader(str(path)) as reader:
        first, second = list(reader)
    assert (first.sniffed_on, second.sniffed_on) == ("napt_a:wan0", "alice:eth0")
    assert (first.wirelen, bytes(first)) == (1500, frame)
    assert int(first.time * 10**9) == stamp


def test_several_captures_make_one(tmp_path):
    frames = [ethernet(udp("1.1.1.1:53", "2.2.2.2:53", word)) for word in (b"one", b"two")]
    parts = [tmp_path / "capture-1.pcapng", tmp_path / "capture-2.pcapng"]
    for path, frame in zip(parts, frames, strict=True):
        write_pcapng(path, ["pc:eth0"], [(0, 1, True, len(frame), frame)])
    join_pcapng(parts, tmp_path / "capture.pcapng")
    assert [bytes(packet) for packet in PcapNgReader(str(tmp_path / "capture.pcapng"))] == frames
