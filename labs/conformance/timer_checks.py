"""Time-outs: whether settings are obeyed is tested in seconds; default values are read.

A test cannot wait for 2 hours. On the *brief* NAPT the time-outs are set to seconds, which shows
what starts them, what refreshes them and that they end a mapping. The defaults are read from the
running *main* NAPT: the Python translator lists each session with its remaining time; the kernel
has its timers in /proc/sys/net/netfilter. The evidence says which of both was done.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from napt_lab.labs.capture.packets import Endpoint
from napt_lab.labs.conformance import icmp_checks
from napt_lab.labs.conformance.conversation import Query
from napt_lab.labs.conformance.exam import Exam, UdpFlow
from napt_lab.labs.conformance.headers import Probe
from napt_lab.labs.conformance.testbed import Host
from napt_lab.labs.conformance.topology import BRIEF
from napt_lab.labs.conformance.violation import NotProbed
from napt_lab.topologies.spec.model import Engine

EVERY = 0.4  # seconds between packets that keep something alive
MARGIN = 0.6  # seconds that are waited longer than a time-out takes
TOO_SLOW = 0.9  # of a time-out: a longer pause between two packets proves nothing
READING = 0.5  # seconds that may lie between two clocks that were read one after the other
UDP, ICMP = BRIEF["udp"], BRIEF["icmp"]


def lifetime(t: Exam, protocol: str, external: Endpoint, kernel_name: str) -> tuple[float, str]:
    """How long a session of the main NAPT may be silent now, in seconds, and how that is known."""
    napt = t.napt("main")
    if napt.node.napt is not None:
        wanted = f"{external[0]}:{external[1]}"
        for rule in napt.node.napt.rules():
            if rule["protocol"] == protocol and rule["external"] == wanted and rule["sessions"]:
                if not any(s["expires_in"] for s in rule["sessions"]):
                    raise NotProbed("its translator does not tell when a rule will end")
                silent = min(s["idle"] + s["expires_in"] for s in rule["sessions"])
                return round(silent, 3), "the running NAPT's list of rules"
        raise NotProbed(f"the NAPT lists no {protocol} rule for {wanted}")
    if t.testbed.setup.engine is Engine.NFTABLES:
        return t.testbed.kernel_timer("main", kernel_name), "the kernel's setting (sysctl)"
    raise NotProbed("this engine does not tell its time-outs")


def lasts_at_least(
    t: Exam, protocol: str, external: Endpoint, kernel_name: str, seconds: float
) -> None:
    """A default is no less than the RFC asks."""
    value, how = lifetime(t, protocol, external, kernel_name)
    t.require(
        value >= seconds - READING,
        f"{value:g} s, read from {how}",
        f"{value:g} s instead of {seconds:g} s or more, read from {how}",
    )


def keep_busy(send: Callable[[], object], seconds: float, limit: float) -> None:
    """Call `send` again and again for so long. NotProbed if there was a pause of `limit`."""
    end = time.monotonic() + seconds
    last = time.monotonic()
    while last < end:
        time.sleep(EVERY)
        send()
        now = time.monotonic()
        if now - last > limit * TOO_SLOW:
            raise NotProbed(f"this machine paused for {now - last:.1f} s between two packets")
        last = now


def udp_pair(t: Exam) -> tuple[UdpFlow, Host, Host]:
    """A session through the brief NAPT, and its ends."""
    inside, outside = t.host("b1"), t.host("y1")
    return t.open_udp(inside, outside), inside, outside


def has_expired(t: Exam, flow: UdpFlow, what: str) -> None:
    """Nothing comes in by it, while it does by a new one."""
    control = t.open_udp(flow.inside, flow.outside)
    died = t.refused(flow.outside, flow.inward(), flow.inside, control.inward())
    t.note(f"{what}: {died}")


def udp_expires(t: Exam) -> None:
    """Open in the middle of its time-out, gone after it."""
    flow, _, _ = udp_pair(t)
    early = t.open_udp(flow.inside, flow.outside)
    sent = time.monotonic()
    time.sleep(UDP / 3)
    control = t.open_udp(flow.inside, flow.outside).inward()
    came = t.let_in(flow.outside, early.inward(), flow.inside, control)
    if time.monotonic() - sent > UDP * TOO_SLOW:
        raise NotProbed("this machine was too slow to try within the time-out")
    t.require(came is not None, f"set to {UDP:g} s, open after {UDP / 3:g} s",
              f"gone after {UDP / 3:g} s, though set to {UDP:g} s")  # fmt: skip
    time.sleep(UDP * 2 / 3 + MARGIN)
    has_expired(t, flow, f"gone after {UDP + MARGIN:g} s")


def udp_outbound_refreshes(t: Exam) -> None:
    """Used by the inside for twice the time-out, the mapping is there still."""
    flow, inside, _ = udp_pair(t)
    before = flow.external
    keep_busy(lambda: inside.send(flow.outward()), 2 * UDP, UDP)
    flow.answer()
    packet = flow.send()
    t.require(packet.sender == before, f"alive after {2 * UDP:g} s of a {UDP:g} s time-out",
              f"another external endpoint after {2 * UDP:g} s")  # fmt: skip


def udp_inbound_refresh(t: Exam) -> None:
    """Sent to from outside only, the mapping is there still."""
    flow, inside, outside = udp_pair(t)
    flow.answer()
    keep_busy(lambda: outside.send(flow.inward()), UDP + MARGIN, UDP)
    control = t.open_udp(inside, outside)
    came = t.let_in(outside, flow.inward(), inside, control.inward())
    t.require(came is not None, f"alive after {UDP + MARGIN:g} s in which only the outside sent",
              f"gone after {UDP + MARGIN:g} s in which only the outside sent")  # fmt: skip


def udp_not_refreshed_by(t: Exam, flow: UdpFlow, send: Callable[[], object], what: str) -> None:
    """While `send` goes on, the session ends after its time-out."""
    keep_busy(send, UDP + MARGIN, UDP)
    has_expired(t, flow, f"gone in spite of {what}")


def query_expires(t: Exam) -> None:
    """A ping's session ends on time, and not before: a reply after half of it passes."""
    early, late = (Query(t, t.host("b1"), t.host("y1")) for _ in range(2))
    late.ask()
    early.ask()
    asked = time.monotonic()
    time.sleep(ICMP / 3)
    reply = early.reply()
    came = t.let_in(early.outside, reply, early.inside, _fresh_reply(t))
    if time.monotonic() - asked > ICMP * TOO_SLOW:
        raise NotProbed("this machine was too slow to try within the time-out")
    t.require(came is not None, f"set to {ICMP:g} s: a reply after {ICMP / 3:g} s passes",
              f"gone after {ICMP / 3:g} s, though set to {ICMP:g} s")  # fmt: skip
    time.sleep(ICMP * 2 / 3 + MARGIN)
    t.refused(late.outside, late.reply(), late.inside, _fresh_reply(t))


def query_not_touched_by_errors(t: Exam) -> None:
    """Errors about a ping: its reply still passes; and they do not make the session last."""
    query = Query(t, t.host("b1"), t.host("y1"))
    query.ask()
    error = icmp_checks.error_about_query(t, query)
    t.passes(query.outside, error, query.inside)
    query.answer()
    t.note("after an error, the reply passes")
    again = icmp_checks.error_about_query(t, query)  # which asks once more, the last time
    keep_busy(lambda: query.outside.send(again), ICMP + MARGIN, ICMP)
    t.refused(query.outside, query.reply(), query.inside, _fresh_reply(t))
    t.note(f"with an error every {EVERY:g} s the session still ends after {ICMP:g} s")


def _fresh_reply(t: Exam) -> Probe:
    query = Query(t, t.host("b1"), t.host("y1"))
    query.ask()
    return query.reply()
