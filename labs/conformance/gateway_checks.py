"""The NAPT as a router: errors that it writes itself, and those that it does not (RFC 1812)."""

from __future__ import annotations

from napt_lab.labs.capture.packets import TIME_EXCEEDED, UNREACHABLE, Packet, decode_ipv4
from napt_lab.labs.capture.wire import Captured
from napt_lab.labs.conformance.conversation import Query
from napt_lab.labs.conformance.exam import WAIT, Exam
from napt_lab.labs.conformance.fragment_checks import cut
from napt_lab.labs.conformance.headers import (
    IpFields,
    Probe,
    echo,
    fresh,
    icmp,
    icmp_error,
    udp,
)
from napt_lab.labs.conformance.icmp_checks import quotes
from napt_lab.labs.conformance.testbed import Host
from napt_lab.labs.conformance.topology import FAR_MTU
from napt_lab.labs.conformance.violation import NotProbed, Violation
from napt_lab.labs.conformance.wires import await_all

LAST_HOP = IpFields(ttl=1)
EXPEDITED = 0xB8  # a class of service (RFC 3246)
BURST = 400
INFORMATION_REQUEST = 15
ELSEWHERE = "192.168.0.9"  # private, and not of the inside network
SETTLED = 0.5  # seconds in which the rest of a burst's errors come


def some_datagram(t: Exam, inside: Host, outside: Host, fields: IpFields) -> Probe:
    """A datagram of a session of its own."""
    source, destination = (inside.address, t.port()), (outside.address, t.port())
    return udp(source, destination, fields=fields)


def must_be_told(t: Exam, sender: Host, probe: Probe, kind: int, code: int) -> Packet:
    """The ICMP error about a packet, which must come, and quote it as it was sent."""
    since = t.testbed.wire.mark()
    error = t.answer(sender, probe, kind, code)
    if error is None:
        seen = t.trail(probe, since)
        raise Violation(f"{probe.what}: no ICMP {kind}/{code} came within {WAIT:g} s; {seen}")
    sent = decode_ipv4(probe.data)
    quotes(t, error, sent.sender, sent.receiver, probe)
    t.observe(f"{sender.name} is told: {error}")
    return error


def time_exceeded(t: Exam) -> None:
    """A packet whose time to live ends at the NAPT, and one whose ends at the router behind it."""
    inside, outside = t.host("x1"), t.host("y1")
    for ttl in (1, 2):
        probe = some_datagram(t, inside, outside, IpFields(ttl=ttl))
        must_be_told(t, inside, probe, TIME_EXCEEDED, 0)


def path_mtu(t: Exam) -> None:
    """A router on the way cannot send it on: its word, with the MTU, reaches the sender."""
    inside, far = t.host("x1"), t.host("far")
    source, destination = (inside.address, t.port()), (far.address, t.port())
    error = must_be_told(t, inside, udp(source, destination, fresh(1400)), UNREACHABLE, 4)
    t.require(
        error.rest & 0xFFFF == FAR_MTU,
        f"with the next-hop MTU {FAR_MTU}",
        f"the next-hop MTU in it is {error.rest & 0xFFFF}, not {FAR_MTU}",
    )
    t.passes(inside, udp(source, destination, fresh(FAR_MTU - 28)), far)


def answers_pings(t: Exam) -> None:
    """To its own addresses, from either side."""
    napt = t.napt("main")
    for name, address in (("x1", napt.internal), ("x1", napt.external), ("y1", napt.external)):
        sender = t.host(name)
        probe = echo(sender.address, address, t.port())
        since = t.testbed.wire.mark()
        sender.send(probe)
        came = t.await_at(sender.where, lambda c, p=probe: p.mark in c.data, since)  # type: ignore[misc]
        t.require(came is not None, f"{address} answers {name}", f"{address} is silent to {name}")


def class_is_copied(t: Exam) -> None:
    """An error that the NAPT writes has the class of service of the packet that it is about."""
    inside = t.host("x1")
    probe = some_datagram(t, inside, t.host("y1"), IpFields(ttl=1, tos=EXPEDITED))
    error = must_be_told(t, inside, probe, TIME_EXCEEDED, 0)
    t.require(
        error.tos >> 2 == EXPEDITED >> 2,
        f"of class {EXPEDITED >> 2}, like the packet",
        f"the packet was of class {EXPEDITED >> 2}, the error is of class {error.tos >> 2}",
    )


def knows_when_to_be_silent(t: Exam) -> None:
    """No error about an ICMP error, nor about a later fragment.

    They die at the gateway's kernel (of their time to live) and at the translator (since there is
    no way to a private address), for each writes errors.
    """
    inside, outside = t.host("x1"), t.host("y1")
    flow = t.open_udp(inside, outside)
    arrived = flow.answer()
    since = t.testbed.wire.mark()
    silent = []
    for to, ttl, kind in ((outside.address, 1, TIME_EXCEEDED), (ELSEWHERE, 64, UNREACHABLE)):
        (first, later, _), _ = cut(flow.internal, (to, 7), IpFields(ttl=ttl, dont_fragment=False))
        about_error = icmp_error(
            inside.address, to, arrived.raw, arrived.data[:8], fields=IpFields(ttl=ttl)
        )
        if to == ELSEWHERE:
            inside.send(first)  # which decides about the later ones
        for probe in (later, about_error):
            inside.send(probe)
            silent.append((probe, kind))
    must_be_told(t, inside, some_datagram(t, inside, outside, LAST_HOP), TIME_EXCEEDED, 0)
    flow.send()
    for probe, kind in silent:
        if t.error_about(inside, probe, kind, None, since, wait=0) is not None:
            raise Violation(f"{probe.what} was answered by an error")
    t.observe("about ICMP errors and later fragments that died likewise: silence")


def errors_are_limited(t: Exam) -> None:
    """A burst of packets that die is not answered one for one."""
    inside, outside = t.host("x3"), t.host("y1")
    source, destination = (inside.address, t.port()), (outside.address, t.port())
    since = t.testbed.wire.mark()
    for _ in range(BURST):
        inside.send(udp(source, destination, fields=LAST_HOP))

    def is_error(captured: Captured) -> bool:
        packet = captured.packet
        about = packet.quoted
        is_ours = about is not None and about.source_port == source[1]
        return packet.icmp == (TIME_EXCEEDED, 0) and is_ours

    t.await_at(inside.where, is_error, since)
    found = await_all(
        t.testbed.wire, inside.where, is_error, lambda seen: len(seen) >= BURST, since, SETTLED
    )
    t.require(
        0 < len(found) < BURST,
        f"{len(found)} errors about {BURST} packets at once",
        f"{len(found)} errors about {BURST} packets at once",
    )


def no_source_route(t: Exam) -> None:
    """An ICMP message with a source route, in which private addresses may be, does not get out."""
    inside, outside = t.host("x1"), t.host("y1")
    route = bytes([131, 7, 4]) + bytes(map(int, t.napt("main").internal.split("."))) + b"\0"
    identifier = t.port()
    probe = echo(inside.address, outside.address, identifier, IpFields(options=route))
    t.refused(inside, probe, outside, Query(t, inside, outside).request())


def no_information_reply(t: Exam) -> None:
    """An information request (obsolete) is not answered by the NAPT, where a ping is.

    Who answers at its inside address is the gateway's kernel, at the other the translator.
    """
    inside, napt = t.host("x1"), t.napt("main")
    for address in (napt.internal, napt.external):
        data, control = fresh(), echo(inside.address, address, t.port())
        rest = t.port() << 16
        request = icmp(inside.address, address, INFORMATION_REQUEST, 0, rest, data)
        since = t.testbed.wire.mark()
        inside.send(Probe(request, data[:8], "information request"))
        inside.send(control)
        if not _came_from(t, inside, address, control.mark, since, wait=WAIT):
            raise NotProbed(f"{address} does not even answer a ping")
        t.require(
            not _came_from(t, inside, address, data[:8], since, wait=0),
            f"no reply from {address}, where the ping after it has one",
            f"{address} answered it",
        )


def _came_from(
    t: Exam, receiver: Host, source: str, mark: bytes, since: int, *, wait: float
) -> bool:
    """Whether something with this mark has come from this address."""

    def is_it(captured: Captured) -> bool:
        return captured.packet.source == source and mark in captured.data

    return t.await_at(receiver.where, is_it, since, wait=wait) is not None


def other_messages_do_not_pass(t: Exam) -> None:
    """A router advertisement from outside (type 9) is nothing for the inside."""
    flow = t.open_udp(t.host("x1"), t.host("y1"))
    data = fresh()
    packet = icmp(flow.outside.address, flow.external[0], 9, 0, 0, data)
    probe = Probe(packet, data[:8], "ICMP 9/0 from outside")
    t.refused(flow.outside, probe, flow.inside, flow.inward())
