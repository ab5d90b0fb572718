"""A packet that a NAPT drops: it says why, and the wire on the other side has nothing of it.

The NAPT's report describes the packet as `tcp SYN 24.9.3.7:40001 > 203.0.113.77:80`.
"""

from __future__ import annotations

import socket
from collections.abc import Collection

from napt_lab.labs.capture.packets import Packet
from napt_lab.labs.capture.wire import Predicate
from napt_lab.labs.shared_steps.evidence import WAIT
from napt_lab.labs.stage.stage import Stage
from napt_lab.labs.stage.steps import Claim
from napt_lab.topologies.network.namespaces import visit
from napt_lab.topologies.network.processes import DeadlinePassed, Event

INSIDE, OUTSIDE = "napt:lan0", "napt:wan0"


def is_drop(event: Event, *, kind: str = "", source: str = "", destination: str = "") -> bool:
    """Whether an event reports that such a packet was dropped.

    `kind`: as in `tcp SYN` or `udp`. `source` and `destination`: an
    endpoint, or an address with any port. Empty: any.
    """
    if event.name != "drop":
        return False
    head, _, to = str(event.fields["packet"]).rpartition(" > ")
    what, _, from_ = head.rpartition(" ")
    ends = ((from_, source), (to, destination))
    return kind in ("", what) and all(
        wanted in ("", end, end.partition(":")[0]) for end, wanted in ends
    )


def wait_for_drop(stage: Stage, napt: str, since: int, **packet: str) -> Event:
    """The NAPT's report that it dropped a packet, described as for `is_drop`."""
    return stage.wait_for_event(
        napt, "drop", lambda event: is_drop(event, **packet), since=since, deadline=WAIT
    )


def require_drop(
    stage: Stage, claim: Claim, napt: str, reason: str, since: int, **packet: str
) -> Event:
    """The NAPT reports that it dropped a packet, described as for `is_drop`, for this reason."""
    drop = wait_for_drop(stage, napt, since, **packet)
    claim.require(
        drop.fields["reason"] == reason,
        f"{napt} dropped {drop.fields['packet']}: {drop.fields['reason']}",
        f"the reason should be {reason}",
    )
    return drop


def require_dropped(
    stage: Stage,
    claim: Claim,
    here: str,
    is_it: Predicate,
    reasons: Collection[str],
    since: int,
    log_since: int,
) -> Packet:
    """A packet reaches the node `napt` at `here`, is dropped for one of these reasons, and ends.

    The NAPT's word is not enough: the packet must not be seen on the NAPT's other side.
    """
    packet = stage.wire.wait_for(here, is_it, deadline=WAIT, what="the packet", since=since).packet
    claim.require(True, f"{here}: {packet}")
    late: DeadlinePassed | None = None
    try:
        drop = wait_for_drop(
            stage, "napt", log_since, source=packet.from_, destination=packet.to
        ).fields
    except DeadlinePassed as passed:
        late = passed
    beyond = INSIDE if here == OUTSIDE else OUTSIDE

    def is_translated(p: Packet) -> bool:
        same = (p.protocol, p.sequence) == (packet.protocol, packet.sequence)
        return same and (p.from_ == packet.from_ or p.to == packet.to)

    for let_in in stage.wire.packets(beyond, is_translated, since=since):
        claim.require(False, f"{beyond}: {let_in.packet}: it was translated")
    if late is not None:
        raise late
    claim.require(drop["reason"] in reasons, f"napt: {drop['reason']}: {drop['meaning']}")
    return packet


def send_again(stage: Stage, node: str, packet: Packet) -> None:
    """Send from a node a copy of a captured packet, as one that comes late."""

    def send() -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW) as raw:
            raw.sendto(packet.raw, (packet.destination, 0))

    visit(stage.net[node].pid, send)
