"""RFC 5382, TCP: how connections begin and end, filtering, time-outs."""

from __future__ import annotations

from collections.abc import Sequence

from napt_lab.labs.capture.packets import ACK, FIN, PSH, RST, SYN, UNREACHABLE, show
from napt_lab.labs.conformance import (
    icmp_checks,
    tcp_checks,
    tcp_timer_checks,
    timer_checks,
    udp_checks,
)
from napt_lab.labs.conformance.conversation import TcpFlow, open_tcp
from napt_lab.labs.conformance.exam import Exam
from napt_lab.labs.conformance.headers import fresh, icmp_error
from napt_lab.labs.conformance.requirement import AT_ONCE, Chapter, Deviation
from napt_lab.labs.conformance.rfc4787 import STRICT_FILTER
from napt_lab.labs.conformance.violation import NotApplicable

CHAPTER = Chapter(5382, "TCP")
test, inapplicable = CHAPTER.test, CHAPTER.inapplicable


@test("REQ-1", "MUST", "the same external endpoint towards all: endpoint-independent mapping")
def mapping(t: Exam) -> None:
    tcp_checks.mapping_is_endpoint_independent(t)


@test("REQ-2", "MUST", "all valid sequences of segments pass, for connections opened from inside")
def valid_sequences(t: Exam) -> None:
    flow = open_tcp(t, t.host("x1"), t.host("y1"))
    flow.exchange()
    # Half closed: one side is done, the other still sends.
    flow.back(FIN | ACK)
    flow.out(ACK)
    flow.out(PSH | ACK, fresh())
    flow.back(ACK)
    flow.out(FIN | ACK)
    flow.back(ACK)
    t.note("opened, data both ways, half closed, data one way, closed")


@test(
    "REQ-2 closing",
    "MUST",
    "a connection ends by the outside's FIN, by FINs that cross, by a RST from either side",
)
def closing(t: Exam) -> None:
    tcp_checks.closed_from_outside(t)
    tcp_checks.closed_simultaneously(t)
    for resets in (TcpFlow.out, TcpFlow.back):
        flow = open_tcp(t, t.host("x1"), t.host("y1"))
        resets(flow, RST | ACK)


@test(
    "REQ-2 again",
    "MUST",
    "repeated SYNs, SYN-ACKs and FINs pass, and a new SYN of a host that was restarted",
)
def again(t: Exam) -> None:
    tcp_checks.everything_twice(t)
    tcp_checks.restarted(t)


@test(
    "REQ-2 inbound",
    "MUST",
    "all valid sequences pass, for permitted connections opened from outside",
)
def opened_from_outside(t: Exam) -> None:
    external = t.testbed.rule()
    flow = TcpFlow(t, t.host("x1"), t.host("y1"), port=external[1], external=external)
    flow.opened_from_outside()
    flow.exchange()
    flow.close()
    t.note(f"by an explicit rule for {show(external)}")


@test("REQ-2a", "MUST", "simultaneous open: two SYNs cross, then two SYN-ACKs")
def simultaneous_open(t: Exam) -> None:
    tcp_checks.opened_simultaneously(t)


@test(
    "REQ-2a late",
    "MUST",
    "simultaneous open, where the outside's SYN comes before the inside's, and is repeated",
)
def inside_second(t: Exam) -> None:
    tcp_checks.opened_simultaneously_by_the_outside(t)


@test(
    "REQ-3", "RECOMMENDED", "filtering is endpoint-independent, or else address-dependent",
    STRICT_FILTER,
)  # fmt: skip
def filtering(t: Exam) -> None:
    seen = tcp_checks.filtering(t, t.host("x1"))
    t.require(seen != udp_checks.PORT_DEPENDENT, f"filtering is {seen}", f"filtering is {seen}")


@test("REQ-3a", "MAY", "the filtering behavior can be set, and the NAPT does what is set")
def filtering_as_set(t: Exam) -> None:
    t.require_as_set(tcp_checks.filtering(t, t.host("x2")), t.filtering_setting)


inapplicable(
    "REQ-3b", "MAY", "filtering is set for TCP and UDP separately",
    "allowed, not required: one setting holds for both",
)  # fmt: skip


@test(
    "REQ-4", "MUST NOT", "an unsolicited SYN is answered within 6 seconds",
    Deviation(
        lambda setup: (
            setup.settings.refuse_syn and setup.settings.refuse_after < tcp_checks.SILENCE
        ),
        "for level 9f, which shows what that does to a simultaneous open",
        "refuse-after: 6s",
    ),
    when=AT_ONCE,
)  # fmt: skip
def silent_for_six_seconds(t: Exam) -> None:
    seen = tcp_checks.unsolicited(t)
    early = seen.before(tcp_checks.SILENCE)
    t.require(
        not early,
        f"{len(seen.calls)} SYNs, to every port of the pool: silence for {tcp_checks.SILENCE:g} s",
        f"{early[0]}; {len(early)} of {len(seen.calls)} were" if early else "",
    )
    t.note("control: a SYN from inside, sent in the same second, arrived at the caller")


@test(
    "REQ-4 dialed",
    "MUST",
    "an unsolicited SYN is not answered if the inside opens the connection meanwhile",
    when=AT_ONCE,
)
def silent_if_dialed(t: Exam) -> None:
    seen = tcp_checks.unsolicited(t)
    _require_silence(
        t,
        [answer for answer in seen.answers if answer.call == seen.dialed],
        f"{seen.dialed}, which s1 dialed from: silence for {seen.waited:g} s",
    )


@test(
    "REQ-4 dialed late",
    "MUST",
    "nor if the inside opens the connection 3 seconds after it",
    when=AT_ONCE,
)
def silent_if_dialed_late(t: Exam) -> None:
    seen = tcp_checks.unsolicited(t)
    _require_silence(
        t,
        [answer for answer in seen.answers if answer.call == seen.dialed_late],
        f"{seen.dialed_late}, which s2 dialed from {tcp_checks.LATE:g} s later: silence",
    )


@test(
    "REQ-4 then", "SHOULD", "an unsolicited SYN gets an ICMP port unreachable after 6 seconds",
    Deviation(
        lambda setup: not setup.settings.refuse_syn,
        "an unknown caller does not learn that there is a NAPT",
        "refuse-syn: true",
    ),
    when=AT_ONCE,
)  # fmt: skip
def told_after_six_seconds(t: Exam) -> None:
    seen = tcp_checks.unsolicited(t)
    early = seen.before(tcp_checks.SILENCE)
    told = {
        answer.call: answer.seconds
        for answer in seen.answers
        if answer not in early and answer.packet.icmp == (UNREACHABLE, 3)
    }
    missing = set(seen.calls) - set(told) - {seen.dialed, seen.dialed_late}
    t.require(
        not missing,
        f"ICMP 3/3 for all {len(told)} others, after {min(told.values(), default=0):.2f} s or more",
        f"no ICMP 3/3 within {seen.waited:g} s for {len(missing)} of {len(seen.calls) - 1} SYNs",
    )


@test(
    "REQ-4a",
    "MUST",
    "no answer to an unsolicited SYN where the security policy forbids it",
    when=AT_ONCE,
)
def silent_by_policy(t: Exam) -> None:
    if t.testbed.setup.settings.refuse_syn:
        raise NotApplicable("there is no such policy; `refuse-syn: false` is one")
    seen = tcp_checks.unsolicited(t)
    _require_silence(t, seen.answers, f"{len(seen.calls)} SYNs: silence for {seen.waited:g} s")


def _require_silence(t: Exam, answers: Sequence[tcp_checks.Answer], met: str) -> None:
    t.require(not answers, met, str(answers[0]) if answers else "")


@test("REQ-5", "MUST NOT", "an established connection expires in less than 2 h 4 min")
def established(t: Exam) -> None:
    flow = open_tcp(t, t.host("x1"), t.host("y1"))
    timer_checks.lasts_at_least(t, "tcp", flow.external, "tcp", 7440)


@test(
    "REQ-5 transitory",
    "MUST NOT",
    "a connection that is opening or closing expires in less than 4 minutes",
)
def transitory(t: Exam) -> None:
    opening = TcpFlow(t, t.host("x1"), t.host("y1"))
    opening.out(SYN)
    timer_checks.lasts_at_least(t, "tcp", opening.external, "tcp-transitory", 240)


@test("REQ-5a", "MAY", "the time-outs can be set", when=AT_ONCE)
def configurable(t: Exam) -> None:
    tcp_timer_checks.established_expires(t)


@test("REQ-6", "RECOMMENDED", "no application-level gateway changes what TCP carries")
def no_alg(t: Exam) -> None:
    flow = open_tcp(t, t.host("x1"), t.host("y1"), remote_port=5060)
    own = flow.inside.address
    data = f"INVITE sip:y@example.org SIP/2.0\r\nVia: SIP/2.0/TCP {own}:5060\r\n\r\n".encode()
    packet = flow.out(PSH | ACK, data)
    t.require(packet.data == data, "SIP with our private address: unchanged", "SIP was changed")


@test("REQ-7", "MUST NOT", "one external port for two internal endpoints (port overloading)")
def overloading(t: Exam) -> None:
    port, remote_port = t.port(), t.port()
    one = open_tcp(t, t.host("x1"), t.host("y1"), port=port, remote_port=remote_port)
    two = open_tcp(t, t.host("x2"), t.host("y1"), port=port, remote_port=remote_port)
    t.require(
        one.external != two.external,
        "two hosts, one internal port, one remote endpoint: two external ports",
        f"both hosts are {show(one.external)}",
    )
    one.exchange()
    two.exchange()


@test("REQ-8", "MUST", "inside hosts connect to each other by an external endpoint (hairpinning)")
def hairpinning(t: Exam) -> None:
    tcp_checks.hairpin(t, t.host("x1"), t.host("x2"))


@test(
    "REQ-8 rule",
    "MUST",
    "inside hosts connect to each other by an explicit rule's external endpoint",
)
def hairpinning_to_rule(t: Exam) -> None:
    tcp_checks.hairpin_to_rule(t, t.host("x2"), t.host("x1"))


@test("REQ-8a", "MUST", "a hairpinned connection comes from its sender's external endpoint")
def hairpin_source(t: Exam) -> None:
    external, arrived = tcp_checks.hairpin(t, t.host("x1"), t.host("x2"))
    t.require(
        arrived.sender == external,
        f"it comes from {show(external)}",
        f"it comes from {show(arrived.sender)}, not {show(external)}",
    )


@test("REQ-9", "SHOULD", "ICMP destination unreachable about segments is translated")
def unreachable(t: Exam) -> None:
    for code, rest in ((0, 0), (1, 0), (3, 0), (4, 1300), (13, 0)):
        icmp_checks.error_about_syn(t, code, rest)


@test("REQ-10", "MUST NOT", "an ICMP message ends a mapping or a connection")
def icmp_ends_nothing(t: Exam) -> None:
    flow = open_tcp(t, t.host("x1"), t.host("y1"))
    arrived = flow.out(PSH | ACK, fresh())
    for kind, code, rest in icmp_checks.ALL_KINDS:
        flow.outside.send(
            icmp_error(
                flow.outside.address, flow.external[0], arrived.raw, b"", kind=kind, code=code,
                rest=rest,
            )
        )  # fmt: skip
    flow.exchange()
    t.note(f"after {len(icmp_checks.ALL_KINDS)} kinds of ICMP errors, data both ways")
