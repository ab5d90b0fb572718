"""RFC 4787, UDP: how a NAPT maps, filters, refreshes, hairpins, treats ICMP and fragments."""

from __future__ import annotations

from napt_lab.labs.capture.packets import show
from napt_lab.labs.conformance import (
    fragment_checks,
    icmp_checks,
    pool_checks,
    timer_checks,
    udp_checks,
)
from napt_lab.labs.conformance.exam import Exam
from napt_lab.labs.conformance.headers import fresh, udp
from napt_lab.labs.conformance.requirement import AT_ONCE, Chapter, Deviation
from napt_lab.labs.conformance.topology import Setup
from napt_lab.topologies.spec.napt_settings import Behavior, PortAssignment

CHAPTER = Chapter(4787, "UDP")
test, inapplicable = CHAPTER.test, CHAPTER.inapplicable

STRICT_FILTER = Deviation(
    lambda setup: setup.settings.filtering is Behavior.ADDRESS_AND_PORT_DEPENDENT,
    "the strictest filter: only endpoints that the inside has called get in",
    "filtering: endpoint-independent",
)


def preserves(setup: Setup) -> bool:
    """Whether port numbers are kept where that is possible."""
    return setup.settings.port_assignment is PortAssignment.PRESERVE


@test("REQ-1", "MUST", "the same external endpoint towards all: endpoint-independent mapping")
def mapping(t: Exam) -> None:
    udp_checks.mapping_is_endpoint_independent(t)


@test("REQ-2", "RECOMMENDED", "all sessions of a host have one external address (paired pooling)")
def pooling(t: Exam) -> None:
    pool_checks.paired(t)


@test("REQ-3", "MUST NOT", "one external port for two internal endpoints (port overloading)")
def overloading(t: Exam) -> None:
    port, remote_port = t.port(), t.port()
    one = t.open_udp(t.host("x1"), t.host("y1"), port=port, remote_port=remote_port)
    two = t.open_udp(t.host("x2"), t.host("y1"), port=port, remote_port=remote_port)
    t.require(
        one.external != two.external,
        "two hosts, one internal port, one remote endpoint: two external ports",
        f"both hosts are {show(one.external)}",
    )
    one.answer()
    two.answer()


@test(
    "REQ-3a", "RECOMMENDED",
    "a port below 1024 is mapped to one below 1024, any other to one above",
    Deviation(
        lambda setup: setup.settings.ports.start >= 1024,
        "the pool leaves the well-known ports to explicit rules, so that no host gets "
        "one by chance",
        "ports: 1-65535",
    ),
)  # fmt: skip
def port_range(t: Exam) -> None:
    for port in (t.port(), 123, 500, 1023):
        flow = t.open_udp(t.host("x1"), t.host("y1"), port=port)
        t.require(
            (port < 1024) == (flow.external[1] < 1024),
            f"{port} → {flow.external[1]}",
            f"{port} became {flow.external[1]}",
        )


@test(
    "REQ-4", "RECOMMENDED",
    "an even port is mapped to an even one, an odd port to an odd one (parity)",
    Deviation(
        lambda setup: not setup.settings.port_parity and not preserves(setup),
        "RFC 7857, section 8, allows this: with parity a host can use only half of the pool",
        "port-parity: true",
    ),
)  # fmt: skip
def parity(t: Exam) -> None:
    udp_checks.parity_is_kept(t)


@test("REQ-5", "MUST NOT", "a mapping expires after less than 2 minutes without use")
def two_minutes(t: Exam) -> None:
    flow = t.open_udp(t.host("x1"), t.host("y1"))
    timer_checks.lasts_at_least(t, "udp", flow.external, "udp", 120)


inapplicable(
    "REQ-5a", "MAY", "shorter timers for some well-known destination ports",
    "allowed, not required: all ports have the same time-out",
)  # fmt: skip


@test("REQ-5b", "MAY", "the time-out can be set", when=AT_ONCE)
def configurable(t: Exam) -> None:
    timer_checks.udp_expires(t)


@test("REQ-5c", "RECOMMENDED", "by default the time-out is 5 minutes or more")
def five_minutes(t: Exam) -> None:
    flow = t.open_udp(t.host("x1"), t.host("y1"))
    timer_checks.lasts_at_least(t, "udp", flow.external, "udp", 300)


@test(
    "REQ-6",
    "MUST",
    "packets from inside keep a mapping alive (outbound refresh)",
    when=AT_ONCE,
)
def outbound_refresh(t: Exam) -> None:
    timer_checks.udp_outbound_refreshes(t)


@test(
    "REQ-6a",
    "MAY",
    "packets from outside keep a mapping alive as well (inbound refresh)",
    Deviation(
        lambda _: True,
        "a host outside could keep a mapping for ever (RFC 4787, section 4.3)",
        "none: there is no such setting",
    ),
    when=AT_ONCE,
)
def inbound_refresh(t: Exam) -> None:
    timer_checks.udp_inbound_refresh(t)


inapplicable(
    "REQ-7", "MUST", "a dynamic external address does not clash with the inside network",
    "the external address is configured, and a clash is refused before the NAPT starts",
)  # fmt: skip


@test(
    "REQ-8", "RECOMMENDED", "filtering is endpoint-independent, or else address-dependent",
    STRICT_FILTER,
)  # fmt: skip
def filtering(t: Exam) -> None:
    seen = udp_checks.filtering(t, t.host("x1"))
    t.require(seen != udp_checks.PORT_DEPENDENT, f"filtering is {seen}", f"filtering is {seen}")


@test("REQ-8a", "MAY", "the filtering behavior can be set, and the NAPT does what is set")
def filtering_as_set(t: Exam) -> None:
    t.require_as_set(udp_checks.filtering(t, t.host("x2")), t.filtering_setting)


@test("REQ-9", "MUST", "inside hosts reach each other by their external endpoints (hairpinning)")
def hairpinning(t: Exam) -> None:
    udp_checks.hairpin(t, t.host("x1"), t.host("x2"))


@test("REQ-9a", "MUST", "a hairpinned packet comes from its sender's external endpoint")
def hairpin_source(t: Exam) -> None:
    udp_checks.hairpin_source(t, t.host("x1"), t.host("x2"))


@test("REQ-10", "SHOULD", "no application-level gateway changes what UDP carries")
def no_alg(t: Exam) -> None:
    flow = t.open_udp(t.host("x1"), t.host("y1"), port=5060, remote_port=5060)
    own = flow.inside.address
    body = (
        f"INVITE sip:y@example.org SIP/2.0\r\nVia: SIP/2.0/UDP {own}:5060\r\n"
        f"Contact: <sip:x@{own}:5060>\r\n\r\nv=0\r\nc=IN IP4 {own}\r\nm=audio 49170 RTP/AVP 0\r\n"
    )
    data = fresh(8) + body.encode()
    packet = t.passes(flow.inside, udp(flow.internal, flow.remote, data), flow.outside)
    t.require(
        packet.data == data, "SIP with our private address: no byte was changed", "SIP was changed"
    )
    answer = fresh(8) + body.replace(own, flow.external[0]).encode()
    packet = t.passes(flow.outside, udp(flow.remote, flow.external, answer), flow.inside)
    t.require(packet.data == answer, "nor in the answer", "the answer was changed")


inapplicable(
    "REQ-10a", "RECOMMENDED", "each ALG can be switched by itself", "there are no ALGs to switch"
)


@test("REQ-11", "MUST", "mapping and filtering stay the same when ports collide (deterministic)")
def deterministic(t: Exam) -> None:
    alone = t.open_udp(t.host("x1"), t.host("y1"))
    usual = udp_checks.behavior(t, alone, t.open_udp(alone.inside, t.host("y2"), port=alone.port))
    port, remote_port = t.port(), t.port()
    pairs = (("x1", "y1", "y2"), ("x2", "y2", "y1"), ("x3", "y1", "y2"))
    # Each dials one remote endpoint before any of them dials the other's.
    one, two = (
        [
            t.open_udp(t.host(pair[0]), t.host(pair[n]), port=port, remote_port=remote_port)
            for pair in pairs
        ]
        for n in (1, 2)
    )
    for first, second in zip(one, two, strict=True):
        seen = udp_checks.behavior(t, first, second)
        t.require(
            seen == usual,
            f"{first.inside.name}, with the port that two others have: {seen}",
            f"alone: {usual}; {first.inside.name}, with the port that two others have: {seen}",
        )


@test("REQ-12", "MUST NOT", "an ICMP message ends a mapping")
def icmp_ends_nothing(t: Exam) -> None:
    flow = t.open_udp(t.host("x1"), t.host("y1"))
    icmp_checks.storm(t, flow)
    flow.answer()
    packet = flow.send()
    t.require(
        packet.sender == flow.external,
        f"after {len(icmp_checks.ALL_KINDS)} kinds of ICMP errors the mapping is the same",
        f"it was {show(flow.external)} and is {show(packet.sender)}",
    )


@test("REQ-12a", "SHOULD NOT", "ICMP is filtered by who sent it")
def icmp_from_anywhere(t: Exam) -> None:
    flow = t.open_udp(t.host("x1"), t.host("y1"))
    icmp_checks.error_in(t, flow, by=t.host("y2"), code=1)
    icmp_checks.error_in(t, flow, by=t.host("far"), code=0)


@test("REQ-12b", "RECOMMENDED", "ICMP destination unreachable is translated")
def unreachable(t: Exam) -> None:
    flow = t.open_udp(t.host("x1"), t.host("y1"))
    for code in (0, 1, 3, 13):
        icmp_checks.error_in(t, flow, code=code)


@test(
    "REQ-13",
    "MUST",
    "a packet too long for the next link, with DF set, gets ICMP fragmentation needed",
)
def fragmentation_needed(t: Exam) -> None:
    fragment_checks.too_big_is_told(t)


@test(
    "REQ-13a",
    "MUST",
    "a packet too long for the next link, without DF, is fragmented and sent in order",
)
def fragments_outgoing(t: Exam) -> None:
    pieces = fragment_checks.cut_for_narrow_link(t)
    t.require(len(pieces) > 1, f"{len(pieces)} fragments", "it passed in one piece")
    offsets = [piece.offset for piece in pieces]
    t.require(offsets == sorted(offsets), "in order", f"out of order: {offsets}")


@test("REQ-14", "MUST", "fragments that come in order are let in")
def in_order(t: Exam) -> None:
    fragment_checks.come_in(t, t.open_udp(t.host("x1"), t.host("y1")), (0, 1, 2))


@test(
    "REQ-14 out of order",
    "MUST",
    "fragments out of order are let in, the first fragment (with the ports) last",
)
def out_of_order(t: Exam) -> None:
    flow = t.open_udp(t.host("x1"), t.host("y1"))
    fragment_checks.come_in(t, flow, (2, 1, 0))
    fragment_checks.come_in(t, flow, (1, 0, 2))


@test("REQ-14 outbound", "MUST", "fragments from the inside pass, in order and out of order")
def outbound_fragments(t: Exam) -> None:
    flow = t.open_udp(t.host("x1"), t.host("y1"))
    fragment_checks.go_out(t, flow, (0, 1, 2))
    fragment_checks.go_out(t, flow, (2, 1, 0))


@test(
    "REQ-14a", "MUST", "during a flood of fragments, ordered fragments and whole packets still pass"
)
def fragment_flood(t: Exam) -> None:
    flow = t.open_udp(t.host("n1"), t.host("y1"))
    fragment_checks.flood(t, t.host("y2"), flow.external[0])
    flow.answer()
    fragment_checks.come_in(t, flow, (0, 1, 2))
    flow.send()
