"""One packet, followed from interface to interface.

Theory of operation. All sightings of one packet (labs/capture/identity.py tells how it is
known again), in the order of time, are its journey.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from napt_lab.labs.capture.identity import SAME_SECONDS, endpoints, identity
from napt_lab.labs.capture.packets import ACK, FIN, RST, SYN, Packet, decode_frame, icmp_name
from napt_lab.labs.capture.turn_message import turn_message
from napt_lab.labs.report.capture import Frame
from napt_lab.labs.report.story import Drop
from napt_lab.topologies.network.plan import Port

DROP_SECONDS = 0.5  # between a packet's arrival and the report that it was dropped
_CONTROL = ((SYN, "SYN"), (FIN, "FIN"), (RST, "RST"))


@dataclass(frozen=True, slots=True)
class Sighting:
    """A packet at one interface, with the endpoints that it had there."""

    where: str
    nanoseconds: int
    outgoing: bool
    source: str
    destination: str
    data: bytes  # the frame

    @property
    def node(self) -> str:
        return self.where.partition(":")[0]

    @property
    def interface(self) -> str:
        return self.where.partition(":")[2]


@dataclass(slots=True)
class Journey:
    """One packet on its way."""

    packet: Packet
    sightings: list[Sighting]
    dropped: Drop | None = None
    message: str | None = None  # of TURN, with which it begins

    @property
    def began(self) -> int:
        return self.sightings[0].nanoseconds

    @property
    def title(self) -> str:
        """What kind of packet it is."""
        packet = self.packet
        if self.message is not None:
            return self.message
        if packet.arp is not None:
            return "ARP: who has" if packet.arp == "who-has" else "ARP: here is"
        if packet.icmp is not None:
            name = icmp_name(*packet.icmp).removeprefix("destination ")
            return f"ICMP {name.partition(' (')[0]}"
        if packet.protocol == "tcp":
            names = [name for bit, name in _CONTROL if packet.flags & bit]
            if packet.flags & ACK and not packet.payload:
                names.append("ACK")
            if packet.payload:
                names.append(f"{packet.payload:,} bytes")
            return " ".join(names) or "TCP"
        return f"{(packet.protocol or 'IP').upper()} {packet.payload:,} bytes"

    @property
    def detail(self) -> str:
        """What more there is to say; of TCP, the number that stays the same on the way."""
        packet = self.packet
        if packet.arp is not None:
            return f"{packet.destination}?" if packet.arp == "who-has" else str(packet.source)
        if packet.icmp is not None:
            return icmp_name(*packet.icmp).partition(" (")[2].rstrip(")")
        return f"seq {packet.sequence}" if packet.sequence is not None else ""

    @property
    def changes(self) -> list[tuple[Sighting, bool, bool]]:
        """The first sighting and each with a rewritten source or destination."""
        found = [(self.sightings[0], False, False)]
        for earlier, later in zip(self.sightings, self.sightings[1:], strict=False):
            source = earlier.source != later.source
            destination = earlier.destination != later.destination
            if source or destination:
                found.append((later, source, destination))
        return found


def follow(frames: Iterable[Frame], ports: Mapping[str, Port]) -> list[Journey]:
    """All packets, in the order in which they began; without what a node only overheard."""
    follower = Follower(ports)
    for frame in sorted(frames, key=lambda frame: frame.nanoseconds):
        follower.see(frame)
    return follower.journeys


class Follower:
    """Follows packets whose frames come in the order of time; `journeys` in order of beginning."""

    def __init__(self, ports: Mapping[str, Port]) -> None:
        self.journeys: list[Journey] = []
        self._ports = ports
        self._under_way: dict[Hashable, Journey] = {}

    def see(self, frame: Frame) -> None:
        """Add a frame to its packet's journey."""
        if not frame.outgoing and not _is_for(frame, self._ports[frame.where]):
            return
        packet = decode_frame(frame.data)
        if packet.source is None:
            return  # IPv6 and the like: not what the labs are about
        source, destination = endpoints(packet)
        seen = Sighting(
            frame.where, frame.nanoseconds, frame.outgoing, source, destination, frame.data
        )
        key = identity(packet, self._ports[frame.where].segment)
        journey = self._under_way.get(key)
        if journey is not None and self._goes_on(journey, seen):
            journey.sightings.append(seen)
        else:
            self._under_way[key] = Journey(packet, [seen], message=turn_message(frame.data))
            self.journeys.append(self._under_way[key])

    def _goes_on(self, journey: Journey, seen: Sighting) -> bool:
        last = journey.sightings[-1]
        links = (self._ports[where].link for where in (last.where, seen.where))
        patience = SAME_SECONDS + max(link.longest if link else 0.0 for link in links)
        late = seen.nanoseconds - last.nanoseconds > patience * 1e9
        again = any(
            (earlier.where, earlier.outgoing) == (seen.where, seen.outgoing)
            for earlier in journey.sightings
        )
        return not late and not again

    def take(self, until: int) -> list[Journey]:
        """Take out the journeys that began before then (ns), which are not followed further."""
        taken = [journey for journey in self.journeys if journey.began < until]
        self.journeys = self.journeys[len(taken) :]
        self._under_way = {k: j for k, j in self._under_way.items() if j.began >= until}
        return taken


def _is_for(frame: Frame, port: Port) -> bool:
    """Whether it is addressed to this interface, or to all of them."""
    to = frame.data[:6]
    return bool(to[0] & 1) or to == bytes.fromhex(port.mac.replace(":", ""))


def find_drops(journeys: Sequence[Journey], drops: Sequence[Drop]) -> None:
    """Give each dropped packet its journey: the one that ends there, and then.

    What a link loses has left its last node.
    """
    ending: dict[tuple[str, str], list[Journey]] = {}
    for journey in journeys:
        last = journey.sightings[-1]
        ends = f"{last.source} > {last.destination}"
        ending.setdefault(("" if last.outgoing else last.node, ends), []).append(journey)
    for drop in drops:
        ends = " ".join(drop.packet.split()[-3:])
        for journey in ending.get(("" if drop.by_link else drop.node, ends), []):
            passed = drop.time - journey.sightings[-1].nanoseconds / 1e9
            if journey.dropped is None and abs(passed) < DROP_SECONDS:
                journey.dropped = drop
                break
