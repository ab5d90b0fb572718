"""A packet that a NAPT drops: it says why, and the wire on the other side has nothing of it."""

from __future__ import annotations

import socket
from collections.abc import Collection

from napt_lab.labs.capture.packets import Packet
from napt_lab.labs.capture.wire import Predicate
from napt_lab.labs.shared_steps.evidence import WAIT
from napt_lab.labs.stage.stage import Stage
from napt_lab.labs.stage.steps import Claim
from napt_lab.topologies.network.namespaces import visit
from napt_lab.topologies.network.processes import DeadlinePassed

INSIDE, OUTSIDE = "napt:lan0", "napt:wan0"


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
    ends = f"{packet.from_} > {packet.to}"
    late: DeadlinePassed | None = None
    try:
        drop = stage.wait_for_event(
            "napt", "drop", lambda event: ends in event.fields["packet"], since=log_since
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
