"""RFC 6888, carrier-grade NAT: what of it binds any NAPT that several hosts share."""

from __future__ import annotations

from napt_lab.labs.conformance import full_checks, port_checks, udp_checks
from napt_lab.labs.conformance.exam import Exam
from napt_lab.labs.conformance.requirement import AT_ONCE, Chapter, Deviation
from napt_lab.labs.conformance.rfc4787 import STRICT_FILTER
from napt_lab.labs.conformance.violation import NotApplicable
from napt_lab.topologies.spec.napt_settings import Behavior

CHAPTER = Chapter(6888, "carrier-grade NAT")
test, inapplicable = CHAPTER.test, CHAPTER.inapplicable

inapplicable(
    "REQ-1", "MUST", "the requirements for each transport protocol that is translated",
    "they are the rows above; DCCP is not translated",
)  # fmt: skip
inapplicable(
    "REQ-2", "MUST", "paired address pooling by default",
    "there is one external address, so there is no pool to choose from",
)  # fmt: skip
inapplicable(
    "REQ-3", "SHOULD NOT", "limits on the size of the external address pool",
    "there is one external address: this is a home's NAPT",
)  # fmt: skip


@test("REQ-4", "MUST", "the sessions, and by them the ports, of one host are limited")
def host_limit(t: Exam) -> None:
    full_checks.host_limit(t)


@test("REQ-4a", "MUST", "the limit can be set; what is set is what is allowed")
def host_limit_as_set(t: Exam) -> None:
    full_checks.host_limit_as_set(t)


inapplicable(
    "REQ-4b", "MAY", "limits for each protocol separately",
    "allowed, not required: one limit holds for all",
)  # fmt: skip


@test(
    "REQ-4c", "RECOMMENDED", "how fast one host makes new mappings is limited, too",
    Deviation(
        lambda _: True,
        "a host's sessions are limited in number, which bounds what it can cost; a limit of their "
        "rate would make a page of many pictures slow",
        "none: there is no such setting",
    ),
)  # fmt: skip
def host_rate(t: Exam) -> None:
    full_checks.rate_is_limited(t)


inapplicable(
    "REQ-5", "SHOULD", "the memory for one host's state is limited, and so is its growth",
    "here these are the rows of REQ-4: what is limited is sessions, which are the state",
)  # fmt: skip
inapplicable(
    "REQ-6", "MUST", "translation can be switched off for some destinations",
    "addressed to carriers, whose own servers know the way to private addresses; this NAPT's "
    "outside is the Internet, which does not",
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
    "REQ-8", "SHOULD NOT", "a port that is free again is given to another host within 2 minutes",
    Deviation(
        lambda setup: setup.settings.port_hold == 0
        and setup.settings.filtering is Behavior.ENDPOINT_INDEPENDENT,
        "a free port is given at once",
        "port-hold: 2m",
    ),
    when=AT_ONCE,
)  # fmt: skip
def port_hold(t: Exam) -> None:
    full_checks.ports_are_held(t)


@test("REQ-9", "MUST", "hosts can ask for mappings themselves, by PCP (with `port-control: on`)")
def port_control(t: Exam) -> None:
    port_checks.can_be_asked_for(t)


@test("REQ-10", "SHOULD", "the NAPT can be managed: its rules and counts are to be had")
def managed(t: Exam) -> None:
    control = t.napt("main").node.napt
    if control is None:
        raise NotApplicable("this engine has the system's own tools for that")
    stats = control.stats()
    t.observe(f"{stats['rules']} rules, {stats['sessions']} sessions, {stats['drops']} dropped")


@test("REQ-11a", "MUST", "no room for a new mapping: the packet is dropped")
def dropped_when_full(t: Exam) -> None:
    full_checks.refused(t)


@test(
    "REQ-11b", "SHOULD", "and its sender is told, by ICMP host unreachable (3/1)",
    Deviation(
        lambda _: True,
        "RFC 5508, REQ-8, asks for code 13 in the same case, and an error has one code",
        "none: the two RFCs contradict each other",
    ),
)  # fmt: skip
def told_when_full(t: Exam) -> None:
    full_checks.told_with(t, 1)


@test("REQ-11c", "SHOULD", "and whoever manages the NAPT is notified")
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
    "no log is kept; events are told only to whoever asks for them, while they ask",
)  # fmt: skip


@test("REQ-13", "SHOULD", "every port of the pool can be used")
def utilization(t: Exam) -> None:
    full_checks.all_ports_used(t)


inapplicable("REQ-14", "SHOULD", "the scheme of port allocation needs little log", "no log is kept")


@test("REQ-15", "SHOULD", "ports are hard to guess")
def unguessable(t: Exam) -> None:
    port_checks.are_unguessable(t)
