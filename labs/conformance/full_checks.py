"""A NAPT that is full, and a host that has had its share.

The *small* NAPT has eight ports. One host takes them all; what becomes of the next one, and of
the eight, is looked at by several requirements, so it is done once. The *narrow* one limits the
sessions of each of its hosts, as far as its engine can.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

from napt_lab.labs.capture.packets import UNREACHABLE, Packet
from napt_lab.labs.conformance.conversation import Query
from napt_lab.labs.conformance.exam import WAIT, Exam, UdpFlow, carries
from napt_lab.labs.conformance.headers import IpFields
from napt_lab.labs.conformance.timer_checks import MARGIN, TOO_SLOW
from napt_lab.labs.conformance.topology import HOST_LIMIT, SMALL_POOL, SMALL_UDP
from napt_lab.labs.conformance.udp_checks import ENDPOINT_INDEPENDENT
from napt_lab.labs.conformance.violation import NotApplicable, NotProbed, Violation
from napt_lab.labs.conformance.wires import await_all

BURST = 100  # new sessions
TELLING = 0.5  # seconds that may pass between a refusal and word of it
EXPEDITED = 0xB8  # a class of service (RFC 3246), to be found again in the refusal


@dataclass(frozen=True, slots=True)
class Full:
    """What happened when the pool was full."""

    ports: tuple[int, ...]  # that the first eight got, or as many of them as got one
    passed: bool  # the ninth
    seen: str  # where the ninth died
    told: Packet | None  # what its sender was told
    alive: tuple[int, ...]  # which of the eight worked afterwards
    last_used: float
    reason: str  # that the NAPT gave, "" for none


def full(t: Exam) -> Full:
    """Fill the pool; once for all who look at it."""
    return t.testbed.once("a full pool", lambda: _fill(t))


def _fill(t: Exam) -> Full:
    one, two, server = t.host("s1"), t.host("s2"), t.host("y1")
    remote_port = t.port()
    flows = []
    for _ in SMALL_POOL:
        flow = UdpFlow(t, one, t.port(), server, remote_port)
        try:
            flow.external = flow.send().sender
        except Violation:
            break  # it is full before all of its ports are in use
        flows.append(flow)
    filled = time.monotonic()
    ninth = UdpFlow(t, two, t.port(), server, remote_port)
    probe = ninth.outward(fields=IpFields(tos=EXPEDITED))
    since, log = t.testbed.wire.mark(), t.testbed.net.log.mark()
    behind = Query(t, two, server).request()
    for each in (probe, behind):
        two.send(each)
    # When the ping that was sent behind it has passed, the ninth has been decided about.
    t.await_at(server.where, carries(behind), since)
    test = carries(probe)
    came = t.testbed.wire.captured(server.where, lambda c: not c.outgoing and test(c), since=since)
    seen = "the ninth passed" if came else t.fate(two, probe, since, log)
    told = t.error_about(two, probe, UNREACHABLE, None, since, wait=TELLING)
    reason = "" if came else t.reason(t.napt("small"), probe, log)
    # From outside: from inside one that is gone would be made again.
    inward = {flow.external[1]: flow.inward() for flow in flows}
    since = t.testbed.wire.mark()
    for each in inward.values():
        server.send(each)
    arrive = [carries(each) for each in inward.values()]
    found = await_all(
        t.testbed.wire,
        one.where,
        lambda c: not c.outgoing and any(test(c) for test in arrive),
        lambda seen: len(seen) >= len(arrive),
        since,
        WAIT,
    )
    alive = [p for p, each in inward.items() if any(carries(each)(c) for c in found)]
    if time.monotonic() - filled > SMALL_UDP * TOO_SLOW:
        raise NotProbed("this machine was too slow: the first eight may have expired")
    for flow in flows:
        one.send(flow.outward())
    return Full(
        tuple(flow.external[1] for flow in flows), bool(came), seen, told, tuple(alive),
        time.monotonic(), reason,
    )  # fmt: skip


def refused(t: Exam) -> Full:
    """The same, where a ninth must have been refused."""
    seen = full(t)
    if seen.passed:
        raise Violation(f"{len(seen.ports)} ports were in use, and {seen.seen}")
    t.observe(f"{len(seen.ports)} ports in use; {seen.seen}")
    return seen


def told_with(t: Exam, code: int) -> None:
    """Its sender gets an ICMP destination unreachable with this code."""
    seen = refused(t)
    if seen.told is None:
        raise Violation("the sender was told nothing")
    got = seen.told.icmp
    t.require(
        got == (UNREACHABLE, code), f"the sender is told: {seen.told}", f"the sender is told {got}"
    )


def none_evicted(t: Exam) -> None:
    """Those that were there before are there still."""
    seen = refused(t)
    lost = set(seen.ports) - set(seen.alive)
    t.require(
        not lost,
        f"all {len(seen.alive)} that were there before work afterwards",
        f"{len(lost)} of {len(seen.ports)} that were there before do not work any more",
    )


def all_ports_used(t: Exam) -> None:
    """Every port of the pool can be had."""
    seen = full(t)
    t.require(
        set(seen.ports) == set(SMALL_POOL),
        f"{len(SMALL_POOL)} sessions got all {len(SMALL_POOL)} ports of the pool",
        f"{len(SMALL_POOL)} sessions got only the ports {sorted(set(seen.ports))}",
    )


def ports_are_held(t: Exam) -> None:
    """When the eight have expired, their ports stay unused for a while."""
    if t.testbed.setup.settings.filtering != ENDPOINT_INDEPENDENT:
        raise NotApplicable("exception c: with a filter that looks at the sender, at once")
    seen = refused(t)
    time.sleep(max(0.0, seen.last_used + SMALL_UDP + MARGIN - time.monotonic()))
    two, server = t.host("s2"), t.host("y1")
    flow = UdpFlow(t, two, t.port(), server, t.port())
    control = Query(t, two, server).request()
    t.refused(two, flow.outward(), server, control)
    t.note(f"{SMALL_UDP + MARGIN:g} s after the last use; the sessions lasted {SMALL_UDP:g} s")


def host_limit(t: Exam) -> None:
    """A host gets no more sessions than its limit, and others still get theirs."""
    allowed, seen = use_up(t, "n2", HOST_LIMIT)
    t.observe(f"session {allowed + 1} of one host is refused: {seen}")
    t.open_udp(t.host("n1"), t.host("y2")).answer()
    t.note("another host opens a new one at the same time")


def host_limit_as_set(t: Exam) -> None:
    """The limit is the one that was set."""
    limit_as_set(t, "n2", HOST_LIMIT)


def limit_as_set(t: Exam, greedy: str, limit: int) -> None:
    """A host can open exactly as many sessions as are set."""
    allowed, _ = use_up(t, greedy, limit)
    t.require(
        allowed == limit,
        f"{limit} were allowed, as set",
        f"{allowed} were allowed, {limit} are set",
    )


def use_up(t: Exam, greedy: str, limit: int) -> tuple[int, str]:
    """How many UDP sessions a host can open, and where the next one dies; tried once for all.

    Violation if it can open twice as many as `limit`.
    """

    def open_all() -> tuple[int, str]:
        host, server = t.host(greedy), t.host("y2")
        for number in range(2 * limit):
            flow = UdpFlow(t, host, t.port(), server, t.port())
            since, log = t.testbed.wire.mark(), t.testbed.net.log.mark()
            probe = flow.outward()
            host.send(probe)
            if t.await_at(server.where, carries(probe), since) is None:
                return number, t.fate(host, probe, since, log)
        raise Violation(f"one host has {2 * limit} UDP sessions, each of a new port, and no end")

    return t.testbed.once(f"all that {greedy} can open", open_all)


def rate_is_limited(t: Exam) -> None:
    """Of many new sessions of one host, which no other row uses, not all leave at once."""
    greedy, server = t.host("b2"), t.host("y2")
    since = t.testbed.wire.mark()
    probes = [UdpFlow(t, greedy, t.port(), server, t.port()).outward() for _ in range(BURST)]
    for probe in probes:
        greedy.send(probe)
    tests = [carries(probe) for probe in probes]
    found = await_all(
        t.testbed.wire,
        server.where,
        lambda c: not c.outgoing and any(test(c) for test in tests),
        lambda seen: len(seen) >= BURST,
        since,
        WAIT,
    )
    t.require(
        0 < len(found) < BURST,
        f"{len(found)} of {BURST} new sessions at once got out",
        f"{len(found)} of {BURST} new sessions at once got out",
    )


def refusal_has_class(t: Exam) -> None:
    """The refusal has the class of service of the refused packet."""
    seen = refused(t)
    if seen.told is None:
        raise Violation("the sender was told nothing")
    t.require(
        seen.told.tos >> 2 == EXPEDITED >> 2,
        f"the refusal has class {EXPEDITED >> 2}, like the refused packet",
        f"the refused packet had class {EXPEDITED >> 2}, the refusal has {seen.told.tos >> 2}",
    )
