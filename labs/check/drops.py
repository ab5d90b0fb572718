"""What translators report of packets that they dropped, and slow links of those they lost."""

from __future__ import annotations

from collections.abc import Container, Iterable

from napt_lab.labs.capture.packets import Endpoint, show
from napt_lab.labs.capture.wire import Captured
from napt_lab.labs.check.ground import Ground
from napt_lab.labs.check.trail import Trail, node_of
from napt_lab.topologies.links.line import Loss
from napt_lab.topologies.network.processes import DeadlinePassed, Event
from napt_lab.topologies.network.programs import FIREWALL
from napt_lab.topologies.network.slow_links import PROGRAM as LINK

DROP_SECONDS = 5.0  # until a translator has reported a drop
BY_CHANCE = frozenset({Loss.CHANCE.label, Loss.QUEUE_FULL.label, Loss.OVERRUN.label})
"""Why a link loses one packet, but not the next."""


def dropped(ground: Ground, trail: Trail, log_since: int) -> Event | None:
    """The report that a translator or firewall dropped this packet, if one has come."""
    for event in ground.net.log.since(log_since):
        if event.name == "drop" and event.program != LINK and _is_about(event, trail):
            return event
    return None


def lost(ground: Ground, trail: Trail, log_since: int) -> Event | None:
    """The report that a slow link lost this packet or an answer to it, if one has come: the last.

    Its sender may have sent it again; so this says why there is no answer only if there is none.
    """
    for event in reversed(_losses(ground, log_since)):
        if any(names(event, c) or names(event, c, answer=True) for c in trail.seen):
            return event
    return None


def by_chance(event: Event) -> bool:
    """Whether the link that has lost this does not lose all."""
    return event.fields["reason"] in BY_CHANCE and event.fields["meaning"] != Loss.ALWAYS.meaning


def lost_of(ground: Ground, endpoints: Iterable[Endpoint], log_since: int) -> bool:
    """Whether a slow link has by chance lost something to or from one of these endpoints."""
    shown = set(map(show, endpoints))
    losses = filter(by_chance, _losses(ground, log_since))
    return any(shown.intersection(str(event.fields["packet"]).split()) for event in losses)


def lost_frame(ground: Ground, nodes: Container[str | None], log_since: int) -> Event | None:
    """The last report that the slow link of one of these nodes lost no IP packet, but ARP's."""
    for event in reversed(_losses(ground, log_since)):
        if event.node in nodes and " > " not in str(event.fields["packet"]):
            return event
    return None


def _losses(ground: Ground, log_since: int) -> list[Event]:
    events = ground.net.log.since(log_since)
    return [event for event in events if (event.program, event.name) == (LINK, "drop")]


def drop_at(ground: Ground, node: str, trail: Trail, log_since: int) -> Event | None:
    """The report of the translator or firewall on `node` of a packet that ended there."""
    gateway = ground.gateway(node)
    if gateway is None or (gateway.napt is None and gateway.firewall is None):
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
        if node_of(captured) != event.node:
            continue
        if names(event, captured):
            return True
        # A NAPT's firewall sees what comes in with the destination that it has inside.
        source = f" {captured.packet.from_} > "
        if event.program == FIREWALL and source in str(event.fields["packet"]):
            return True
    return False


def names(event: Event, captured: Captured, *, answer: bool = False) -> bool:
    """Whether a report names the endpoints that the packet had where it was captured.

    `answer`: those of a packet that goes back.
    """
    packet = captured.packet
    ports = packet.source_port is not None
    ends = (packet.from_, packet.to) if ports else (packet.source, packet.destination)
    if answer:
        ends = ends[::-1]
    if event.fields.get("echo", packet.rest) != packet.rest:
        return False  # another ping between the same addresses
    return str(event.fields["packet"]).endswith("{} > {}".format(*ends))
