"""Header fields on the way through: addresses and ports change, checksums with them, no more."""

from __future__ import annotations

import struct
from ipaddress import IPv4Address

from napt_lab.labs.capture.packets import ACK, PSH, SYN, Packet, Sum, checksum
from napt_lab.labs.conformance.conversation import TcpFlow, open_tcp
from napt_lab.labs.conformance.exam import Exam, UdpFlow, carries, read
from napt_lab.labs.conformance.headers import URG, IpFields, Probe, fresh, ipv4, udp, udp_segment
from napt_lab.labs.conformance.testbed import Host
from napt_lab.labs.conformance.violation import Violation

# Maximum segment size, selective acknowledgment, time-stamps, window scale, and one of the two
# kinds that are kept for experiments (RFC 6994).
OPTIONS = bytes.fromhex("020405b4 0402 080a0102030400000000 01 030307 fd06f9890001")
# No operation twice, and router alert (RFC 2113): neither names an address.
IP_OPTIONS = bytes.fromhex("0101 94040000 0100")
CWR_ECE = 0xC0
SCTP = 132


def both_ways(t: Exam, flow: UdpFlow, data: bytes | None, fields: IpFields) -> list[Packet]:
    """One datagram each way with these fields, as they arrive."""
    out = t.passes(flow.inside, flow.outward(data=data, fields=fields), flow.outside)
    data = None if data is None else fresh(8) + data[8:]
    back = t.passes(flow.outside, flow.inward(data=data, fields=fields), flow.inside)
    return [out, back]


def checksums(t: Exam) -> None:
    """Of UDP with payloads of all kinds of length, of TCP, and of the headers above them."""
    flow = t.open_udp(t.host("x1"), t.host("y1"))
    for length in (8, 9, 63, 64, 201, 300):
        for packet in both_ways(t, flow, fresh(length), IpFields()):
            _both_hold(t, packet)
    connection = open_tcp(t, t.host("x1"), t.host("y1"))
    for length in (8, 9, 300):
        _both_hold(t, connection.out(PSH | ACK, fresh(length)))
        _both_hold(t, connection.back(PSH | ACK, fresh(length)))


def _both_hold(t: Exam, packet: Packet) -> None:
    t.require(
        packet.header_sum is Sum.HOLDS and packet.sum is Sum.HOLDS,
        f"{len(packet.data)} bytes of data: both checksums hold",
        f"{packet}: header checksum {packet.header_sum.value}, transport's {packet.sum.value}",
    )


def absent_checksum_stays_absent(t: Exam) -> None:
    """A datagram without a checksum, each way."""
    flow = t.open_udp(t.host("x1"), t.host("y1"))
    for sender, source, destination, receiver in (
        (flow.inside, flow.internal, flow.remote, flow.outside),
        (flow.outside, flow.remote, flow.external, flow.inside),
    ):
        packet = t.passes(sender, udp(source, destination, summed=False), receiver)
        t.require(packet.sum is Sum.ABSENT, "still 0", f"the checksum is {packet.sum.value}")


def checksum_never_becomes_absent(t: Exam) -> None:
    """Data chosen so that the translated datagram's sum is 0, which would mean "none"."""
    flow = t.open_udp(t.host("x1"), t.host("y1"))
    for sender, before, after, receiver in (
        (flow.inside, (flow.internal, flow.remote), (flow.external, flow.remote), flow.outside),
        (flow.outside, (flow.remote, flow.external), (flow.remote, flow.internal), flow.inside),
    ):
        data = fresh(8) + bytes(2)
        # The sum that is missing to 0xFFFF, in the last two bytes.
        (missing,) = struct.unpack_from("!H", udp_segment(*after, data), 6)
        data = data[:8] + struct.pack("!H", missing)
        packet = t.passes(sender, udp(*before, data), receiver)
        (field,) = struct.unpack_from("!H", packet.body, 6)
        t.require(field == 0xFFFF, "sent as 65,535", f"the field is {field}")


def damage_stays_visible(t: Exam) -> None:
    """A datagram whose checksum is wrong is dropped, or arrives just as wrong."""
    flow = t.open_udp(t.host("x1"), t.host("y1"))
    data = fresh()
    segment = bytearray(udp_segment(flow.internal, flow.remote, data))
    segment[6] ^= 0x55
    packet = ipv4(flow.internal[0], flow.remote[0], 17, bytes(segment))
    probe = Probe(packet, data[:8], "UDP with a wrong checksum")
    came = t.let_in(flow.inside, probe, flow.outside, flow.outward())
    if came is None:
        t.observe("it is dropped")
        return
    t.require(came.sum is Sum.WRONG, "it arrives, as wrong as it was", "it was made to hold")


def time_to_live(t: Exam) -> None:
    """At the NAPT's two interfaces: one less on the way out of it."""
    flow = t.open_udp(t.host("x1"), t.host("y1"))
    napt = t.napt("main")
    for sender, probe, receiver, ways in (
        (flow.inside, flow.outward(), flow.outside, (napt.inside, napt.outside)),
        (flow.outside, flow.inward(), flow.inside, (napt.outside, napt.inside)),
    ):
        since = t.testbed.wire.mark()
        t.passes(sender, probe, receiver)
        test = carries(probe)
        before, after = (
            read(t.testbed.wire.captured(w, test, since=since)[0]).ttl or 0 for w in ways
        )
        t.require(
            after == before - 1,
            f"{before} at {ways[0]}, {after} at {ways[1]}",
            f"{before} at {ways[0]}, but {after} at {ways[1]}",
        )


def class_and_congestion(t: Exam) -> None:
    """Each of the four congestion marks with a class, both ways."""
    flow = t.open_udp(t.host("x1"), t.host("y1"))
    for tos in (0x00, 0x01, 0x02, 0x03, 0xB8, 0x2B):
        for packet in both_ways(t, flow, None, IpFields(tos=tos)):
            t.require(
                packet.tos == tos,
                f"DSCP {tos >> 2}, ECN {tos & 3:02b}: kept",
                f"sent as {tos:#04x}, it arrived as {packet.tos:#04x}",
            )


def dont_fragment(t: Exam) -> None:
    """Set and not set, both ways."""
    flow = t.open_udp(t.host("x1"), t.host("y1"))
    for value in (True, False):
        for packet in both_ways(t, flow, None, IpFields(dont_fragment=value)):
            t.require(
                packet.dont_fragment == value,
                f"DF {'set' if value else 'not set'}: kept",
                f"DF was {value} and is {packet.dont_fragment}",
            )


def tcp_options(t: Exam) -> None:
    """On a SYN, its answer, and on data."""
    flow = TcpFlow(t, t.host("x1"), t.host("y1"))
    expected = OPTIONS + bytes(-len(OPTIONS) % 4)
    for packet in (
        flow.out(SYN, options=OPTIONS),
        flow.back(SYN | ACK, options=OPTIONS),
        flow.out(ACK, options=OPTIONS),
        flow.back(PSH | ACK, fresh(), options=OPTIONS),
    ):
        t.require(
            packet.tcp_options == expected,
            f"{len(expected)} bytes of options: unchanged",
            f"options {expected.hex()} became {packet.tcp_options.hex()}",
        )


def tcp_fields(t: Exam) -> None:
    """Urgent data with ECN's flags, both ways; the rest of the segment byte for byte."""
    flow = open_tcp(t, t.host("x1"), t.host("y1"))
    flags = PSH | ACK | URG | CWR_ECE
    for make, send in ((flow.outward, flow.out), (flow.inward, flow.back)):
        data = fresh()
        sent = make(flags, data, urgent=3).data
        packet = send(flags, data, urgent=3)
        # All but the ports and the checksum.
        same = packet.body[4:16] == sent[24:36] and packet.body[18:] == sent[38:]
        t.require(
            same and packet.urgent == 3 and packet.flags == flags,
            "numbers, flags, window, urgent pointer and data: unchanged",
            f"sent {sent[20:].hex()}, arrived {packet.body.hex()}",
        )


def ip_options(t: Exam) -> None:
    """Out and back."""
    flow = t.open_udp(t.host("x1"), t.host("y1"))
    for packet in both_ways(t, flow, None, IpFields(options=IP_OPTIONS)):
        t.require(
            packet.options == IP_OPTIONS,
            f"{IP_OPTIONS.hex()}: unchanged",
            f"{IP_OPTIONS.hex()} became {packet.options.hex()}",
        )


def nothing_private_gets_out(t: Exam) -> None:
    """SCTP, an ICMP time-stamp request, a segment of no connection: none gets out as it is."""
    inside, outside, napt = t.host("x2"), t.host("y1"), t.napt("main")
    since = t.testbed.wire.mark()
    source, destination = (inside.address, t.port()), (outside.address, t.port())
    data = fresh(16)
    for packet in (
        ipv4(inside.address, outside.address, SCTP, struct.pack("!HH", 1, 2) + data),
        ipv4(inside.address, outside.address, 1, _icmp(13, data)),
        ipv4(inside.address, outside.address, 47, data),
    ):
        inside.send(Probe(packet, data[:8], "what cannot be translated"))
    t.passes(inside, udp(source, destination), outside)
    _none_private(t, napt.outside, since)


def _none_private(t: Exam, where: str, since: int) -> None:
    seen = t.testbed.wire.captured(where, lambda c: c.outgoing, since=since)
    addresses = {c.packet.source for c in seen if c.packet.source and c.packet.arp is None}
    if not addresses:
        raise Violation(f"nothing at all left {where}")
    private = {address for address in addresses if IPv4Address(address).is_private}
    t.require(
        not private,
        f"all {len(seen)} packets that left {where} meanwhile came from {', '.join(addresses)}",
        f"packets from {', '.join(sorted(private))} left {where}",
    )


def _icmp(kind: int, data: bytes) -> bytes:
    message = struct.pack("!BBHI", kind, 0, 0, 1) + data
    return message[:2] + struct.pack("!H", checksum(message)) + message[4:]


def spoofed_is_refused(t: Exam) -> None:
    """A private source, and the NAPT's own address as source, from outside to a mapping."""
    flow = t.open_udp(t.host("x1"), t.host("y1"))
    stranger: Host = flow.outside
    for source in (t.host("x2").address, flow.external[0]):
        probe = udp((source, flow.remote_port), flow.external)
        t.refused(stranger, probe, flow.inside, flow.inward())
