"""Time-outs of TCP, on the *brief* NAPT: which state of a connection lasts how long.

An established connection has the longest time, then one that opens, then one that is closed, so
that none can be taken for another.
"""

from __future__ import annotations

import time

from napt_lab.labs.capture.packets import ACK, FIN, PSH, RST, SYN
from napt_lab.labs.conformance.conversation import TcpFlow, open_tcp
from napt_lab.labs.conformance.exam import Exam
from napt_lab.labs.conformance.headers import Probe, fresh, tcp
from napt_lab.labs.conformance.timer_checks import EVERY, MARGIN, TOO_SLOW, keep_busy
from napt_lab.labs.conformance.topology import BRIEF, BRIEF_HOLD
from napt_lab.labs.conformance.violation import NotProbed

ESTABLISHED, OPENING, CLOSED = BRIEF["tcp"], BRIEF["tcp-transitory"], BRIEF_HOLD


def connection(t: Exam) -> TcpFlow:
    """An established one through the brief NAPT."""
    return open_tcp(t, t.host("b1"), t.host("y1"))


def gone(t: Exam, flow: TcpFlow, probe: Probe, what: str) -> None:
    """A segment from outside does not come in any more, while one of another connection does."""
    control = connection(t)
    t.refused(flow.outside, probe, flow.inside, control.inward(PSH | ACK, fresh()))
    t.note(what)


class Clock:
    """How long ago something was; a machine that is too slow to keep to it proves nothing."""

    def __init__(self) -> None:
        self._begin = time.monotonic()

    def wait_until(self, seconds: float, before: float | None = None) -> None:
        """Wait until so many seconds are over; NotProbed if `before` seconds are already."""
        time.sleep(max(0.0, self._begin + seconds - time.monotonic()))
        if before is not None:
            self.still_before(before)

    def still_before(self, before: float) -> None:
        """NotProbed if it is too late."""
        late = time.monotonic() - self._begin
        if late > before * TOO_SLOW:
            raise NotProbed(f"this machine was too slow: {late:.1f} s of {before:g} s were over")


def established_expires(t: Exam) -> None:
    """An established connection outlives the time of an opening one, and its own not."""
    flow = connection(t)
    clock = Clock()
    other = connection(t)
    clock.wait_until(OPENING + MARGIN, before=ESTABLISHED)
    other.back(PSH | ACK, fresh())
    clock.still_before(ESTABLISHED)
    t.note(f"established: alive after {OPENING + MARGIN:g} s of silence, {ESTABLISHED:g} s are set")
    clock.wait_until(ESTABLISHED + MARGIN)
    gone(t, flow, flow.inward(PSH | ACK, fresh()), f"gone after {ESTABLISHED + MARGIN:g} s")


def opening_expires(t: Exam) -> None:
    """The mapping of a SYN without an answer lasts as long as is set, and no longer."""
    flow, early = (TcpFlow(t, t.host("b1"), t.host("y1")) for _ in range(2))
    flow.out(SYN)
    clock = Clock()
    early.out(SYN)
    clock.wait_until(CLOSED + MARGIN, before=OPENING)
    early.back(SYN | ACK)
    clock.still_before(OPENING)
    t.note(f"opening: a SYN-ACK passes after {CLOSED + MARGIN:g} s, {OPENING:g} s are set")
    clock.wait_until(OPENING + MARGIN)
    gone(t, flow, flow.inward(SYN | ACK), f"gone after {OPENING + MARGIN:g} s")


def half_closed_lasts(t: Exam) -> None:
    """One FIN is not the end: the other side may go on for as long as an established connection."""
    flow = connection(t)
    flow.out(FIN | ACK)
    clock = Clock()
    clock.wait_until(OPENING + MARGIN, before=ESTABLISHED)
    flow.back(PSH | ACK, fresh())
    clock.still_before(ESTABLISHED)
    t.note(f"half closed: data pass after {OPENING + MARGIN:g} s")


def closed_is_held(t: Exam) -> None:
    """FIN both ways: the last ACK, and a repeated FIN, pass; after the hold nothing does."""
    flow = connection(t)
    flow.out(FIN | ACK)
    repeated = flow.inward(FIN | ACK)
    flow.back(FIN | ACK)
    clock = Clock()
    flow.out(ACK)
    t.passes(flow.outside, repeated, flow.inside)
    clock.still_before(CLOSED)
    t.note("closed: the last ACK and a repeated FIN pass")
    time.sleep(CLOSED + MARGIN)
    gone(t, flow, flow.inward(ACK), f"gone after {CLOSED:g} s more")


def reset_passes(t: Exam) -> None:
    """A RST is translated, and the connection held: it may have been forged, or be refused."""
    flow = connection(t)
    flow.back(RST | ACK)
    clock = Clock()
    flow.out(PSH | ACK, fresh())
    flow.back(PSH | ACK, fresh())
    clock.still_before(CLOSED)
    t.note("a RST from outside is translated, and data still pass both ways after it")


def reset_is_undone(t: Exam) -> None:
    """Data after a RST bring the connection back; one that is left alone goes after the hold."""
    flow, stale = connection(t), connection(t)
    stale.back(RST | ACK)
    flow.back(RST | ACK)
    clock = Clock()
    flow.exchange()
    clock.still_before(CLOSED)
    clock.wait_until(CLOSED + MARGIN, before=OPENING)
    flow.back(PSH | ACK, fresh())
    t.note(f"data after the RST: it lives on after {CLOSED + MARGIN:g} s, {CLOSED:g} s are set")
    gone(t, stale, stale.inward(PSH | ACK, fresh()), "one that was left alone is gone")


def not_refreshed_by_strays(t: Exam) -> None:
    """Segments from elsewhere to a connection's external endpoint do not make it last."""
    flow = connection(t)
    stranger = t.host("far")
    source = stranger.address, t.port()
    since = t.testbed.wire.mark()
    stray = tcp(source, flow.external, PSH | ACK, 1 + t.port(), 1, fresh())
    keep_busy(lambda: stranger.send(stray), ESTABLISHED + MARGIN, ESTABLISHED)
    t.fate(stranger, stray, since, t.testbed.net.log.mark())  # they did reach the NAPT
    what = f"gone after {ESTABLISHED + MARGIN:g} s, with a stray segment every {EVERY:g} s"
    gone(t, flow, flow.inward(PSH | ACK, fresh()), what)
