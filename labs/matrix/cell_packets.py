"""The packets of each cell, picked from a capture of many by the sockets that sent or got them.

What a host and the public server send to each other is left out: what the server tells and relays
is said in words.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from ipaddress import IPv4Address

from napt_lab.labs.capture.wire import Wire
from napt_lab.labs.matrix.cell import Result, Socket
from napt_lab.labs.matrix.field import SERVER_ADDRESS, Field
from napt_lab.labs.report.capture import Frame
from napt_lab.labs.report.journey import Journey, find_drops, follow
from napt_lab.labs.report.story import Drop
from napt_lab.topologies.network.processes import Event

SERVER = IPv4Address(SERVER_ADDRESS).packed
_SOURCE, _DESTINATION = slice(26, 30), slice(30, 34)  # in an Ethernet frame


def take_in(results: Sequence[Result], field: Field, wire: Wire, events: Sequence[Event]) -> None:
    """Give each result its packets, in the order of time."""
    frames = (
        Frame(c.where, c.nanoseconds, c.outgoing, c.data)
        for c in wire.since(0)
        if SERVER not in (c.data[_SOURCE], c.data[_DESTINATION])
    )
    journeys = follow(frames, field.ports)
    find_drops(journeys, [_drop(event) for event in events if event.name == "drop"])
    owners: dict[Socket, list[Result]] = {}
    for result in sorted(results, key=lambda result: result.began):
        for socket in result.sockets:
            owners.setdefault(socket, []).append(result)
    for journey in journeys:
        owner = next(_owners(journey, owners, field), None)
        if owner is not None:
            owner.journeys.append(journey)


def _owners(
    journey: Journey, owners: Mapping[Socket, Sequence[Result]], field: Field
) -> Iterator[Result]:
    """The results that a packet may belong to: a host uses a port again for another cell."""
    first, last = journey.sightings[0], journey.sightings[-1]
    ends = (first.node, first.source), (last.node, last.destination)
    for socket in (*ends, (first.node, ""), (last.node, "")):
        for result in reversed(owners.get(socket, ())):
            places = field.places(result.cell.a, result.cell.b)
            if result.began * 1e9 <= journey.began and {s.where for s in journey.sightings} <= {
                *places
            }:
                yield result


def _drop(event: Event) -> Drop:
    packet, reason, meaning = (str(event.fields[key]) for key in ("packet", "reason", "meaning"))
    return Drop(event.node, event.time, packet, reason, meaning)
