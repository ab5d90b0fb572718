"""ICMP errors whose quotation is damaged, has options or extensions, or is about nothing we know.

Each bad one is followed by a good one about another datagram, which must arrive.
"""

from __future__ import annotations

from collections.abc import Callable

from napt_lab.labs.capture.packets import UNREACHABLE, Packet, Sum
from napt_lab.labs.conformance.exam import Exam, UdpFlow
from napt_lab.labs.conformance.headers import IpFields, Probe, extension_object, icmp_error, udp
from napt_lab.labs.conformance.icmp_checks import about, quotes
from napt_lab.labs.conformance.violation import Violation

_NOPS = b"\x01\x01\x01\x01\x01\x01\x01\x00"
_IP_SUM, _UDP_SUM = 10, 26  # where the checksums are in a packet without options


def damaged(packet: bytes, at: int) -> bytes:
    """The packet with two bytes changed."""
    changed = bytearray(packet)
    changed[at] ^= 0x55
    changed[at + 1] ^= 0x55
    return bytes(changed)


def refused(t: Exam, flow: UdpFlow, make: Callable[[Probe, Packet], Probe]) -> None:
    """An error that `make` makes, from outside about a datagram of the inside, is dropped."""
    probes = flow.outward(), flow.outward()
    bad, good = (t.given(flow.inside, probe, flow.outside) for probe in probes)
    control = icmp_error(flow.outside.address, flow.external[0], *about(probes[1], good))
    t.refused(flow.outside, make(probes[0], bad), flow.inside, control)


def bad_sum(t: Exam, flow: UdpFlow) -> None:
    """Under an ICMP checksum that does not hold."""
    source, destination = flow.outside.address, flow.external[0]
    refused(t, flow, lambda p, a: icmp_error(source, destination, *about(p, a), damaged=True))


def bad_quoted_sum(t: Exam, flow: UdpFlow) -> None:
    """Quoting a header whose checksum does not hold."""
    source, destination = flow.outside.address, flow.external[0]
    refused(t, flow, lambda p, a: icmp_error(source, destination, damaged(a.raw, _IP_SUM), p.mark))


def without_mapping(t: Exam, flow: UdpFlow) -> None:
    """An error about a datagram that no inside host has sent."""
    never = flow.external[0], flow.external[1] ^ 1
    source = flow.outside.address

    def make(_probe: Probe, _arrived: Packet) -> Probe:
        sent = udp(never, flow.remote)
        return icmp_error(source, never[0], sent.data, sent.mark)

    refused(t, flow, make)


def without_mapping_from_inside(t: Exam, flow: UdpFlow) -> None:
    """From the inside, about a datagram that it has not received."""
    probe = flow.inward()
    arrived = t.given(flow.outside, probe, flow.inside)
    never = udp(flow.remote, (flow.internal[0], flow.internal[1] ^ 1))
    source, destination = flow.inside.address, flow.outside.address
    bad = icmp_error(source, destination, never.data, never.mark)
    good = icmp_error(source, destination, *about(probe, arrived))
    t.refused(flow.inside, bad, flow.outside, good)


def with_options(t: Exam, flow: UdpFlow) -> None:
    """A quoted header with options: the ports are not where they usually are."""
    sent = udp(flow.external, flow.remote, fields=IpFields(options=_NOPS))
    error = icmp_error(flow.outside.address, flow.external[0], sent.data, sent.mark)
    packet = t.passes(flow.outside, error, flow.inside)
    quoted = packet.quoted
    t.require(
        quoted is not None and (quoted.sender, quoted.options) == (flow.internal, _NOPS),
        f"it quotes {quoted}, options and all",
        f"it quotes {quoted}",
    )


def bad_quoted_transport_sum(t: Exam, flow: UdpFlow) -> None:
    """An error with a wrong quoted UDP checksum passes."""
    probe = flow.outward()
    arrived = t.given(flow.inside, probe, flow.outside)
    error = icmp_error(
        flow.outside.address, flow.external[0], damaged(arrived.raw, _UDP_SUM), probe.mark
    )
    packet = t.passes(flow.outside, error, flow.inside)
    quoted = packet.quoted
    if quoted is None or quoted.sender != flow.internal:
        raise Violation(f"it quotes {quoted}")
    t.require(quoted.sum is Sum.WRONG, "let in, and as wrong as it was", "the checksum was mended")


def with_extension(t: Exam, flow: UdpFlow) -> None:
    """A padded quotation and an extension object behind it (RFC 4884)."""
    extension = extension_object(b"interface 7!")
    probe = flow.outward()
    arrived = t.given(flow.inside, probe, flow.outside)
    error = icmp_error(
        flow.outside.address, flow.external[0], *about(probe, arrived), extension=extension
    )
    packet = t.passes(flow.outside, error, flow.inside)
    t.require(
        packet.data[128:] == extension,
        "the extension behind the quotation is unchanged",
        "the extension was changed",
    )
    padding = packet.data[arrived.length : 128]
    t.require(not any(padding), "so is the padding", "the padding was changed")
    quotes(t, packet, flow.internal, flow.remote, probe)


def truncated(t: Exam, flow: UdpFlow) -> None:
    """A quotation of the header and 8 bytes, all that RFC 792 asks for."""
    probe = flow.outward()
    arrived = t.given(flow.inside, probe, flow.outside)
    # 8 bytes hold no mark: the quoted length, checksum and identification are its own.
    short = arrived.raw[:28]
    error = icmp_error(flow.outside.address, flow.external[0], short, short[4:6], code=2)
    since = t.testbed.wire.mark()
    flow.outside.send(error)
    packet = t.error_about(flow.inside, probe, UNREACHABLE, 2, since)
    if packet is None:
        raise Violation("an error that quotes 8 bytes of the datagram did not come in")
    quotes(t, packet, flow.internal, flow.remote, probe)
