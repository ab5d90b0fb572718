"""ICMP errors about translated packets, from either side, and what becomes of the quotation.

    x1 sends           10.0.0.7:4711   -> 151.101.1.69:80
    y1 receives        24.9.3.7:1025   -> 151.101.1.69:80     and answers with an error to 24.9.3.7
    x1 must receive    an error that quotes 10.0.0.7:4711 -> 151.101.1.69:80, as it was sent

What is quoted is always what the other side really received, taken from the capture.
"""

from __future__ import annotations

from collections.abc import Iterator

from napt_lab.labs.capture.packets import (
    SYN,
    TIME_EXCEEDED,
    UNREACHABLE,
    Endpoint,
    Packet,
    Sum,
    show,
)
from napt_lab.labs.conformance.conversation import Query, TcpFlow
from napt_lab.labs.conformance.exam import Exam, UdpFlow
from napt_lab.labs.conformance.headers import (
    MARK,
    PARAMETER_PROBLEM,
    REDIRECT,
    SOURCE_QUENCH,
    Probe,
    fresh,
    icmp,
    icmp_error,
)
from napt_lab.labs.conformance.testbed import Host
from napt_lab.labs.conformance.violation import Violation

TIMESTAMP, TIMESTAMP_REPLY = 13, 14
TIMES = 12  # bytes: three times of 32 bits
#: Every kind of error there is, with the number that belongs to it.
ALL_KINDS = (
    *((UNREACHABLE, code, 1400 if code == 4 else 0) for code in (0, 1, 2, 3, 4, 13)),
    (SOURCE_QUENCH, 0, 0), (REDIRECT, 1, 0), (TIME_EXCEEDED, 0, 0), (PARAMETER_PROBLEM, 0, 0),
)  # fmt: skip


def about(probe: Probe, arrived: Packet) -> tuple[bytes, bytes]:
    """A packet as it was received, and by what it is known: what `icmp_error` quotes."""
    return arrived.raw, probe.mark


def error_in(
    t: Exam,
    flow: UdpFlow,
    *,
    by: Host | None = None,
    kind: int = UNREACHABLE,
    code: int = 3,
    rest: int = 0,
) -> Packet:
    """An error from outside about a datagram of the inside; it must arrive, put right."""
    probe = flow.outward()
    arrived = t.given(flow.inside, probe, flow.outside)
    sender = by or flow.outside
    error = icmp_error(
        sender.address, flow.external[0], *about(probe, arrived), kind=kind, code=code, rest=rest
    )
    packet = t.passes(sender, error, flow.inside)
    _must_be(t, packet, (kind, code), sender.address, flow.inside.address)
    quotes(t, packet, flow.internal, flow.remote, probe)
    if packet.rest != rest:
        raise Violation(f"the number in its header was {rest} and is {packet.rest}")
    return packet


def error_out(t: Exam, flow: UdpFlow, *, by: Host | None = None, code: int = 3) -> Packet:
    """An error from the inside about a datagram from outside."""
    probe = flow.inward()
    arrived = t.given(flow.outside, probe, flow.inside)
    sender = by or flow.inside
    error = icmp_error(sender.address, flow.outside.address, *about(probe, arrived), code=code)
    packet = t.passes(sender, error, flow.outside)
    _must_be(t, packet, (UNREACHABLE, code), flow.external[0], flow.outside.address)
    quotes(t, packet, flow.remote, flow.external, probe)
    return packet


def _must_be(t: Exam, packet: Packet, kind: tuple[int, int], source: str, destination: str) -> None:
    t.require(packet.icmp == kind, f"type and code are {kind}", f"{kind} became {packet.icmp}")
    t.require(
        (packet.source, packet.destination) == (source, destination),
        f"from {source} to {destination}",
        f"it came as {packet.source} > {packet.destination}, not {source} > {destination}",
    )


def quotes(t: Exam, packet: Packet, source: Endpoint, destination: Endpoint, probe: Probe) -> None:
    """The quotation is the packet as its sender had sent it, but for the time to live."""
    quoted = packet.quoted
    if quoted is None:
        raise Violation(f"it quotes nothing: {packet}")
    t.require(
        (quoted.sender, quoted.receiver) == (source, destination),
        f"it quotes {show(source)} > {show(destination)}",
        f"it quotes {quoted}, not {show(source)} > {show(destination)}",
    )
    sums = (packet.header_sum, packet.sum, quoted.header_sum)
    cut_off = packet.length > len(packet.raw)  # the capture keeps only the beginning
    t.require(
        all(each is Sum.HOLDS or (cut_off and each is Sum.UNKNOWN) for each in sums)
        and quoted.sum is not Sum.WRONG,
        "all checksums hold, in the quotation as well",
        f"checksums: header {packet.header_sum.value}, ICMP {packet.sum.value}, quoted header "
        f"{quoted.header_sum.value}, quoted transport {quoted.sum.value}",
    )
    known = len(quoted.raw)
    t.require(
        quoted.raw[4:8] == probe.data[4:8] and quoted.raw[28:] == probe.data[28:known],
        "the rest of the quotation is as it was sent",
        "the quotation is not what was sent",
    )


def storm(t: Exam, flow: UdpFlow) -> None:
    """Errors of every kind about a session, from outside."""
    probe = flow.outward()
    arrived = t.given(flow.inside, probe, flow.outside)
    for error in storm_about(flow.outside, flow.external[0], probe, arrived):
        flow.outside.send(error)


def storm_about(sender: Host, destination: str, probe: Probe, arrived: Packet) -> Iterator[Probe]:
    """The errors themselves."""
    for kind, code, rest in ALL_KINDS:
        yield icmp_error(
            sender.address, destination, *about(probe, arrived), kind=kind, code=code, rest=rest
        )


def query(t: Exam, inside: str, outside: str) -> Query:
    """A ping that has been answered."""
    asked = Query(t, t.host(inside), t.host(outside))
    asked.ask()
    asked.answer()
    return asked


def timestamp(t: Exam, inside: str, outside: str) -> None:
    """A timestamp query that has been answered (RFC 792)."""
    asking, asked = t.host(inside), t.host(outside)
    napt, identifier = t.napt(asking.site or "main"), t.port()

    def message(source: str, destination: str, kind: int, identifier: int) -> Probe:
        data = fresh(TIMES)
        packet = icmp(source, destination, kind, 0, identifier << 16 | 1, data)
        return Probe(packet, data[:MARK], f"timestamp {kind}/0 {source} > {destination}")

    sent = t.passes(asking, message(asking.address, asked.address, TIMESTAMP, identifier), asked)
    reply = message(asked.address, napt.external, TIMESTAMP_REPLY, sent.identifier)
    came = t.passes(asked, reply, asking)
    if (came.destination, came.identifier) != (asking.address, identifier):
        raise Violation(f"the reply was delivered as {came}")


def error_about_query(t: Exam, asked: Query) -> Probe:
    """An error about a request of this query, as its receiver would send it."""
    probe = asked.request()
    arrived = t.given(asked.inside, probe, asked.outside)
    napt = t.napt(asked.inside.site or "main")
    return icmp_error(asked.outside.address, napt.external, *about(probe, arrived), code=1)


def quoted_identifier(packet: Packet) -> int:
    """Of the query that an error quotes."""
    return packet.quoted.identifier if packet.quoted is not None else -1


def error_about_syn(t: Exam, code: int, rest: int) -> None:
    """Destination unreachable about a SYN, from a router on the way."""
    flow = TcpFlow(t, t.host("x1"), t.host("y1"))
    probe = flow.outward(SYN)
    arrived = t.given(flow.inside, probe, flow.outside)
    router = t.host("y2")
    error = icmp_error(
        router.address, arrived.sender[0], *about(probe, arrived), code=code, rest=rest
    )
    packet = t.passes(router, error, flow.inside)
    _must_be(t, packet, (UNREACHABLE, code), router.address, flow.inside.address)
    quotes(t, packet, flow.internal, flow.remote, probe)
    t.require(
        packet.rest == rest,
        f"the number in its header is {rest}",
        f"the number in its header was {rest} and is {packet.rest}",
    )
