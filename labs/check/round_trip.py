"""`within`: how long a round trip takes, on the prober's own wire.

A round trip begins when the SYN, datagram or echo request leaves the prober's interface, and ends
when the SYN-ACK, datagram or echo reply arrives there; the kernel's time-stamps of both are
compared. What the prober's own program takes does not count. TCP and echo are answered by the
target's kernel, a datagram by the program there.

A busy machine can make a round trip longer, but never shorter. So the shortest of several is taken.
"""

from __future__ import annotations

from collections.abc import Sequence

from napt_lab.labs.capture.packets import ACK, SYN
from napt_lab.labs.capture.wire import Captured
from napt_lab.labs.check.drops import by_chance, lost
from napt_lab.labs.check.outcome import CannotTell, Evidence, Unmet
from napt_lab.labs.check.probes import Prober, Tried
from napt_lab.labs.check.trail import node_of

TRIPS = 5


def require_round_trip(
    prober: Prober, tries: Sequence[Tried], within: float, evidence: Evidence
) -> None:
    """Raises Unmet unless the shortest of the tries' round trips is `within` so many seconds."""
    times = sorted(filter(None, (_seconds(prober, tried) for tried in tries)))
    if not times:
        raise CannotTell(f"no round trip was seen at {prober.source}")
    shortest, longest = (f"{1000 * time:.1f} ms" for time in (times[0], times[-1]))
    seen = f"{len(times)} round trips took {shortest} to {longest} at {prober.source}"
    if times[0] > within:
        ground, log_since = prober.ground, prober.log_since
        losses = (lost(ground, prober.trail(tried.opening), log_since) for tried in tries)
        raise Unmet(
            f"{seen}; expected: one within {1000 * within:g} ms",
            by_chance=any(loss is not None and by_chance(loss) for loss in losses),
        )
    evidence.add(seen)


def _seconds(prober: Prober, tried: Tried) -> float | None:
    """How long one round trip took; None if it was not seen."""
    if not tried.answered:
        return None
    answer_to = None if tried.sequence is None else (tried.sequence + 1) % (1 << 32)

    def belongs(captured: Captured) -> bool:
        packet = captured.packet
        if node_of(captured) != prober.source:
            return False
        if answer_to is None:
            return tried.token in captured.data
        if captured.outgoing:
            return packet.sequence == tried.sequence
        return packet.is_tcp(flags=SYN | ACK) and packet.acknowledgment == answer_to

    seen = prober.ground.wire.everywhere(belongs, since=prober.since)
    left = next((c for c in seen if c.outgoing), None)
    came = next((c for c in seen if not c.outgoing), None)
    return (came.nanoseconds - left.nanoseconds) / 1e9 if left and came else None
