"""What the report draws: packets followed and gathered into connections, a capture read back."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest

from napt_lab.labs.report import capture, ladder_drawing
from napt_lab.labs.report.capture import Window, pick
from napt_lab.labs.report.journey import follow
from napt_lab.labs.report.ladder import ROWS, make_ladder
from napt_lab.labs.report.ladder_drawing import draw_flow, hops
from napt_lab.labs.report.page import places_in_order
from napt_lab.labs.report.story import Drop
from napt_lab.topologies.spec.link import Link
from napt_lab.topologies.spec.loader import load
from tests.unit.labs.report_run import (
    ALICE_TO_BOB,
    BEGAN,
    BOB,
    BOB_TO_ALICE,
    IN,
    NAPT_A,
    NAPT_B,
    OUT,
    PORTS,
    TOPOLOGY,
    answer,
    connection,
    question,
    segment,
    write_frames,
)

ORDER = places_in_order(load(TOPOLOGY))


def ladder(frames, drops=()):
    window = Window(round(BEGAN * 1e9), round((BEGAN + 60) * 1e9))
    for one in sorted(frames, key=lambda f: f.nanoseconds):
        window.offer(one)
    window.close()
    return make_ladder(window, PORTS, drops)


# ── one packet ─────────────────────────────────────────────────────────────────────────────


def test_a_packet_is_followed_through_two_napts():
    (journey,) = follow(segment(BOB_TO_ALICE, 1), PORTS)
    assert [sighting.where for sighting in journey.sightings] == [w for w, _, _ in BOB_TO_ALICE]
    told = [(s.where, s.source, s.destination, *marks) for s, *marks in journey.changes]
    assert told == [
        ("bob:eth0", f"{BOB}:4711", f"{NAPT_A}:8080", False, False),
        ("napt_b:wan0", f"{NAPT_B}:40001", f"{NAPT_A}:8080", True, False),
        ("napt_a:lan0", f"{NAPT_B}:40001", "10.0.0.7:8080", False, True),
    ]


@pytest.mark.parametrize("difference", [{"seq": 2000}, {"identification": 8}, {"flags": "SA"}])
def test_another_packet_is_another_journey(difference):
    assert len(follow(segment(BOB_TO_ALICE, 1) + segment(BOB_TO_ALICE, 2), PORTS)) == 2
    later = segment(BOB_TO_ALICE[4:], 1.1, **difference)
    assert len(follow(segment(BOB_TO_ALICE, 1, stop="internet:isp3") + later, PORTS)) == 2


def test_what_was_only_overheard_is_left_out():
    one = segment(BOB_TO_ALICE[:1], 1)[0]
    overheard = one._replace(where="napt_b:lan0", outgoing=False)  # it is addressed to bob's MAC
    (journey,) = follow([one, overheard], PORTS)
    assert len(journey.sightings) == 1


def test_the_same_question_in_two_homes_is_two_questions():
    here = question(["alice:eth0", "napt_a:lan0"], "10.0.0.5", "10.0.0.6", 1)
    there = question(["bob:eth0", "napt_b:lan0"], "10.0.0.5", "10.0.0.6", 1)
    assert len(follow(here + there, PORTS)) == 2


def test_arrows_go_from_exit_to_entry_and_through_nodes():
    (journey,) = follow(segment(BOB_TO_ALICE, 1), PORTS)
    pairs = [(a.where, b.where) for a, b in hops(journey.sightings)]
    places = [where for where, _, _ in BOB_TO_ALICE]
    assert pairs == list(pairwise(places))


@pytest.mark.parametrize(
    ("node", "ends", "seconds", "found"),
    [
        ("napt_a", f"{NAPT_B}:40001 > {NAPT_A}:8080", 0.002, True),
        ("napt_b", f"{NAPT_B}:40001 > {NAPT_A}:8080", 0.002, False),
        ("napt_a", f"{NAPT_B}:40002 > {NAPT_A}:8080", 0.002, False),
        ("napt_a", f"{NAPT_B}:40001 > {NAPT_A}:8080", 5.0, False),
    ],
)
def test_a_drop_is_told_of_the_packet_that_was_dropped(node, ends, seconds, found):
    drop = Drop(node, BEGAN + seconds, f"tcp SYN {ends}", "no-rule", "nobody has this port")
    frames = segment(BOB_TO_ALICE, 1, stop="napt_a:wan0")
    (flow,) = ladder(frames, [drop]).flows
    assert (flow.journeys[0].dropped is drop) is found
    assert flow.outcome == ("dropped by napt_a: no-rule" if found else "")
    picture = draw_flow(flow, ORDER, BEGAN)
    assert (picture.rows[0].end is not None) is found


def test_a_link_loses_what_has_left_its_last_node_and_takes_its_time():
    drop = Drop(
        "bob", BEGAN + 0.01, f"tcp SYN {BOB}:4711 > {NAPT_A}:8080", "lost", "lost", by_link=True
    )
    (flow,) = ladder(segment(BOB_TO_ALICE, 1, stop="bob:eth0"), [drop]).flows
    assert flow.outcome == "lost by the link of bob: lost"
    (whole,) = ladder(segment(BOB_TO_ALICE, 1), [drop]).flows
    assert whole.outcome == ""
    times = [
        [words.text for words in draw_flow(whole, ORDER, BEGAN, slow).rows[0].words]
        for slow in ((), {"bob:eth0"})
    ]
    (added,) = [text for text in times[1] if text not in times[0]]
    assert added.endswith(" ms")


def test_a_packet_is_followed_for_as_long_as_its_link_takes():
    left, *rest = segment(BOB_TO_ALICE, 1)
    late = [one._replace(nanoseconds=one.nanoseconds + 3 * 10**9) for one in rest]
    slow = {**PORTS, "bob:eth0": replace(PORTS["bob:eth0"], link=Link(delay=3))}
    assert len(follow([left, *late], PORTS)) == 2
    (journey,) = follow([left, *late], slow)
    assert len(journey.sightings) == 1 + len(rest)


def test_what_turns_back_is_not_drawn_on_the_line_on_which_it_came(monkeypatch):
    (flow,) = ladder(segment(ALICE_TO_BOB, 1)).flows
    (row,) = draw_flow(flow, ORDER, BEGAN).rows
    assert len({y for _, y in row.dots}) == 1  # straight through
    order = [where for where in ORDER if not where.startswith("bob")]
    order.insert(order.index("internet:isp2"), "bob:eth0")
    (row,) = draw_flow(flow, order, BEGAN).rows
    assert len({y for _, y in row.dots}) == 1  # by another order of the nodes
    places = [where for where in order if where in PORTS]
    monkeypatch.setattr(ladder_drawing, "_in_order", lambda flow, order: places)
    (row,) = draw_flow(flow, order, BEGAN).rows
    assert len({y for _, y in row.dots}) == 2


@pytest.mark.parametrize("way", [ALICE_TO_BOB, BOB_TO_ALICE])
def test_a_way_that_would_double_back_is_drawn_straight_and_from_the_same_side(way):
    order = [where for where in ORDER if not where.startswith("bob")]
    order.insert(order.index("napt_b:wan0"), "bob:eth0")
    (flow,) = ladder(segment(way, 1)).flows
    picture = draw_flow(flow, order, BEGAN)
    assert [band.name for band in picture.bands] == ["alice", "napt_a", "internet", "napt_b", "bob"]
    assert len({y for _, y in picture.rows[0].dots}) == 1


# ── connections ────────────────────────────────────────────────────────────────────────────


def test_both_directions_are_one_connection_and_its_bulk_is_counted():
    (flow,) = ladder(connection()).flows
    titles = [journey.title for journey in flow.journeys]
    assert titles == ["SYN", "SYN ACK", "ACK", "100 bytes", "FIN ACK", "FIN ACK"]
    assert (flow.folded, flow.folded_bytes) == (99, 9900)
    assert flow.title == f"TCP connection: {BOB}:4711 → {NAPT_A}:8080"
    assert all(len(journey.sightings) == 8 for journey in flow.journeys)


def test_a_proxys_two_connections_remain_two():
    near = segment(BOB_TO_ALICE[:2], 1)
    far = segment(BOB_TO_ALICE[2:], 2, seq=999, identification=3)
    assert len(ladder(near + far).flows) == 2


def test_only_a_question_without_an_answer_is_told():
    asked = question(["bob:eth0", "napt_b:lan0"], BOB, "10.0.0.1", 1)
    answered = answer(["napt_b:lan0", "bob:eth0"], "10.0.0.1", BOB, 2)
    assert len(ladder(asked).flows) == 1
    assert ladder(asked + answered).flows == []
    assert ladder(asked[1:]).flows == []  # nobody watched where the answer would have been


def many(count):
    """`count` SYNs of as many connections, and in the middle one that is dropped."""
    frames = []
    for n in range(count):
        ends = ((NAPT_B, 1024 + n), (NAPT_A, 8080))
        way = [("napt_b:wan0", OUT, ends), ("napt_a:wan0", IN, ends)]
        frames += segment(way, 10 * n, seq=n, identification=n)
    middle = count // 2
    return frames, Drop("napt_a", BEGAN + middle / 100, f"tcp SYN {NAPT_B}:{1024 + middle} > "
                        f"{NAPT_A}:8080", "no-rule", "")  # fmt: skip


def test_a_ladder_is_bounded_and_the_odd_one_is_on_it():
    frames, drop = many(200)
    found = ladder(frames, [drop])
    rows = sum(len(flow.journeys) for flow in found.flows)
    assert rows + len(found.flows) <= ROWS
    assert found.packets_left_out == 200 - rows
    assert found.flows_left_out == 200 - len(found.flows)
    assert "dropped by napt_a: no-rule" in {flow.outcome for flow in found.flows}
    assert found.frames == 400


def test_of_too_many_packets_the_middle_is_cut_out(monkeypatch):
    monkeypatch.setattr(capture, "HEAD", 101)  # between the two sightings of one packet
    monkeypatch.setattr(capture, "TAIL", 51)
    window = Window(0, 2 * round(BEGAN * 1e9))
    frames, _ = many(300)
    for one in frames:
        window.offer(one)
    window.close()
    assert (len(window.frames), window.total) == (152, 600)
    assert window.gap == (frames[100].nanoseconds, frames[549].nanoseconds)
    found = make_ladder(window, PORTS)
    assert found.cut
    assert all(len(j.sightings) == 2 for flow in found.flows for j in flow.journeys)


# ── the capture ────────────────────────────────────────────────────────────────────────────


def test_the_packets_of_a_step_are_read_back(tmp_path):
    frames = connection(segments=3)
    write_frames(tmp_path / "c", frames)
    (whole,) = pick(tmp_path / "c", [(BEGAN, BEGAN + 60)])
    assert whole.total == len(frames)
    assert set(whole.frames) <= set(frames)
    before, after = pick(tmp_path / "c", [(BEGAN, BEGAN + 0.0105), (BEGAN + 0.0105, BEGAN + 60)])
    assert before.total == 8  # the SYN at its eight places
    assert before.total + after.total == len(frames)


@pytest.mark.parametrize(("left", "some"), [(0, False), (1, False), (100, False), (3001, True)])
def test_a_capture_that_ends_early_is_read_as_far_as_it_goes(tmp_path, left, some):
    write_frames(tmp_path / "c", connection())
    data = (tmp_path / "c").read_bytes()
    (tmp_path / "c").write_bytes(data[:left])
    (window,) = pick(tmp_path / "c", [(BEGAN, BEGAN + 60)])
    assert (window.total > 0) is some


def test_no_capture_is_no_packets(tmp_path):
    (window,) = pick(tmp_path / "none", [(BEGAN, BEGAN + 60)])
    assert window.frames == []
