"""Waiting without falling asleep: on a clock and an epoll that the test has in its hands."""

from __future__ import annotations

import os

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
        self.looks = 0

    def clock(self):
        return self.now

    def poll(self, seconds):
        if seconds == 0:
            self.looks += 1
            assert self.looks < 1000, "it looks without end"
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


def test_after_each_look_in_vain_others_get_the_processor(monkeypatch):
    yielded: list[int] = []
    world = World(0.5 * SHORT, 0.8 * SHORT)
    monkeypatch.setattr(os, "sched_yield", lambda: yielded.append(world.looks))
    waits(world, -1, -1)
    assert yielded == list(range(1, world.looks)), "but for the last look, which found something"
    assert len(yielded) > 5


def test_a_look_is_short_enough_for_many_translators_on_one_processor():
    """Each packet may be followed by one."""
    assert SHORT <= 200e-6


def test_a_gap_that_is_a_little_too_long_is_not_looked_through_again():
    world = World(0.5 * SHORT, 1.8 * SHORT, 3.1 * SHORT)
    waits(world, -1, -1, -1)
    assert [when for when, _ in world.slept] == pytest.approx(
        [0.0, 1.5 * SHORT, 1.8 * SHORT], abs=2 * LOOK
    )


def test_a_deadline_alone_is_no_packet():
    """Even if it comes soon: nothing says that a packet follows."""
    world = World(1.0)
    waits(world, 0.5 * SHORT, -1)
    assert [when for when, _ in world.slept] == [0.0, 0.5 * SHORT]


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
