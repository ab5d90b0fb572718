"""RFC 6888, carrier-grade NAT: what it asks of a NAPT that several hosts (subscribers) share."""

from __future__ import annotations

from napt_lab.labs.capture.packets import show
from napt_lab.labs.conformance import full_checks, pool_checks, port_checks, udp_checks
from napt_lab.labs.conformance.exam import Exam
from napt_lab.labs.conformance.requirement import AT_ONCE, Chapter, Deviation
from napt_lab.labs.conformance.rfc4787 import STRICT_FILTER
from napt_lab.labs.conformance.violation import NotApplicable
from napt_lab.topologies.spec.napt_settings import Behavior

CHAPTER = Chapter(6888, "carrier-grade NAT")
test, inapplicable = CHAPTER.test, CHAPTER.inapplicable

inapplicable(
    "REQ-1", "MUST", "the RFCs' requirements for each translated transport protocol",
    "those are the rows above; DCCP is not translated",
)  # fmt: skip


@test("REQ-2", "MUST", "paired address pooling by default, whatever the protocol")
def pooling(t: Exam) -> None:
    pool_checks.paired(t)


@test("REQ-3", "SHOULD NOT", "limits on the contiguity of the external address pool")
def contiguity(t: Exam) -> None:
    pool_checks.not_contiguous(t)


@test("REQ-4", "MUST", "the external ports of one host are limited")
def port_limit(t: Exam) -> None:
    pool_checks.port_limit(t)


@test("REQ-4a", "MUST", "the limit can be set, and the NAPT allows what is set")
def port_limit_as_set(t: Exam) -> None:
    pool_checks.port_limit_as_set(t)


@test("REQ-4b", "MAY", "limits for each protocol separately")
def port_limit_of_each_protocol(t: Exam) -> None:
    pool_checks.port_limit_of_each_protocol(t)


@test(
    "REQ-4c", "RECOMMENDED", "the rate at which one host makes new mappings is limited",
    Deviation(
        lambda _: True,
        "the number of a host's sessions is limited, which bounds its cost; a limit of "
        "the rate would slow down a page of many pictures",
        "none: there is no such setting",
    ),
)  # fmt: skip
def host_rate(t: Exam) -> None:
    full_checks.rate_is_limited(t)


@test("REQ-5", "SHOULD", "the memory for one host's state is limited: its sessions")
def host_limit(t: Exam) -> None:
    full_checks.host_limit(t)


@test("REQ-5a", "SHOULD", "the limit can be set, and the NAPT allows what is set")
def host_limit_as_set(t: Exam) -> None:
    full_checks.host_limit_as_set(t)


inapplicable(
    "REQ-6", "MUST", "translation can be switched off for some destinations",
    "for carriers, whose servers have routes to private addresses; the Internet has none",
)  # fmt: skip


@test(
    "REQ-7", "RECOMMENDED", "filtering is endpoint-independent",
    Deviation(
        lambda setup: setup.settings.filtering is not Behavior.ENDPOINT_INDEPENDENT,
        STRICT_FILTER.reason,
        STRICT_FILTER.removed_by,
    ),
)  # fmt: skip
def filtering(t: Exam) -> None:
    seen = udp_checks.filtering(t, t.host("x1"))
    wanted = udp_checks.ENDPOINT_INDEPENDENT
    t.require(seen == wanted, f"filtering is {seen}", f"filtering is {seen}")


@test(
    "REQ-8", "SHOULD NOT",
    "a port is given to another host within 2 minutes after its mapping ended",
    Deviation(
        lambda setup: setup.settings.port_hold == 0
        and setup.settings.filtering is Behavior.ENDPOINT_INDEPENDENT,
        "a free port is given out at once",
        "port-hold: 2m",
    ),
    when=AT_ONCE,
)  # fmt: skip
def port_hold(t: Exam) -> None:
    full_checks.ports_are_held(t)


@test("REQ-9", "MUST", "hosts can ask for mappings themselves, by PCP (with `port-control: on`)")
def port_control(t: Exam) -> None:
    port_checks.can_be_asked_for(t)


@test("REQ-10", "SHOULD", "the NAPT can be managed: it shows its rules and counters")
def managed(t: Exam) -> None:
    control = t.napt("main").node.napt
    if control is None:
        raise NotApplicable("this engine has the system's own tools for that")
    flow = t.open_udp(t.host("x1"), t.host("y1"))
    flow.answer()
    shown = [
        (rule["packets_out"], rule["packets_in"])
        for rule in control.rules()
        if rule["internal"] == show(flow.internal) and rule["external"] == show(flow.external)
    ]
    t.require(
        shown == [(1, 1)],
        f"of {show(flow.internal)} it shows the rule, and a packet each way",
        f"of {show(flow.internal)}, with a packet each way, it shows {shown}",
    )
    stats = control.stats()
    t.note(f"{stats['rules']} rules, {stats['sessions']} sessions, {stats['drops']} dropped")


@test("REQ-11a", "MUST", "a packet without room for its mapping is dropped")
def dropped_when_full(t: Exam) -> None:
    full_checks.refused(t)


@test(
    "REQ-11b", "SHOULD",
    "the sender of a packet without room is told by ICMP host unreachable (3/1)",
    Deviation(
        lambda _: True,
        "RFC 5508, REQ-8, asks for code 13 in this case, and an error has only one code",
        "none: the two RFCs contradict each other",
    ),
)  # fmt: skip
def told_when_full(t: Exam) -> None:
    full_checks.told_with(t, 1)


@test("REQ-11c", "SHOULD", "the NAPT's operator is notified of a packet without room")
def notified_when_full(t: Exam) -> None:
    seen = full_checks.refused(t)
    t.require(
        bool(seen.reason), f"an event tells the reason: {seen.reason}", "no event tells of it"
    )


@test("REQ-11d", "MUST NOT", "an existing mapping is deleted to make room")
def no_eviction(t: Exam) -> None:
    full_checks.none_evicted(t)


inapplicable(
    "REQ-12", "SHOULD NOT", "destinations are logged",
    "no log is kept; events go only to programs that subscribe to them",
)  # fmt: skip


@test("REQ-13", "SHOULD", "every port of the pool can be used")
def utilization(t: Exam) -> None:
    full_checks.all_ports_used(t)


@test("REQ-14", "SHOULD", "the port allocation scheme needs little logging")
def little_logging(t: Exam) -> None:
    pool_checks.computable(t)


@test("REQ-15", "SHOULD", "ports are hard to guess")
def unguessable(t: Exam) -> None:
    port_checks.are_unguessable(t)
