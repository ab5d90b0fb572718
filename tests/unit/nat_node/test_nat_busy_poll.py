"""Waiting without falling asleep: on a clock and an epoll that the test has in its hands."""

from __future__ import annotations

import pytest

from napt_lab.nat_node.system.busy_poll import SHORT, BusyPoll

PACKET = [(3, 1)]
LOOK = 2e-6  # seconds that one look takes


class World:
    """An epoll for which a packet comes at each of these times."""

    def __init__(self, *arrivals):
        self.now = 0.0
        self.arrivals = list(arrivals)
        self.slept = []  # when, and for how many seconds at most

    def clock(self):
        return self.now

    def poll(self, seconds):
        if seconds == 0:
            self.now += LOOK
        else:
            self.slept.append((self.now, seconds))
            end = self.now + seconds if seconds > 0 else self.arrivals[0]
            self.now = min([end, *self.arrivals[:1]])
        if self.arrivals and self.arrivals[0] <= self.now:
            self.arrivals.pop(0)
            return PACKET
        return []


def waits(world, *seconds):
    """Wait so often; what came of it, and when."""
    poll = BusyPoll(world, world.clock)
    return [(poll.wait(each), world.now) for each in seconds]


def test_where_packets_follow_one_another_it_sleeps_only_once():
    arrivals = [0.4 * SHORT, 0.9 * SHORT, 1.6 * SHORT, 2.5 * SHORT]
    world = World(*arrivals)
    found = waits(world, -1, -1, -1, -1)
    assert [ready for ready, _ in found] == [PACKET] * 4
    assert [when for _, when in found] == pytest.approx(arrivals, abs=LOOK)
    assert world.slept == [(0.0, -1)]


def test_where_packets_come_seldom_it_sleeps_at_once():
    world = World(1.0, 2.0, 3.0)
    waits(world, -1, -1, -1)
    assert world.slept == [(0.0, -1), (1.0, -1), (2.0, -1)]


def test_after_a_short_wait_it_looks_for_a_moment_and_then_sleeps():
    world = World(0.5 * SHORT, 1.0, 2.0)
    waits(world, -1, -1, -1)
    assert world.slept == [
        (0.0, -1),
        (pytest.approx(1.5 * SHORT, abs=2 * LOOK), -1),
        (1.0, -1),  # the last wait was long
    ]


def test_a_deadline_is_kept():
    world = World(0.5 * SHORT)
    assert [ready for ready, _ in waits(world, -1, 5.0)] == [PACKET, []]
    assert world.now == pytest.approx(1.5 * SHORT + 5.0, abs=2 * LOOK)


def test_a_deadline_that_has_passed_lets_nothing_wait():
    world = World(1.0)
    assert waits(world, 0.0) == [([], LOOK)]
