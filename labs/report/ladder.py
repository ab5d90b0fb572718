"""Journeys of packets, gathered into connections, and a choice of them for a page.

Theory of operation. Journeys that have the same two endpoints at the same interface belong to
one flow: a TCP connection, from end to end, whatever addresses it has in between. A proxy's two
connections remain two.

A page has room for some rows only. Flows with TURN's messages come first, then those of a kind
that is not shown yet; the rest is only counted.
"""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address

from napt_lab.labs.capture.packets import ECHO, ECHO_REPLY, RST
from napt_lab.labs.report.capture import Window
from napt_lab.labs.report.journey import Journey, find_drops, follow
from napt_lab.labs.report.story import Drop
from napt_lab.topologies.network.plan import Port

ROWS = 36  # of a ladder
ROWS_OF_A_FLOW = 10
GUARD = 5_000_000  # ns: a journey that close to a gap may be missing a part


@dataclass(slots=True)
class Flow:
    """A connection, or what else belongs together. `folded` packets are not shown."""

    journeys: list[Journey]
    folded: int = 0
    folded_bytes: int = 0

    @property
    def title(self) -> str:
        first = self.journeys[0]
        packet, start = first.packet, first.sightings[0]
        if packet.arp is not None:
            return f"An ARP request without an answer, from {packet.source}"
        kind = {"tcp": "TCP connection", "icmp": "Ping"}.get(packet.protocol or "", "Packets")
        if packet.icmp is not None and packet.icmp[0] not in (ECHO, ECHO_REPLY):
            kind = "ICMP"
        elif packet.protocol == "udp":
            kind = "UDP"
        return f"{kind}: {start.source} → {start.destination}"

    @property
    def remark(self) -> str:
        """What is not shown of it."""
        if not self.folded:
            return ""
        packets = "1 more packet" if self.folded == 1 else f"{self.folded:,} more packets"
        data = f" with {self.folded_bytes:,} bytes of data" if self.folded_bytes else ""
        return f"… and {packets}{data}"

    @property
    def outcome(self) -> str:
        """How it went, in a word or two."""
        drops = [journey.dropped for journey in self.journeys if journey.dropped]
        if drops:
            by = (
                f"lost by the link of {drops[0].node}"
                if drops[0].by_link
                else (f"dropped by {drops[0].node}")
            )
            return f"{by}: {drops[0].reason}"
        packets = [journey.packet for journey in self.journeys]
        if any(packet.flags & RST for packet in packets):
            return "reset"
        if any(packet.quoted is not None for packet in packets):
            return "refused by ICMP"
        return ""

    @property
    def shape(self) -> Hashable:
        """Flows of the same shape tell the same story."""
        path = tuple(sighting.node for sighting in self.journeys[0].sightings)
        to = self.journeys[0].sightings[0].destination.partition(" ")[0]
        return path, to, self.outcome, self.journeys[0].packet.protocol


@dataclass(slots=True)
class Ladder:
    """The flows of a step that are shown, and how many are not."""

    flows: list[Flow]
    flows_left_out: int = 0
    packets_left_out: int = 0  # of those that were looked at, each counted once
    frames: int = 0  # captured in this step, at all interfaces together
    cut: bool = False  # not all of it was looked at


def make_ladder(window: Window, ports: Mapping[str, Port], drops: Sequence[Drop] = ()) -> Ladder:
    """The ladder of a step. `ports`: each `node:interface` of its network."""
    journeys = follow(window.frames, ports)
    if window.gap is not None:
        journeys = [journey for journey in journeys if not _touches(journey, window.gap)]
    find_drops(journeys, drops)
    flows = [flow for flow in _flows(journeys, window) if not _is_small_talk(flow)]
    for flow in flows:
        extra = [journey for journey in flow.journeys[ROWS_OF_A_FLOW:] if not journey.message]
        flow.folded += len(extra)
        flow.folded_bytes += sum(journey.packet.payload for journey in extra)
        flow.journeys[ROWS_OF_A_FLOW:] = [j for j in flow.journeys[ROWS_OF_A_FLOW:] if j.message]
    shown, rest = _choose(flows)
    return Ladder(
        shown,
        flows_left_out=len(rest),
        packets_left_out=sum(len(flow.journeys) + flow.folded for flow in rest),
        frames=window.total,
        cut=window.gap is not None,
    )


def _flows(journeys: Sequence[Journey], window: Window) -> list[Flow]:
    """Union-find over (interface, protocol, the two endpoints)."""
    parents: dict[Hashable, Hashable] = {}

    def root(key: Hashable) -> Hashable:
        parents.setdefault(key, key)
        while parents[key] != key:
            parents[key] = key = parents[parents[key]]
        return key

    for journey in journeys:
        keys = _flow_keys(journey)
        for key in keys[1:]:
            parents[root(key)] = root(keys[0])
    gathered: dict[Hashable, Flow] = {}
    for journey in journeys:
        flow = gathered.setdefault(root(_flow_keys(journey)[0]), Flow([]))
        flow.journeys.append(journey)
    for flow in gathered.values():
        _count_folded(flow, window)
    return list(gathered.values())


def _flow_keys(journey: Journey) -> list[Hashable]:
    packet = journey.packet
    if packet.arp is not None:
        asked = packet.destination if packet.arp == "who-has" else packet.source
        return [(s.where, "arp", asked) for s in journey.sightings]
    if packet.quoted is not None:  # an ICMP error belongs to the flow that it is about
        ends = frozenset((packet.quoted.from_, packet.quoted.to))
        return [(s.where, packet.quoted.protocol, ends) for s in journey.sightings[:1]]
    return [
        (s.where, packet.protocol, frozenset((s.source, s.destination))) for s in journey.sightings
    ]


def _count_folded(flow: Flow, window: Window) -> None:
    """What was only counted at the place where the flow began, both ways."""
    start = flow.journeys[0].sightings[0]
    packet = flow.journeys[0].packet
    if packet.source is None or packet.destination is None or packet.source_port is None:
        return
    near = IPv4Address(packet.source).packed, IPv4Address(packet.destination).packed
    ports = struct.pack("!H", packet.source_port), struct.pack("!H", packet.destination_port)
    for there, back in ((0, 1), (1, 0)):
        ends = near[there] + near[back] + ports[there] + ports[back]
        packets, data = window.folded(start.where, ends)
        flow.folded += packets
        flow.folded_bytes += data


def _is_small_talk(flow: Flow) -> bool:
    """ARP that was answered, or may have been answered on a wire that was not captured."""
    first = flow.journeys[0]
    if first.packet.arp is None:
        return False
    answered = any(journey.packet.arp == "is-at" for journey in flow.journeys)
    return answered or not first.sightings[0].outgoing


def _choose(flows: list[Flow]) -> tuple[list[Flow], list[Flow]]:
    """Flows to show, and the others, both in order of time."""
    alike: Counter[Hashable] = Counter()
    ranked = []
    for number, flow in enumerate(flows):
        is_told = any(journey.message for journey in flow.journeys)
        ranked.append((-1 if is_told else alike[flow.shape], number, flow))
        alike[flow.shape] += 1
    room = ROWS
    shown: list[tuple[int, Flow]] = []
    rest: list[tuple[int, Flow]] = []

    for _, number, flow in sorted(ranked, key=lambda entry: entry[:2]):
        room -= len(flow.journeys) + 1
        (shown if room >= 0 else rest).append((number, flow))
    return [flow for _, flow in sorted(shown)], [flow for _, flow in sorted(rest)]


def _touches(journey: Journey, gap: tuple[int, int]) -> bool:
    first, last = gap
    return any(first - GUARD < s.nanoseconds < last + GUARD for s in journey.sightings)
