"""What the tests of the translator share: packets built by scapy, and scapy as the judge.

`Nat` is a translator with a clock of its own. Every packet that passes it is judged, whatever
the test is about: all checksums are right if they were when it came; the public side sees no
source but its external addresses, and no private destination; the table agrees with itself.
"""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

from scapy.layers.inet import ICMP, IP, in4_chksum
from scapy.utils import checksum

from napt_lab.nat_node.core import packet as wire
from napt_lab.nat_node.core.behavior import ANY, Behavior, Endpoint, parse_address, parse_endpoint
from napt_lab.nat_node.core.events import Event
from napt_lab.nat_node.core.fragments import ENTRY, ROOM
from napt_lab.nat_node.core.mapping import BY_HAND, Mapping
from napt_lab.nat_node.core.packet import PROTOCOL_NAMES, Side
from napt_lab.nat_node.core.ports import part_of
from napt_lab.nat_node.core.settings import Settings
from napt_lab.nat_node.core.table import Table
from napt_lab.nat_node.core.tcp_state import TcpState
from napt_lab.nat_node.core.translator import Translator
from napt_lab.nat_node.core.verdict import Drop
from napt_lab.nat_node.fast_path.flow_cache import FlowCache
from napt_lab.nat_node.persistence.memory import RECORD, Memory, most_records
from napt_lab.nat_node.persistence.restore import restore
from tests.packets import tcp

INSIDE, OUTSIDE = Side.INSIDE, Side.OUTSIDE
EXTERNAL, ROUTER = "24.9.3.7", "10.0.0.1"
ALICE, BOB = "10.0.0.7", "10.0.0.8"
SERVER, OTHER = "151.101.1.69", "198.51.100.10"

EI = Behavior.ENDPOINT_INDEPENDENT
AD = Behavior.ADDRESS_DEPENDENT
APD = Behavior.ADDRESS_AND_PORT_DEPENDENT
BEHAVIORS = (EI, AD, APD)

MINUTE, HOUR = 60.0, 3600.0


# -- judging ----------------------------------------------------------------------------------


def wrong_checksums(packet: bytes) -> list[str]:
    """The checksums in a packet, and in what it quotes, that scapy does not find right."""
    seen = IP(packet)
    header, body = packet[: seen.ihl * 4], packet[seen.ihl * 4 :]
    wrong = ["ip"] if checksum(header) else []
    if seen.flags.MF or seen.frag or len(packet) != seen.len:
        return wrong  # only a whole packet can be summed up
    if seen.proto == 6 and len(body) >= 20:
        wrong += ["tcp"] if in4_chksum(6, seen, body) else []
    elif seen.proto == 17 and len(body) >= 8:
        none = body[6:8] == b"\0\0"
        odd = int.from_bytes(body[4:6], "big") != len(body)
        wrong += ["udp"] if not none and not odd and in4_chksum(17, seen, body) else []
    elif seen.proto == 1 and len(body) >= 8:
        wrong += ["icmp"] if checksum(body) else []
        if body[0] in (3, 11, 12) and len(body) >= 28:
            wrong += [f"quoted {name}" for name in wrong_checksums(body[8:])]
    return wrong


def show(packet: bytes) -> str:
    """`udp 10.0.0.7:40000 > 151.101.1.69:53`, as scapy reads it."""
    seen = IP(packet)
    if seen.proto not in (6, 17) or seen.frag:
        kind = f"icmp {seen[ICMP].type}" if ICMP in seen else f"protocol {seen.proto}"
        return f"{kind} {seen.src} > {seen.dst}"
    name = "tcp" if seen.proto == 6 else "udp"
    return f"{name} {seen.src}:{seen.sport} > {seen.dst}:{seen.dport}"


def quoted(packet: bytes) -> bytes:
    """What an ICMP error quotes."""
    return packet[(packet[0] & 15) * 4 + 8 :]


def source(packet: bytes) -> str:
    return show(packet).split()[1]


def destination(packet: bytes) -> str:
    return show(packet).split()[3]


def make_room(contents: bytes, count: int) -> memoryview:
    """What the file of a real one gives (state_file.py)."""
    return memoryview(bytearray(contents.ljust(count * RECORD, b"\0")))


def restored(
    settings: Settings, chance: random.Random, records: memoryview, now: float
) -> tuple[Translator, Memory]:
    """A translator with the table that `records` show, and the picture of its table."""
    translator = Translator(settings, chance.randrange)
    places = restore(records, settings, translator.table, now)
    translator.adopt()
    return translator, Memory(translator, records, most_records(settings), make_room, places)


class Nat:
    """A translator between 10.0.0.0/24 and the world, every packet of which is judged."""

    def __init__(self, seed: int = 0, **settings: Any) -> None:
        settings = {
            "external": parse_address(EXTERNAL),
            "internal": parse_address(ROUTER),
            "internal_mask": 0xFFFFFF00,
        } | settings
        self.settings = Settings(**settings)
        self.events: list[Event] = []
        self.chance = random.Random(seed)
        self.now = 1000.0
        self.begin(memoryview(b""))
        self.drop: Drop | None = None

    def begin(self, records: memoryview) -> None:
        """A translator with the table that `records` show."""
        self.translator, self.memory = restored(self.settings, self.chance, records, self.now)
        self.flows = FlowCache(self.translator)
        self.translator.watchers.notify = self.events.append

    def kill(self) -> None:
        """The translator dies, and another one takes its place."""
        self.begin(memoryview(bytearray(self.memory.snapshot())))
        self.check()

    def check(self) -> None:
        """Hold the table, and what watches it, against each other."""
        check_table(self.translator)
        check_flows(self.translator, self.flows)

    def inside(self, packet: bytes) -> list[bytes]:
        """What comes out when this packet comes in from the inside."""
        return self.pass_through(packet, INSIDE)

    def outside(self, packet: bytes) -> list[bytes]:
        """What comes out when this packet comes in from the outside."""
        return self.pass_through(packet, OUTSIDE)

    def out(self, packet: bytes) -> bytes:
        """The one packet that an inside packet becomes."""
        (sent,) = self.inside(packet)
        assert self.drop is None
        return sent

    def pass_through(self, packet: bytes, side: Side, partial: bool = False) -> list[bytes]:
        buffer = bytearray(packet)
        verdict = self.translator.receive(memoryview(buffer), side, self.now, partial)
        self.drop = verdict.drop
        sent = [bytes(piece.data) for piece in verdict.packets]
        for data in sent:
            self._judge(packet, side, data, partial)
        self.check()
        return sent

    def _judge(self, came: bytes, side: Side, left: bytes, partial: bool) -> None:
        if not partial:
            was, is_now = wrong_checksums(came), wrong_checksums(left)
            new = {name for name in is_now if name.removeprefix("quoted ") not in {*was}}
            new -= {*was}
            assert not new, f"{show(came)} became {show(left)} with wrong checksums: {new}"
        seen, settings = IP(left), self.settings
        to = parse_address(seen.dst)
        assert to not in settings.ours, "the kernel would take it for its own"
        if settings.is_inside(to):
            return
        assert parse_address(seen.src) in settings.ours, f"{show(left)} on the public side"
        assert not settings.is_not_routable(to), f"{show(left)} on the public side"

    def wait(self, seconds: float) -> list[bytes]:
        """Let time pass, as the node does: it expires whenever a deadline has come.

        Gives what was sent meanwhile, all of it to the outside.
        """
        until, sent = self.now + seconds, []
        while (deadline := self.translator.next_deadline()) is not None and deadline <= until:
            self.now = max(self.now, deadline)
            for packet in self.translator.expire(self.now):
                assert packet.side is OUTSIDE
                sent.append(bytes(packet.data))
                assert not wrong_checksums(sent[-1])
            self.check()
        self.memory.look(until)
        self.now = until
        return sent

    def add_rule(self, protocol: int, port: int, internal: str) -> Mapping:
        mapping = self.translator.add_rule(protocol, (0, port), parse_endpoint(internal), self.now)
        self.check()
        return mapping

    def remove_rule(self, protocol: int, port: int) -> None:
        self.translator.remove_rule(protocol, (0, port), self.now)
        self.check()

    @property
    def rules(self) -> list[Mapping]:
        return list(self.translator.table)

    @property
    def sessions(self) -> int:
        return self.translator.table.session_count

    def connect(self, client: str, server: str) -> str:
        """An established TCP connection from the inside; returns its external endpoint."""
        external = source(self.out(tcp(client, server, "S")))
        assert self.outside(tcp(server, external, "SA"))
        self.out(tcp(client, server, "A"))
        return external


# -- the table agrees with itself -------------------------------------------------------------


def check_table(translator: Translator) -> None:
    """Both directories agree, no port is given twice, and nothing is counted wrongly."""
    table, settings = translator.table, translator.settings
    mappings = list(table)
    sessions = [session for mapping in mappings for session in mapping.sessions]
    sharing = settings.mapping.looser(settings.filtering)

    _same_ends(table, mappings, sharing, settings.ports)
    assert len(table._outgoing) == len(sessions) <= settings.session_limit
    for session in sessions:
        mapping = session.mapping
        assert table.outgoing(mapping.protocol, mapping.internal, session.remote) is session
        assert table.incoming(mapping.protocol, mapping.external, session.remote) is session
        # A filter looser than the mapping lets TCP connections from others in.
        assert (
            _is_for_anyone(mapping)
            or settings.mapping.project(session.remote) == mapping.remote
            or (mapping.protocol == wire.TCP and settings.filtering is sharing)
        )
        assert (session.state is not None) == (mapping.protocol == wire.TCP)

    hosts = Counter(session.mapping.internal[0] for session in sessions)
    assert translator.sessions.by_host == hosts
    assert all(count <= settings.host_limit for count in hosts.values())
    addresses = Counter((session.mapping.serial, session.remote[0]) for session in sessions)
    assert table._addresses == (addresses if settings.filtering is AD else Counter())
    taken = Counter(
        (m.protocol, m.external[0], part_of(m.external[1]), sharing.project(m.remote))
        for m in mappings
        if m.external[1] in settings.ports
    )
    assert table.ports._taken == taken
    hosts_ports: dict[tuple[int, int], Counter[Endpoint]] = {}
    for m in mappings:
        hosts_ports.setdefault((m.protocol, m.internal[0]), Counter())[m.external] += 1
    assert table.ports._of_host == (hosts_ports if settings.ports_per_subscriber else {})
    shared = table.ports._shared
    if shared is not None:
        rules_on = Counter((m.protocol, m.external) for m in mappings)
        assert all(shared._rules[p, a][port] == n for (p, (a, port)), n in rules_on.items())
        in_pool = Counter(
            (p, a, part_of(port)) for p, (a, port) in rules_on if port in settings.ports
        )
        assert +shared.count == in_pool

    deadlines = translator.sessions.deadlines
    looks = {id(session): when for when, _, session in deadlines._heap}
    for session in sessions:
        assert session.look_again_at is not None
        assert session.look_again_at <= session.deadline, "its end would be overlooked"
        assert id(session) in looks
    assert deadlines._live == len(sessions)
    assert len(deadlines) <= max(64, 2 * len(sessions)) + 1, "stale deadlines pile up"

    opening = (TcpState.OPENING_IN, TcpState.ANSWERED)
    half_open = {session for session in sessions if session.state in opening}
    assert half_open <= translator.sessions.half_open._sessions <= set(sessions)
    by_hand = {m.serial: m for m in mappings if m.explicit and m.made_by == BY_HAND}
    assert translator.explicit.by_hand == by_hand
    room: Counter[int] = Counter()
    for key, entry in translator.fragments._waiting.items():
        sender = key[1] if key[0] is INSIDE else 0
        room[sender] += ENTRY + sum(len(piece.data) for piece in entry.pieces)
    assert translator.fragments._taken == room
    assert room.total() <= ROOM


def check_flows(translator: Translator, flows: FlowCache) -> None:
    """The fast path has flows of living sessions only."""
    living = {session for mapping in translator.table for session in mapping.sessions}
    for side in (flows.inside, flows.outside):
        for flow in (*side.tcp.values(), *side.udp.values()):
            assert flow.session in living, "a flow outlived its session"
    assert flows._kept <= living
    assert flows._slow_packets.keys() <= living


def _is_for_anyone(mapping: Mapping) -> bool:
    """Whether a rule is explicit, or was until its lease ended and connections still use it."""
    return mapping.explicit or mapping.made_by.endswith(" request")


def _same_ends(table: Table, mappings: list[Mapping], sharing: Behavior, ports: range) -> None:
    assert len(table._by_internal) == len(table.ports) == len(mappings)
    holders: dict[tuple[int, Endpoint], list[Mapping]] = {}
    for mapping in mappings:
        inner = (mapping.protocol, mapping.internal, mapping.remote)
        outer = (mapping.protocol, mapping.external, sharing.project(mapping.remote))
        assert table._by_internal[inner] is table.ports._by_external[outer] is mapping
        assert mapping.sessions or mapping.explicit, f"nobody uses {mapping.internal}"
        assert 1 <= mapping.external[1] <= 65535
        assert _is_for_anyone(mapping) or mapping.external[1] in ports
        assert mapping.protocol in PROTOCOL_NAMES
        holders.setdefault((mapping.protocol, mapping.external), []).append(mapping)
    for group in holders.values():
        shared = [sharing.project(mapping.remote) for mapping in group]
        assert len(set(shared)) == len(shared), "one port given twice"
        assert len(group) == 1 or ANY not in shared, "an endpoint-independent rule shares a port"


def assert_empty(translator: Translator) -> None:
    """Nothing is left, not even a counter."""
    table, sessions = translator.table, translator.sessions
    shared = table.ports._shared
    for holder in (
        table._by_internal, table.ports, table._outgoing, table._addresses,
        table.ports._taken, table.ports._of_host, sessions.by_host, sessions.deadlines,
        sessions.half_open,
        sessions.half_open._by_host, translator.fragments, translator.fragments._taken,
        translator.unsolicited, +shared.count if shared is not None else (),
    ):  # fmt: skip
        assert len(holder) == 0, holder
    assert translator.next_deadline() is None
