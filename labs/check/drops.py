"""What the Python translators report of packets that they dropped."""

from __future__ import annotations

from napt_lab.labs.check.ground import Ground
from napt_lab.labs.check.trail import Trail, node_of
from napt_lab.topologies.network.processes import DeadlinePassed, Event

DROP_SECONDS = 5.0  # until a translator has reported a drop


def dropped(ground: Ground, trail: Trail, log_since: int) -> Event | None:
    """The report that this packet was dropped, if one has come."""
    for event in ground.net.log.since(log_since):
        if event.name == "drop" and _is_about(event, trail):
            return event
    return None


def drop_at(ground: Ground, node: str, trail: Trail, log_since: int) -> Event | None:
    """The report of the translator on `node`, if there is one, of a packet that ended there."""
    if ground.net[node].napt is None:
        return None
    try:
        return ground.net.log.wait_for(
            lambda e: (e.node, e.name) == (node, "drop") and _is_about(e, trail),
            deadline=DROP_SECONDS,
            what=f"a drop at {node}",
            since=log_since,
        )
    except DeadlinePassed:
        return None  # the node's kernel stopped it


def _is_about(event: Event, trail: Trail) -> bool:
    """Whether the endpoints are those that the packet had at this node."""
    for captured in trail.seen:
        if node_of(captured) == event.node:
            packet = captured.packet
            ports = packet.source_port is not None
            ends = (packet.from_, packet.to) if ports else (packet.source, packet.destination)
            if str(event.fields["packet"]).endswith("{} > {}".format(*ends)):
                return True
    return False
