"""A story: a NAPT with random settings, and packets that know of each other.

Bytes thrown at random never get past the first check. So most packets are valid, few addresses
and ports are used again and again, what comes out is answered or complained about, and then a
part of all is cut in pieces, changed, or lost. The seed and a story's number give the same story
again.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Iterator
from typing import Any

from napt_lab.nat_node.core.behavior import Behavior, parse_address
from napt_lab.nat_node.core.packet import Side
from napt_lab.nat_node.core.settings import AddressPooling, PortAssignment, Settings
from tests.fuzz import packets
from tests.fuzz.judge import Seen
from tests.fuzz.packets import ACK, DF, FIN, ICMP, MF, PSH, RST, SYN, TCP, UDP, Endpoint
from tests.fuzz.replay import Bench, Step

STEPS = 200

EXTERNAL, ROUTER = parse_address("24.9.3.7"), parse_address("10.0.0.1")
SECOND = parse_address("24.9.3.8")  # of those NAPTs that have two addresses
HOSTS = [parse_address(f"10.0.0.{last}") for last in (7, 8, 9)]
SERVERS = [parse_address(address) for address in ("151.101.1.69", "198.51.100.10")]
ODD = [
    parse_address(address)
    for address in ("10.0.0.255", "10.0.0.0", "192.168.3.3", "127.0.0.1", "224.0.0.1",
                    "255.255.255.255", "0.0.0.0", "169.254.1.1")
]  # fmt: skip
ANY_ADDRESS = [*HOSTS, ROUTER, EXTERNAL, SECOND, *SERVERS] * 3 + ODD
POOL = range(2000, 2006)
PORTS = [*POOL, 53, 80, 40000] * 12 + [0, 1, 65535]
FLAGS = [SYN] * 6 + [ACK] * 5 + [FIN | ACK] * 3 + [SYN | ACK, ACK | PSH, RST, RST | ACK, 0, 0xFF]
OPTIONS = [b"\x94\x04\0\0", b"\x07\x07\x04\0\0\0\0\0", b"\x83\x07\x04\xc0\x00\x02\x01\0"]
KINDS = [(3, code) for code in (0, 1, 3, 3, 4, 4, 13)] * 2 + [
    (11, 0),
    (11, 1),
    (12, 0),
    (4, 0),
    (5, 1),
]
WAITS = [0.1, 0.5, 1.5, 7, 16, 61, 121, 241, 301, 8000]


def random_settings(rng: random.Random) -> Settings:
    """Any behavior, with few ports and low limits."""
    assignment, limit = rng.choice(list(PortAssignment)), rng.choice([0, 0, 0, 2])
    pooling = rng.choice(list(AddressPooling))
    if assignment is PortAssignment.DETERMINISTIC:
        limit, pooling = 1 + rng.randrange(3), AddressPooling.PAIRED
    return Settings(
        EXTERNAL, ROUTER, 0xFFFFFF00,
        mapping=rng.choice(list(Behavior)),
        filtering=rng.choice(list(Behavior)),
        hairpinning=rng.random() < 0.8,
        others=rng.choice([(), (SECOND,)]),
        address_pooling=pooling,
        port_assignment=assignment,
        ports_per_subscriber=limit,
        port_parity=rng.random() < 0.3,
        port_hold=rng.choice([0.0, 0.0, 5.0, 120.0]),
        ports=rng.choice([POOL, POOL, range(1024, 65536), range(1, 4)]),
        refuse_syn=rng.random() < 0.7,
        closing_hold=rng.choice([0.0, 1.0, 240.0]),
        host_limit=rng.choice([3, 1000, 1000]),
        session_limit=rng.choice([6, 1000, 1000]),
    )  # fmt: skip


class Story:
    """The story `number` of a run with `seed`."""

    def __init__(self, seed: int, number: int) -> None:
        self.rng = random.Random(f"{seed}/{number}")
        self.settings = random_settings(self.rng)
        self.with_twin = number % 4 == 0
        self.chance = self.rng.randrange(1 << 32)
        self.bench = Bench(self.settings, self.chance, self.with_twin)
        self.steps: list[Step] = []
        self._sent: deque[bytes] = deque(maxlen=24)
        self._came: deque[bytes] = deque(maxlen=8)
        self._kinds = {
            self._talk: 34, self._answer: 28, self._call_in: 4, self._error: 9, self._anything: 8,
            self._pieces: 5, self._mutated: 10, self._flood_of_pieces: 0.05, self._noise: 1,
            self._wait: 4, self._add: 1.5, self._remove: 0.7, self._kill: 0.4,
        }  # fmt: skip

    def tell(self) -> None:
        """Play it to its end. Raises what the bench raises; `steps` is what has happened."""
        writers, weights = list(self._kinds), list(self._kinds.values())
        while len(self.steps) < STEPS:
            (write,) = self.rng.choices(writers, weights)
            for step in write():
                self.steps.append(step)
                self._sent.extend(self.bench.play(step))
                if step.what == "packet":
                    self._came.append(step.data)
        self.bench.end()

    # -- what may happen ----------------------------------------------------------------------

    def _talk(self) -> Iterator[Step]:
        """An inside host speaks to a server, or to its neighbor by the external address."""
        rng = self.rng
        source = (rng.choice(HOSTS), rng.choice(POOL[:3]))
        to = (rng.choice(SERVERS), rng.choice([53, 80]))
        if rng.random() < 0.1 and (ours := self._external_ends()):
            to = rng.choice(ours)
        yield self._maybe_partial(Side.INSIDE, self._make(source, to))

    def _anything(self) -> Iterator[Step]:
        rng = self.rng
        source, to = [(rng.choice(ANY_ADDRESS), rng.choice(PORTS)) for _ in range(2)]
        yield self._maybe_partial(rng.choice(list(Side)), self._make(source, to))

    def _answer(self) -> Iterator[Step]:
        """What the receiver of a packet would send back, or somebody else at his address."""
        if not self._sent:
            return
        seen = Seen.of(self.rng.choice(self._sent))
        assert seen is not None
        if seen.later or len(seen.body) < 8:
            return
        source, destination = seen.destination, seen.source
        if self.rng.random() < 0.15:
            source = self.rng.choice(ANY_ADDRESS)
        if seen.protocol == ICMP:
            data = packets.echo(source, destination, seen.ports[0], 0, seen.body[8:], **self._ip())
        elif seen.protocol in (TCP, UDP):
            to, own = seen.ports
            if self.rng.random() < 0.1:
                own = self.rng.choice(PORTS)
            opening = seen.protocol == TCP and seen.body[13:14] == b"\x02"
            flags = SYN | ACK if opening and self.rng.random() < 0.9 else None
            data = self._make((source, own), (destination, to), seen.protocol, flags)
        else:
            return
        yield self._maybe_partial(self._side_of(seen), data)

    def _call_in(self) -> Iterator[Step]:
        """A server speaks first, to a port of ours that somebody inside has."""
        rng = self.rng
        ours = self._external_ends() + [external for _, external in self.bench.model.explicit]
        if ours:
            ends = (rng.choice(SERVERS), rng.choice([53, 80])), rng.choice(ours)
            how = rng.choice([(TCP, SYN), (TCP, SYN), (UDP, 0), (None, None)])
            yield self._maybe_partial(Side.OUTSIDE, self._make(*ends, *how))

    def _error(self) -> Iterator[Step]:
        """A complaint about a packet that came out, or (a wrong one) about one that went in."""
        rng = self.rng
        about = rng.choice([*self._sent, *self._came]) if self._sent else b""
        seen = Seen.of(about)
        if seen is None:
            return
        source = rng.choice([seen.destination, ROUTER, *SERVERS, rng.choice(ANY_ADDRESS)])
        to = seen.source if rng.random() < 0.9 else rng.choice(ANY_ADDRESS)
        quote = rng.choice([0, 20, 28, 28, 28, 40, 64, None])
        if rng.random() < 0.1:
            about = self._mutate(about)
        data = packets.error(source, to, *rng.choice(KINDS), about[:quote], **self._ip())
        yield self._packet(self._side_of(seen), data)

    def _pieces(self) -> Iterator[Step]:
        """A packet in pieces, in any order; some come twice, some never."""
        rng = self.rng
        (step,) = rng.choice([self._talk, self._talk, self._anything])()
        seen = Seen.of(step.data)
        if seen is None or len(seen.body) < 40 or seen.fragment & DF or step.partial:
            return
        pieces = packets.fragments(step.data, rng.choice([8, 16, 24]))
        if rng.random() < 0.7:
            rng.shuffle(pieces)
        for piece in pieces:
            for _ in range(rng.choice([1, 1, 1, 1, 2, 0])):
                yield self._packet(step.side, piece)

    def _flood_of_pieces(self) -> Iterator[Step]:
        """Pieces without a first one."""
        source, server = self.rng.choice(HOSTS), self.rng.choice(SERVERS)
        for number in range(70):
            head = packets.header(UDP, source, server, 8, ident=5, fragment=MF | (number + 2))
            yield self._packet(Side.INSIDE, head + bytes(8))

    def _mutated(self) -> Iterator[Step]:
        for step in self.rng.choice([self._talk, self._answer, self._error, self._anything])():
            yield self._packet(step.side, self._mutate(step.data))

    def _noise(self) -> Iterator[Step]:
        side = self.rng.choice(list(Side))
        yield self._packet(side, self.rng.randbytes(self.rng.randrange(80)))

    def _wait(self) -> Iterator[Step]:
        yield Step("wait", seconds=self.rng.choice(WAITS))

    def _add(self) -> Iterator[Step]:
        rng = self.rng
        inside = (rng.choice(HOSTS), rng.choice(POOL[:3]))
        external = (0, rng.choice(PORTS))
        yield Step("add", protocol=rng.choice([TCP, UDP]), external=external, internal=inside)

    def _remove(self) -> Iterator[Step]:
        explicit = list(self.bench.model.explicit)
        if explicit:
            protocol, external = self.rng.choice(explicit)
            yield Step("remove", protocol=protocol, external=external)

    def _kill(self) -> Iterator[Step]:
        yield Step("kill")

    # -- how a packet is made -----------------------------------------------------------------

    def _packet(self, side: Side, data: bytes) -> Step:
        return Step("packet", side, data)

    def _maybe_partial(self, side: Side, data: bytes) -> Step:
        if data[9] not in (TCP, UDP) or self.rng.random() < 0.9:
            return self._packet(side, data)
        return Step("packet", side, packets.with_partial_checksum(data), partial=True)

    def _make(
        self,
        source: Endpoint,
        destination: Endpoint,
        protocol: int | None = None,
        flags: int | None = None,
    ) -> bytes:
        rng, ip = self.rng, self._ip()
        payload = rng.randbytes(rng.choice([0, 0, 5, 40, 41]))
        if protocol is None:
            protocol = rng.choice([TCP, TCP, UDP, UDP, ICMP])
        if protocol == TCP:
            options = rng.choice([b"", b"", b"\x02\x04\x05\xb4"])
            flags = rng.choice(FLAGS) if flags is None else flags
            return packets.tcp(source, destination, flags, payload, options, **ip)
        if protocol == UDP:
            return packets.udp(source, destination, payload, rng.random() < 0.9, **ip)
        kind = rng.choice([8] * 10 + [0, 13])
        return packets.echo(source[0], destination[0], source[1], kind, payload, **ip)

    def _ip(self) -> dict[str, Any]:
        rng = self.rng
        ip: dict[str, Any] = {
            "ident": rng.randrange(4),
            "ttl": rng.choice([63, 63, 1, 255]),
        }
        if rng.random() < 0.2:
            ip["tos"] = rng.randrange(256)
        if rng.random() < 0.3:
            ip["fragment"] = DF
        if rng.random() < 0.03:
            ip["options"] = rng.choice(OPTIONS)
        return ip

    def _mutate(self, data: bytes) -> bytes:
        """Some bytes changed, cut off or added; sometimes the header adds up again."""
        rng, changed = self.rng, bytearray(data)
        for _ in range(rng.randrange(1, 4)):
            if changed:
                changed[rng.randrange(min(len(changed), 48))] = rng.randrange(256)
        if rng.random() < 0.4:
            changed = changed[: rng.randrange(len(changed) + 1)]
        if rng.random() < 0.3:
            changed += rng.randbytes(rng.randrange(5))
        if len(changed) >= 20 and rng.random() < 0.6:
            changed[2:4] = len(changed).to_bytes(2, "big")
            return packets.with_header_checksum(bytes(changed))
        return bytes(changed)

    def _external_ends(self) -> list[Endpoint]:
        """Of ours, as seen in what went out."""
        return [
            (seen.source, seen.ports[0])
            for seen in map(Seen.of, self._sent)
            if seen and seen.source in self.settings.ours and not seen.later
        ]

    def _side_of(self, seen: Seen) -> Side:
        """From where an answer to a packet comes."""
        return Side.INSIDE if self.settings.is_inside(seen.destination) else Side.OUTSIDE
