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
    ipv4,
    udp,
)
from napt_lab.labs.conformance.icmp_checks import quotes
from napt_lab.labs.conformance.testbed import Host
from napt_lab.labs.conformance.topology import FAR_MTU
from napt_lab.labs.conformance.violation import Violation
from napt_lab.labs.conformance.wires import await_all

LAST_HOP = IpFields(ttl=1)
EXPEDITED = 0xB8  # a class of service (RFC 3246)
BURST = 400
INFORMATION_REQUEST = 15
SETTLED = 0.5  # seconds in which the rest of a burst's errors come


def some_datagram(t: Exam, inside: Host, outside: Host, fields: IpFields) -> Probe:
    """A datagram of a session of its own."""
    source, destination = (inside.address, t.testbed.port()), (outside.address, t.testbed.port())
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
    source, destination = (inside.address, t.testbed.port()), (far.address, t.testbed.port())
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
        probe = echo(sender.address, address, t.testbed.port())
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
    """No error about an ICMP error, nor about a later fragment."""
    inside, outside = t.host("x1"), t.host("y1")
    flow = t.open_udp(inside, outside)
    arrived = flow.answer()
    about_error = icmp_error(
        inside.address, outside.address, arrived.raw, arrived.data[:8], fields=LAST_HOP
    )
    later = cut(flow.internal, flow.remote)[0][1]
    fields = IpFields(ttl=1, dont_fragment=False, offset=32)
    later = Probe(
        ipv4(inside.address, outside.address, later.protocol, later.data[20:], fields),
        later.mark,
        "a later fragment",
    )
    since = t.testbed.wire.mark()
    for silent in (about_error, later):
        inside.send(silent)
    must_be_told(t, inside, some_datagram(t, inside, outside, LAST_HOP), TIME_EXCEEDED, 0)
    for silent in (about_error, later):
        if t.error_about(inside, silent, TIME_EXCEEDED, None, since, 0) is not None:
            raise Violation(f"{silent.what} with a time to live of 1 was answered by an error")
    t.observe("about an ICMP error and a later fragment that died likewise: silence")


def errors_are_limited(t: Exam) -> None:
    """A burst of packets that die is not answered one for one."""
    inside, outside = t.host("x3"), t.host("y1")
    source, destination = (inside.address, t.testbed.port()), (outside.address, t.testbed.port())
    since = t.testbed.wire.mark()
    for _ in range(BURST):
        inside.send(udp(source, destination, fields=LAST_HOP))

    def is_error(captured: Captured) -> bool:
        packet = captured.packet
        about = packet.quoted
        is_ours = about is not None and about.source_port == source[1]
        return packet.icmp == (TIME_EXCEEDED, 0) and is_ours

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
    identifier = t.testbed.port()
    probe = echo(inside.address, outside.address, identifier, IpFields(options=route))
    t.refused(inside, probe, outside, Query(t, inside, outside).request())


def no_information_reply(t: Exam) -> None:
    """An information request (obsolete) is not answered by the NAPT, where a ping is."""
    inside, napt = t.host("x1"), t.napt("main")
    data, control = fresh(), echo(inside.address, napt.internal, t.testbed.port())
    rest = t.testbed.port() << 16
    request = icmp(inside.address, napt.internal, INFORMATION_REQUEST, 0, rest, data)
    since = t.testbed.wire.mark()
    inside.send(Probe(request, data[:8], "information request"))
    inside.send(control)
    if t.await_at(inside.where, lambda c: control.mark in c.data, since) is None:
        raise Violation("not even a ping is answered")
    came = t.testbed.wire.captured(
        inside.where,
        lambda c: not c.outgoing and c.packet.icmp is not None and c.packet.icmp[0] in (4, 16),
        since=since,
    )
    t.require(not came, "no reply, where the ping after it has one", "it was answered")


def other_messages_do_not_pass(t: Exam) -> None:
    """A router advertisement from outside (type 9) is nothing for the inside."""
    flow = t.open_udp(t.host("x1"), t.host("y1"))
    data = fresh()
    packet = icmp(flow.outside.address, flow.external[0], 9, 0, 0, data)
    probe = Probe(packet, data[:8], "ICMP 9/0 from outside")
    t.refused(flow.outside, probe, flow.inside, flow.inward())
