"""A day in the life of a NAPT, in virtual time: at its end nothing is left, and nothing has grown.

Connections of every kind come at random moments, some end well, some break off, some are never
answered. Each hour is like the others, so what the translator holds at the end of an hour may
be no more in the evening than it was in the morning.
"""

import gc
import random

from napt_lab.nat_node.core.behavior import parse_address
from napt_lab.nat_node.core.packet import Side
from napt_lab.nat_node.core.settings import Settings
from napt_lab.nat_node.core.translator import Translator
from napt_lab.nat_node.fast_path.flow_cache import FlowCache
from napt_lab.nat_node.persistence.memory import FEWEST, FREE, RECORD, Memory, most_records
from tests.fuzz import packets
from tests.fuzz.packets import ACK, FIN, RST, SYN
from tests.unit.nat_node.nat_testing import (
    ALICE,
    EXTERNAL,
    HOUR,
    OTHER,
    ROUTER,
    SERVER,
    assert_empty,
    check_table,
    make_room,
)

A_DAY, MORNING = 24, 4  # hours
CONVERSATIONS = 120  # an hour
IN, OUT = Side.INSIDE, Side.OUTSIDE


class Day:
    """A translator, a clock, and inside hosts that never sleep."""

    def __init__(self):
        settings = Settings(parse_address(EXTERNAL), parse_address(ROUTER), 0xFFFFFF00)
        self.rng = random.Random(24)
        self.translator = Translator(settings, self.rng.randrange)
        self.memory = Memory(
            self.translator, memoryview(b""), most_records(settings), make_room, {}
        )
        FlowCache(self.translator)
        self.habits = [self.connection, self.datagrams, self.pings, self.pieces, self.knock]
        self.now = 0.0
        self.passed = 0

    def hour(self):
        until = self.now + HOUR
        for _ in range(CONVERSATIONS):
            self.wait(self.now + self.rng.expovariate(CONVERSATIONS / HOUR))
            self.rng.choice(
                [self.connection, self.datagrams, self.pings, self.pieces, self.knock]
            )()
        self.wait(until)

    def wait(self, until):
        while (deadline := self.translator.next_deadline()) is not None and deadline <= until:
            self.now = max(self.now, deadline)
            self.translator.expire(self.now)
        self.now = max(self.now, until)

    def send(self, data, side):
        """What comes out first, if anything does."""
        sent = self.translator.receive(bytearray(data), side, self.now).packets
        self.passed += len(sent)
        return bytes(sent[0].data) if sent else b""

    def ends(self):
        rng = self.rng
        host = parse_address(ALICE) + rng.randrange(20)
        server = parse_address(rng.choice([SERVER, OTHER]))
        return (host, rng.randrange(1024, 65536)), (server, rng.choice([53, 80, 443]))

    def connection(self):
        here, there = self.ends()
        sent = self.send(packets.tcp(here, there, SYN), IN)
        ours = (parse_address(EXTERNAL), int.from_bytes(sent[20:22], "big"))
        if self.rng.random() < 0.2:
            return  # nobody answers
        self.send(packets.tcp(there, ours, SYN | ACK), OUT)
        for _ in range(self.rng.randrange(6)):
            self.send(packets.tcp(here, there, ACK, b"ask"), IN)
            self.send(packets.tcp(there, ours, ACK, b"answer"), OUT)
        match self.rng.randrange(4):
            case 0:
                self.send(packets.tcp(here, there, RST), IN)
            case 1:
                self.send(packets.tcp(here, there, FIN | ACK), IN)  # and never an answer
            case 2:
                self.send(packets.tcp(here, there, FIN | ACK), IN)
                self.send(packets.tcp(there, ours, FIN | ACK), OUT)

    def datagrams(self):
        here, there = self.ends()
        for _ in range(self.rng.randrange(1, 4)):
            sent = self.send(packets.udp(here, there, b"?"), IN)
            ours = (parse_address(EXTERNAL), int.from_bytes(sent[20:22], "big"))
            self.send(packets.udp(there, ours, b"!"), OUT)

    def pings(self):
        (host, ident), (server, _) = self.ends()
        self.send(packets.echo(host, server, ident), IN)

    def pieces(self):
        """Of a datagram; often the first one is lost."""
        here, there = self.ends()
        parts = packets.fragments(packets.udp(here, there, bytes(60)), 24)
        for part in parts[self.rng.randrange(2) :]:
            self.send(part, IN)

    def knock(self):
        """Somebody outside tries a port."""
        stranger = (parse_address(OTHER), self.rng.randrange(1024, 65536))
        port = self.rng.randrange(1024, 65536)
        self.send(packets.tcp(stranger, (parse_address(EXTERNAL), port), SYN), OUT)


def test_a_day_leaves_nothing_behind():
    day = Day()
    objects, held = {}, []
    for hour in range(A_DAY):
        day.hour()
        check_table(day.translator)
        held.append(day.translator.table.session_count)
        if hour in (MORNING, A_DAY - 1):
            gc.collect()
            objects[hour] = len(gc.get_objects())
    assert day.passed > A_DAY * CONVERSATIONS
    assert min(held) > 5, "it was idle"
    # Hours differ by chance, but by a few sessions only; a leak would have had 20 hours to grow.
    assert max(held[MORNING:]) < 2 * max(held[:MORNING])
    assert objects[A_DAY - 1] < objects[MORNING] + 1000
    for _ in range(4):
        day.wait(day.now + HOUR)
    check_table(day.translator)
    assert_empty(day.translator)
    records = day.memory.snapshot()
    assert set(records[::RECORD]) == {FREE}
    assert len(records) == FEWEST * RECORD
