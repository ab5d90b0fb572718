"""RFC 7857, updates: TCP sessions, what refreshes a mapping, port randomization."""

from __future__ import annotations

from napt_lab.labs.capture.packets import ACK, RST
from napt_lab.labs.conformance import (
    fragment_checks,
    icmp_checks,
    port_checks,
    tcp_timer_checks,
    timer_checks,
    udp_checks,
)
from napt_lab.labs.conformance.conversation import open_tcp
from napt_lab.labs.conformance.exam import Exam
from napt_lab.labs.conformance.headers import icmp_error, udp
from napt_lab.labs.conformance.requirement import AT_ONCE, Chapter, Deviation
from napt_lab.labs.conformance.violation import NotApplicable

CHAPTER = Chapter(7857, "updates to the three above")
test, inapplicable = CHAPTER.test, CHAPTER.inapplicable


@test(
    "2",
    "SHOULD",
    "TCP's states are tracked; half-closed lasts as long as established",
    when=AT_ONCE,
)
def half_closed(t: Exam) -> None:
    tcp_timer_checks.half_closed_lasts(t)


@test("2 closed", "SHOULD", "after FINs both ways a mapping is held, then removed", when=AT_ONCE)
def closed(t: Exam) -> None:
    tcp_timer_checks.closed_is_held(t)


@test("2.1", "SHOULD", "opening and closing connections have time-outs of their own", when=AT_ONCE)
def opening(t: Exam) -> None:
    tcp_timer_checks.opening_expires(t)


@test("2.1 default", "RECOMMENDED", "a closed connection is held for 4 minutes or more by default")
def closed_by_default(t: Exam) -> None:
    flow = open_tcp(t, t.host("x1"), t.host("y1"))
    flow.close()
    timer_checks.lasts_at_least(t, "tcp", flow.external, "closing-hold", 240)


@test("2.2", "MUST", "a RST is translated, and does not remove the mapping at once", when=AT_ONCE)
def reset(t: Exam) -> None:
    tcp_timer_checks.reset_passes(t)


@test(
    "2.2 revived", "SHOULD", "data after a RST make the connection established again", when=AT_ONCE
)
def revived(t: Exam) -> None:
    tcp_timer_checks.reset_is_undone(t)


@test("2.2 default", "SHOULD", "by default a connection that was reset is held for 4 minutes")
def reset_by_default(t: Exam) -> None:
    flow = open_tcp(t, t.host("x1"), t.host("y1"))
    flow.back(RST | ACK)
    timer_checks.lasts_at_least(t, "tcp", flow.external, "closing-hold", 240)


inapplicable(
    "3", "MAY", "one external port for several internal endpoints, if their destinations differ",
    "allowed, not required: endpoint-independent mapping excludes it",
)  # fmt: skip
inapplicable(
    "4", "SHOULD", "paired pooling: no second external address when the first has no ports left",
    "there is one external address, so there is no pool to choose from",
)  # fmt: skip


@test("5", "MUST", "a mapping belongs to one protocol: UDP does not use TCP's")
def mapping_by_protocol(t: Exam) -> None:
    port_checks.protocols_are_apart(t)


@test("6", "MUST", "a filter belongs to one protocol: what TCP has opened lets no UDP in")
def filter_by_protocol(t: Exam) -> None:
    port_checks.tcp_admits_no_udp(t)


@test("7", "SHOULD NOT", "packets from outside that are refused refresh a mapping", when=AT_ONCE)
def refused_do_not_refresh(t: Exam) -> None:
    if udp_checks.filtering(t, t.host("b1")) == udp_checks.ENDPOINT_INDEPENDENT:
        raise NotApplicable("the filter is endpoint-independent: to a mapping nothing is refused")
    flow, _, _ = timer_checks.udp_pair(t)
    stranger = t.host("far")
    source = stranger.address, t.port()
    timer_checks.udp_not_refreshed_by(
        t, flow, lambda: stranger.send(udp(source, flow.external)), "a refused packet every 0.4 s"
    )


@test("7 TCP", "SHOULD NOT", "segments that do not belong to a connection refresh it", when=AT_ONCE)
def strays_do_not_refresh(t: Exam) -> None:
    tcp_timer_checks.not_refreshed_by_strays(t)


@test("7.1", "SHOULD NOT", "ICMP errors from the inside refresh a mapping", when=AT_ONCE)
def errors_do_not_refresh(t: Exam) -> None:
    flow, inside, outside = timer_checks.udp_pair(t)
    probe = flow.inward()
    arrived = t.given(outside, probe, inside)
    error = icmp_error(inside.address, outside.address, *icmp_checks.about(probe, arrived))
    t.passes(inside, error, outside)
    timer_checks.udp_not_refreshed_by(
        t, flow, lambda: inside.send(error), "an ICMP error every 0.4 s"
    )


@test(
    "8", "SHOULD", "port parity can be preserved per application",
    Deviation(
        lambda setup: not setup.settings.port_parity,
        "port parity is a setting of the whole NAPT, off by default",
        "port-parity: true",
    ),
)  # fmt: skip
def parity(t: Exam) -> None:
    udp_checks.parity_is_kept(t)


@test("9", "SHOULD", "external ports cannot be guessed from earlier ones (RFC 6056)")
def unguessable(t: Exam) -> None:
    port_checks.are_unguessable(t)


@test("10", "SHOULD", "fragmentable datagrams of two hosts never have the same identification")
def identification(t: Exam) -> None:
    fragment_checks.identifications_differ(t)


inapplicable(
    "11", "MAY", "a query's mapping is deleted with its last session",
    "allowed, not required, and not visible from outside",
)  # fmt: skip
inapplicable(
    "12", "MUST", "hairpinned errors find the mapping by its external endpoint",
    "a clarification: the row of RFC 5508, REQ-7, is the test",
)  # fmt: skip
