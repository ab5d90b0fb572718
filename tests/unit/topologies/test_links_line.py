"""One direction of a slow link: delay, rate, queue, loss, and a black hole."""

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from napt_lab.topologies.links.line import ETHERNET, Direction, Line, Loss

FRAME = bytes(1250)  # 10,000 bits


def line(**settings):
    return Line(Direction(**settings), Random(7))


def test_a_line_without_settings_delivers_at_once():
    wire = line()
    assert wire.offer(FRAME, 5.0) is None
    assert wire.arrived(5.0) == [FRAME]
    assert wire.next_arrival is None


def test_delay():
    wire = line(delay=0.04)
    wire.offer(FRAME, 1.0)
    assert wire.next_arrival == pytest.approx(1.04)
    assert wire.arrived(1.039) == []
    assert wire.arrived(1.0401) == [FRAME]


def test_rate_spaces_frames_out():
    wire = line(rate=1e6, delay=0.5)  # 10 ms a frame
    for _ in range(3):
        assert wire.offer(FRAME, 0.0) is None
    arrivals = []
    while (at := wire.next_arrival) is not None:
        arrivals += [at] * len(wire.arrived(at))
    assert arrivals == pytest.approx([0.51, 0.52, 0.53])


def test_a_full_queue_loses_the_newest_frame():
    wire = line(rate=1e6, queue=2)
    told = [wire.offer(FRAME, 0.0) for _ in range(5)]
    assert told == [None, None, None, Loss.QUEUE_FULL, Loss.QUEUE_FULL]  # one is being sent
    assert wire.offer(FRAME, 0.0101) is None  # the second is being sent: a place is free


def test_every_tenth_frame_is_lost():
    wire = line(every=10)
    told = [wire.offer(FRAME, 0.0) for _ in range(30)]
    assert [number for number, loss in enumerate(told, 1) if loss] == [10, 20, 30]


def test_loss_by_chance_is_the_share_that_was_asked_for():
    wire = line(loss=0.01)
    lost = sum(wire.offer(FRAME, 0.0) is Loss.CHANCE for _ in range(10_000))
    assert 70 <= lost <= 130  # three standard deviations of 10,000 tries are 30


def test_a_black_hole_swallows_what_is_too_long():
    wire = line(largest=1236)
    assert wire.offer(bytes(ETHERNET + 1236), 0.0) is None
    assert wire.offer(bytes(ETHERNET + 1237), 0.0) is Loss.BLACK_HOLE


@given(
    st.lists(st.floats(0, 0.05), max_size=50),
    st.floats(0, 0.1),
    st.floats(0, 0.1),
    st.sampled_from([0.0, 1e5, 1e7]),
)
def test_frames_arrive_in_order_and_never_before_they_came(gaps, delay, jitter, rate):
    wire = line(delay=delay, jitter=jitter, rate=rate, queue=1000)
    now, came, arrived = 0.0, {}, []
    for number, gap in enumerate(gaps):
        now += gap
        frame = number.to_bytes(60, "big")
        came[frame] = now
        assert wire.offer(frame, now) is None
    while (at := wire.next_arrival) is not None:
        arrived += [(at, frame) for frame in wire.arrived(at)]
    assert [frame for _, frame in arrived] == list(came)
    assert all(at >= came[frame] for at, frame in arrived)
    if not jitter:
        assert all(at >= came[frame] + delay for at, frame in arrived)
