"""RFC 5508, ICMP: queries, errors and their quotations, and the NAPT's own errors."""

from __future__ import annotations

from napt_lab.labs.conformance import (
    fragment_checks,
    full_checks,
    gateway_checks,
    icmp_checks,
    quotation_checks,
    timer_checks,
    udp_checks,
)
from napt_lab.labs.conformance.conversation import Query
from napt_lab.labs.conformance.exam import Exam
from napt_lab.labs.conformance.headers import icmp_error
from napt_lab.labs.conformance.requirement import AT_LAST, AT_ONCE, Chapter, Deviation

CHAPTER = Chapter(5508, "ICMP")
test, inapplicable = CHAPTER.test, CHAPTER.inapplicable


@test("REQ-1", "MUST", "queries from inside pass, and so do their replies")
def queries(t: Exam) -> None:
    icmp_checks.query(t, "x1", "y1")


@test("REQ-1 timestamp", "MUST", "timestamp queries (RFC 1122) pass, and so do their replies")
def timestamps(t: Exam) -> None:
    icmp_checks.timestamp(t, "x1", "y1")


@test("REQ-1a", "SHOULD", "a query's identifier is mapped to the same one towards all hosts")
def identifier_mapping(t: Exam) -> None:
    one = icmp_checks.query(t, "x1", "y1")
    clash = Query(t, t.host("x3"), t.host("y2"), identifier=one.identifier)
    clash.ask()  # another host has the same identifier, and asks the other server first
    two = Query(t, t.host("x1"), t.host("y2"), identifier=one.identifier)
    two.ask()
    two.answer()
    t.require(
        one.external == two.external,
        f"{one.identifier} is {one.external} towards both",
        f"{one.identifier} is {one.external} towards one and {two.external} towards another",
    )


@test("REQ-2", "MUST NOT", "a query's session expires in less than 60 seconds")
def sixty_seconds(t: Exam) -> None:
    query = icmp_checks.query(t, "x1", "y1")
    external = t.napt("main").external, query.external
    timer_checks.lasts_at_least(t, "icmp", external, "icmp", 60)


@test("REQ-2a", "RECOMMENDED", "the time-out of queries can be set", when=AT_ONCE)
def configurable(t: Exam) -> None:
    timer_checks.query_expires(t)


@test("REQ-3", "SHOULD", "an error whose ICMP checksum is wrong is dropped")
def wrong_sum(t: Exam) -> None:
    quotation_checks.bad_sum(t, t.open_udp(t.host("x1"), t.host("y1")))


@test("REQ-3a", "SHOULD", "an error that quotes a header with a wrong checksum is dropped")
def wrong_quoted_sum(t: Exam) -> None:
    quotation_checks.bad_quoted_sum(t, t.open_udp(t.host("x1"), t.host("y1")))


@test("REQ-3b", "MUST", "IP options in the quoted header are skipped")
def quoted_options(t: Exam) -> None:
    quotation_checks.with_options(t, t.open_udp(t.host("x1"), t.host("y1")))


@test("REQ-3c", "SHOULD NOT", "the quoted transport checksum is validated")
def quoted_transport_sum(t: Exam) -> None:
    quotation_checks.bad_quoted_transport_sum(t, t.open_udp(t.host("x1"), t.host("y1")))


@test("REQ-3d", "MUST", "padding and extensions after the quotation are not changed")
def extensions(t: Exam) -> None:
    quotation_checks.with_extension(t, t.open_udp(t.host("x1"), t.host("y1")))


@test("REQ-4", "SHOULD", "an error from outside about an unknown session is dropped")
def unknown_from_outside(t: Exam) -> None:
    quotation_checks.without_mapping(t, t.open_udp(t.host("x1"), t.host("y1")))


@test(
    "REQ-4a", "MUST", "an error from outside: the quotation is translated back (UDP, ICMP, 8 bytes)"
)
def quotation_reverted(t: Exam) -> None:
    flow = t.open_udp(t.host("x1"), t.host("y1"))
    icmp_checks.error_in(t, flow)
    quotation_checks.truncated(t, flow)
    query = icmp_checks.query(t, "x1", "y1")
    packet = t.passes(query.outside, icmp_checks.error_about_query(t, query), query.inside)
    seen = icmp_checks.quoted_identifier(packet)
    t.require(
        seen == query.identifier,
        f"an error about a ping quotes its identifier {query.identifier}",
        f"an error about a ping quotes {seen}, not {query.identifier}",
    )


@test("REQ-4b", "MUST", "an error from outside keeps its type and code")
def type_and_code(t: Exam) -> None:
    flow = t.open_udp(t.host("x1"), t.host("y1"))
    for kind, code, rest in ((3, 1, 0), (3, 4, 1300), (3, 13, 0), (11, 0, 0), (11, 1, 0)):
        icmp_checks.error_in(t, flow, kind=kind, code=code, rest=rest)


@test("REQ-4c", "MUST", "an error from outside goes to the source of the packet that it quotes")
def goes_to_the_source(t: Exam) -> None:
    one = t.open_udp(t.host("x1"), t.host("y1"))
    two = t.open_udp(t.host("x2"), t.host("y1"), port=one.port, remote_port=one.remote_port)
    for flow in (one, two):
        icmp_checks.error_in(t, flow, by=t.host("y2"), code=1)


@test("REQ-5", "SHOULD", "an error from inside about an unknown session is dropped")
def unknown_from_inside(t: Exam) -> None:
    quotation_checks.without_mapping_from_inside(t, t.open_udp(t.host("x1"), t.host("y1")))


@test("REQ-5a", "MUST", "an error from inside: the quotation is translated back")
def quotation_reverted_from_inside(t: Exam) -> None:
    icmp_checks.error_out(t, t.open_udp(t.host("x1"), t.host("y1")))


@test("REQ-5b", "MUST", "an error from inside keeps its type and code")
def type_and_code_from_inside(t: Exam) -> None:
    flow = t.open_udp(t.host("x1"), t.host("y1"))
    for code in (0, 1, 3, 13):
        icmp_checks.error_out(t, flow, code=code)


@test("REQ-5c", "MUST", "an error from a router inside leaves with the NAPT's external address")
def from_a_router_inside(t: Exam) -> None:
    icmp_checks.error_out(t, t.open_udp(t.host("x1"), t.host("y1")), by=t.host("x3"), code=1)


@test(
    "REQ-6",
    "MUST NOT",
    "an error about a query refreshes or ends the query's session",
    when=AT_ONCE,
)
def no_refresh(t: Exam) -> None:
    timer_checks.query_not_touched_by_errors(t)


inapplicable(
    "REQ-7 queries", "MUST", "Basic NAT: hairpinned queries pass",
    "the requirement is for Basic NAT: here an identifier at the external address names "
    "no host inside",
)  # fmt: skip


@test("REQ-7", "MUST", "a hairpinned error passes, and its quotation is translated back twice")
def hairpinned_error(t: Exam) -> None:
    hairpinned(t)


@test("REQ-7a", "MUST", "a hairpinned error goes to the source of the packet that it quotes")
def hairpinned_error_destination(t: Exam) -> None:
    packet, inside = hairpinned(t)
    t.require(packet == inside, f"it goes to {inside}", f"it goes to {packet}, not {inside}")


def hairpinned(t: Exam) -> tuple[str, str]:
    """x2 answers a hairpinned datagram of x1 by an error; where it goes, and where it should."""
    one, two, probe, arrived = udp_checks.hairpin(t, t.host("x1"), t.host("x2"))
    error = icmp_error(two.inside.address, one.external[0], *icmp_checks.about(probe, arrived))
    packet = t.passes(two.inside, error, one.inside)
    icmp_checks.quotes(t, packet, one.internal, two.external, probe)
    t.require(
        packet.source == two.external[0],
        f"it comes from {packet.source}",
        f"it comes from {packet.source}, not {two.external[0]}",
    )
    return packet.receiver[0], one.inside.address


@test(
    "REQ-8",
    "SHOULD",
    "a packet without room for its session is dropped, its sender told (ICMP 3/13)",
)
def told_when_full(t: Exam) -> None:
    full_checks.told_with(t, 13)


inapplicable(
    "REQ-9", "MAY", "a policy may forbid ICMP messages towards some interfaces",
    "allowed, not required: there is no such policy",
)  # fmt: skip


@test("REQ-10a1", "MUST", "destination unreachable: its own (packet too big), and a later router's")
def too_big(t: Exam) -> None:
    fragment_checks.too_big_is_told(t)
    gateway_checks.path_mtu(t)


@test(
    "REQ-10a source",
    "MUST",
    "its own errors have the address of the interface they leave by (RFC 1812)",
)
def source_of_errors(t: Exam) -> None:
    fragment_checks.own_errors_come_from_inside(t)


@test("REQ-10a2", "MUST", "time exceeded: its own, and a later router's")
def time_exceeded(t: Exam) -> None:
    gateway_checks.time_exceeded(t)


@test("REQ-10a3", "MUST", "it answers echo requests to its own addresses")
def answers_pings(t: Exam) -> None:
    gateway_checks.answers_pings(t)


inapplicable(
    "REQ-10b", "MAY", "redirects, time-stamps, address masks, parameter problems, router discovery",
    "allowed, not required: none of them is offered",
)  # fmt: skip


@test("REQ-10b3", "SHOULD NOT", "an outbound ICMP message with a source route is forwarded (7.3)")
def source_route(t: Exam) -> None:
    gateway_checks.no_source_route(t)


@test("REQ-10c", "SHOULD NOT", "source quench and information replies are supported")
def obsolete(t: Exam) -> None:
    gateway_checks.no_information_reply(t)


@test(
    "REQ-10d", "RECOMMENDED",
    "its own errors have the class of service of the packet that they are about",
    Deviation(
        lambda _: True,
        "time exceeded is written by the gateway's kernel, which gives errors the precedence of "
        "network control, as RFC 1812, section 4.3.2.5, asks",
        "none: it is the kernel's (what the translator writes itself has the packet's class)",
        any_engine=True,
    ),
)  # fmt: skip
def class_of_service(t: Exam) -> None:
    gateway_checks.class_is_copied(t)


@test(
    "REQ-10d refusals",
    "RECOMMENDED",
    "refusals of a full NAPT have the class of service of the refused packet",
)
def class_of_refusals(t: Exam) -> None:
    full_checks.refusal_has_class(t)


@test(
    "REQ-10e", "RECOMMENDED", "it sends no errors about errors or about later fragments (RFC 1812)"
)
def silent(t: Exam) -> None:
    gateway_checks.knows_when_to_be_silent(t)


@test("REQ-10f", "RECOMMENDED", "its own errors are limited in rate", when=AT_LAST)
def limited(t: Exam) -> None:
    gateway_checks.errors_are_limited(t)


@test("REQ-11", "MAY", "ICMP that is neither a query nor an error is dropped or handled")
def others(t: Exam) -> None:
    gateway_checks.other_messages_do_not_pass(t)
