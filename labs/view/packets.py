"""Makes a record of each packet's journey: where it was when, how it was addressed, its bytes.

A record has `hops`: node:interface, milliseconds, 1 if it was sent there (0 if received), and,
where they are new, source and destination. `bytes` are those of its first sighting without the
Ethernet header, in hexadecimal; `edits` say for a hop which bytes differ from the hop before. A
packet with `more` stands for as many others like it, which are not shown.
"""

from __future__ import annotations

from collections.abc import Hashable

from napt_lab.labs.records.stream import Record
from napt_lab.labs.report.journey import Journey
from napt_lab.topologies.network.plan import node_plans
from napt_lab.topologies.spec.model import Topology

ETHERNET, SHOWN = 14, 84  # bytes: the header left out; headers, and the beginning of the data


class Flows:
    """Numbers connections: packets with the same two endpoints at the same interface are one's."""

    def __init__(self) -> None:
        self._numbers: dict[Hashable, int] = {}

    def number(self, journey: Journey) -> int:
        """The number of a packet's connection."""
        protocol = "arp" if journey.packet.arp else journey.packet.protocol
        keys = [
            (seen.where, protocol, frozenset((seen.source, seen.destination)))
            for seen in journey.sightings
        ]
        if journey.packet.quoted is not None:  # an ICMP error belongs to what it is about
            about = journey.packet.quoted
            keys = [(s.where, about.protocol, frozenset((about.from_, about.to)))
                    for s in journey.sightings[:1]]  # fmt: skip
        known = [self._numbers[key] for key in keys if key in self._numbers]
        number = known[0] if known else len(self._numbers) + 1
        for key in keys:
            self._numbers.setdefault(key, number)
        return number


def packet_record(journey: Journey, began: float, flow: int, own: set[tuple[str, str]]) -> Record:
    """The record of one journey in a run that began then; `own` is what own_addresses gives."""
    packet, first = journey.packet, journey.sightings[0]
    kind = "arp" if packet.arp else packet.protocol or "ip"
    record: Record = {
        "kind": "packet",
        "t": _milliseconds(first.nanoseconds, began),
        "name": journey.title,
        "detail": journey.detail,
        "protocol": kind,
        "flow": flow,
        "hops": [],
        "bytes": first.data[ETHERNET : ETHERNET + SHOWN].hex(),
    }
    before = ("", "")
    edits = []
    for number, seen in enumerate(journey.sightings):
        hop: list[str | float] = [
            seen.where, _milliseconds(seen.nanoseconds, began), int(seen.outgoing)
        ]  # fmt: skip
        if (seen.source, seen.destination) != before:
            hop += [seen.source, seen.destination]
        before = seen.source, seen.destination
        record["hops"].append(hop)
        if number and (changed := _changes(journey.sightings[number - 1].data, seen.data)):
            edits.append([number, changed])
    if edits:
        record["edits"] = edits
    last = journey.sightings[-1]
    if journey.dropped is not None:
        record["drop"] = [journey.dropped.reason, journey.dropped.meaning]
    elif not packet.arp and (last.node, packet_address(last.destination)) not in own:
        record["unseen"] = True  # it was not seen to arrive
    return record


def own_addresses(topology: Topology) -> set[tuple[str, str]]:
    """Every node with each of its addresses, for looking whether a packet has arrived."""
    return {
        (plan.name, str(address.ip))
        for plan in node_plans(topology)
        for port in plan.ports
        for address in port.addresses
    }


def packet_address(endpoint: str) -> str:
    """The address of an endpoint such as 10.0.0.7:80 or `10.0.0.7 id 5`."""
    return endpoint.partition(":")[0].partition(" ")[0]


def _milliseconds(nanoseconds: int, began: float) -> float:
    return round(nanoseconds / 1e6 - began * 1000, 3)


def _changes(before: bytes, after: bytes) -> list[tuple[int, str]]:
    """Runs of bytes that are different: (offset behind the Ethernet header, the new ones)."""
    runs: list[tuple[int, bytearray]] = []
    pairs = zip(
        before[ETHERNET : ETHERNET + SHOWN], after[ETHERNET : ETHERNET + SHOWN], strict=False
    )
    for offset, (old, new) in enumerate(pairs):
        if old == new:
            continue
        if runs and runs[-1][0] + len(runs[-1][1]) == offset:
            runs[-1][1].append(new)
        else:
            runs.append((offset, bytearray([new])))
    return [(offset, run.hex()) for offset, run in runs]
