"""The heap of deadlines: every session ends in its time, and what is stale does not pile up."""

import random

import pytest

from napt_lab.nat_node.core.deadlines import Deadlines
from napt_lab.nat_node.core.mapping import Mapping, Session
from tests.packets import tcp, udp
from tests.unit.nat_node.nat_testing import ALICE, MINUTE, SERVER, Nat, source

WEB = f"{SERVER}:80"


def session(serial, now, lifetime):
    mapping = Mapping(serial, 17, (1, 1), (3, 2000), (0, 0), now, "test", False)
    return Session(serial, mapping, (2, 2), now, lifetime)


def ended(deadlines, now):
    serials = []
    for one in deadlines.due(now):
        serials.append(one.serial)
        deadlines.cancel(one)
    return serials


def test_sessions_come_in_the_order_of_their_deadlines():
    deadlines = Deadlines()
    for serial, lifetime in enumerate((30, 10, 20)):
        deadlines.schedule(session(serial, 0.0, lifetime))
    assert deadlines.next() == 10
    assert ended(deadlines, 9.99) == []
    assert ended(deadlines, 25) == [1, 2]
    assert ended(deadlines, 30) == [0]
    assert deadlines.next() is None


def test_use_moves_a_deadline_without_a_word():
    deadlines = Deadlines()
    used = session(1, 0.0, 10)
    deadlines.schedule(used)
    used.last_used = 8.0
    assert ended(deadlines, 10) == []
    assert deadlines.next() == 18
    assert ended(deadlines, 18) == [1]


def test_a_deadline_that_moved_closer_is_met():
    deadlines = Deadlines()
    closing = session(1, 0.0, 7440)
    deadlines.schedule(closing)
    closing.lifetime = 240
    deadlines.schedule(closing)
    assert deadlines.next() == 240
    assert ended(deadlines, 240) == [1]
    assert ended(deadlines, 8000) == []


def test_stale_entries_are_swept_when_they_are_the_majority():
    deadlines = Deadlines()
    closing = [session(serial, 0.0, 7440) for serial in range(100)]
    for one in closing:
        deadlines.schedule(one)
        one.lifetime = 240
        deadlines.schedule(one)
    assert len(deadlines) == 200
    for one in closing[:50]:
        deadlines.cancel(one)
    assert len(deadlines) <= 100
    assert ended(deadlines, 240) == list(range(50, 100))


def test_a_cancelled_session_is_not_looked_at_again():
    deadlines = Deadlines()
    one = session(1, 0.0, 10)
    deadlines.schedule(one)
    deadlines.cancel(one)
    deadlines.cancel(one)
    assert ended(deadlines, 100) == []


def test_random_use_against_a_plain_list():
    """The oracle looks at every session at every moment."""
    chance = random.Random(7)
    deadlines, alive, serial = Deadlines(), {}, 0
    for now in range(3000):
        match chance.randrange(4):
            case 0:
                serial += 1
                alive[serial] = session(serial, float(now), chance.randrange(1, 200))
                deadlines.schedule(alive[serial])
            case 1 if alive:
                chance.choice(list(alive.values())).last_used = float(now)
            case 2 if alive:
                one = chance.choice(list(alive.values()))
                before, one.lifetime = one.lifetime, chance.randrange(1, 200)
                if one.lifetime < before:
                    deadlines.schedule(one)
            case 3 if alive and chance.random() < 0.2:
                deadlines.cancel(alive.pop(chance.choice(list(alive))))
        expected = {key for key, one in alive.items() if one.deadline <= now}
        assert set(ended(deadlines, now)) == expected
        for key in expected:
            del alive[key]
        assert len(deadlines) <= max(64, 2 * len(alive)) + 1


@pytest.mark.parametrize("gap", [0.0, 0.001])
def test_a_connection_that_is_reset_and_revived_for_ever_costs_no_memory(gap):
    """One remote host can send RST, data, RST, data, ...: each RST moves the deadline closer."""
    nat = Nat()
    external = nat.connect(f"{ALICE}:40000", WEB)
    reset, data = tcp(WEB, external, "R"), tcp(WEB, external, "A")
    for _ in range(100):
        nat.outside(reset)
        nat.outside(data)
        nat.now += gap
    assert len(nat.translator.sessions.deadlines) <= 65


def test_sessions_end_each_in_its_own_time():
    nat = Nat(udp_idle=5 * MINUTE)
    for second in range(100):
        nat.out(udp(f"{ALICE}:{1000 + second}", WEB))
        nat.wait(1)
    nat.wait(5 * MINUTE - 100)
    for left in range(99, -1, -1):
        assert len(nat.rules) == left
        nat.wait(1)


def test_nothing_to_wait_for():
    nat = Nat()
    assert nat.translator.next_deadline() is None
    external = source(nat.out(udp(f"{ALICE}:1", WEB)))
    assert nat.translator.next_deadline() == nat.now + 300
    assert external
    nat.wait(300)
    assert nat.translator.next_deadline() is None
