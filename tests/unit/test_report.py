"""The report: packets followed, gathered and bounded, tables compared, hostile text harmless."""

from __future__ import annotations

import io
import re
from html.parser import HTMLParser
from itertools import pairwise

import pytest
from rich.console import Console

from labs import runner
from labs.narration import Narration
from labs.registry import TOPOLOGIES
from labs.report import capture, page
from labs.report.capture import Window, pick
from labs.report.journey import follow
from labs.report.ladder import ROWS, make_ladder
from labs.report.ladder_drawing import draw_flow, hops
from labs.report.page import places_in_order, render, visible, write_report
from labs.report.story import DEEDS_KEPT, REPORTS_KEPT, Drop, Story
from labs.report.tables import ROWS_SHOWN, compare
from labs.report.topology_drawing import draw_topology
from labs.stream import Stream
from tests.unit.report_run import (
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
    rule,
    segment,
    table,
    tell,
    write_frames,
)  # fmt: skip
from topologies.loader import load

EVIL = "<script>document.title='owned'</script>\"'><img src=x onerror=alert(1)>{{ 7*7 }}"
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


# ── connections ────────────────────────────────────────────────────────────────────────────


def test_both_directions_are_one_connection_and_its_bulk_is_counted():
    (flow,) = ladder(connection(segments=100)).flows
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


# ── the rules ──────────────────────────────────────────────────────────────────────────────


def comparison(before, after, ends=()):
    story = Story()
    stream = listened(story)
    stream.emit("step", time=BEGAN, number=1, of=1, title="", say="", ask="", proves=[])
    stream.emit("tables", when="before", tables=[before])
    for end in ends:
        stream.emit("program", node="napt_a", program="nat_node", name="rule-ended",
                    fields={"why": "closed", "rule": end})  # fmt: skip
    stream.emit("tables", when="after", tables=[after])
    (result,) = compare(story.steps[0])
    return result


def test_tables_are_compared():
    old = BEGAN - 5
    before = table(
        "napt_a", rule(1, created=old), rule(2, created=old), rule(3, created=old),
        drops={"no-rule": 4},
    )  # fmt: skip
    after = table("napt_a", rule(2, created=old), rule(3, created=old, packets_out=5), rule(5),
                  drops={"no-rule": 6, "filtered": 1})  # fmt: skip
    result = comparison(before, after, [rule(1, created=old, packets_in=2), rule(4)])
    changes = [(row.change, row.why, row.out, row.in_) for row in result.touched]
    assert changes == [
        ("new", "", "0", "0"),
        ("came and went", "closed", "0", "0"),
        ("ended", "closed", "0", "2 (+2)"),
        ("used", "", "5 (+5)", "0"),
    ]
    assert len(result.untouched) == 1
    assert result.whole
    assert result.drops == [("no-rule", 2), ("filtered", 1)]


def test_a_rule_that_is_not_listed_is_not_called_ended_or_new():
    before = table("napt_a", rule(1, created=BEGAN - 5), total=60_000)
    after = table("napt_a", rule(2, created=BEGAN - 4), total=59_999)
    result = comparison(before, after)
    assert not result.whole
    assert [row.change for row in result.touched + result.untouched] == ["unchanged"]


def test_long_tables_are_bounded():
    result = comparison(table("napt_a"), table("napt_a", *map(rule, range(100))))
    assert (len(result.touched), result.left_out) == (ROWS_SHOWN, 100 - ROWS_SHOWN)


# ── the page ───────────────────────────────────────────────────────────────────────────────


class Elements(HTMLParser):
    """What a browser would make elements of."""

    def __init__(self, text):
        super().__init__()
        self.found = []
        self.attributes = []
        self.words = ""
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.found.append(tag)
        self.attributes += attributes

    def handle_data(self, data):
        self.words += data


def test_hostile_text_stays_text(tmp_path):
    plain = Elements(render(tell(tmp_path, "plain", passed=False), tmp_path))
    text = render(tell(tmp_path, EVIL, passed=False), tmp_path)
    evil = Elements(text)
    assert evil.found == plain.found
    assert sorted(name for name, _ in evil.attributes) == sorted(n for n, _ in plain.attributes)
    assert "<script>document" not in text
    assert evil.words.count(EVIL) == plain.words.count("plain") >= 12


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\x1b[31mb\x00", "a⟨001B⟩[31mb⟨0000⟩"),
        ("abc\u202etxt.exe", "abc⟨202E⟩txt.exe"),
        ("\ud800", "⟨D800⟩"),
        ("ä → \n\t", "ä → \n\t"),
    ],
)
def test_what_cannot_be_seen_is_made_visible(tmp_path, text, shown):
    assert visible(text) == shown
    write_report(tell(tmp_path, f"<{text}>"), tmp_path)
    written = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert f"&lt;{shown}&gt;" in written


def test_long_text_is_cut():
    cut = visible("x" * 10_000)
    assert len(cut) < 3100
    assert cut.endswith("(7,000 characters more)")


def test_the_page_asks_for_nothing_from_elsewhere(tmp_path):
    found = Elements(render(tell(tmp_path), tmp_path))
    links = [value for name, value in found.attributes if name in ("href", "src")]
    assert {"capture.pcapng", "results.json"} <= set(links)
    assert all(re.fullmatch(r"#[\w-]+|[\w.-]+", link) for link in links)


def test_a_failed_step_is_open_and_one_that_holds_is_closed(tmp_path):
    assert '<details class="answer">' in render(tell(tmp_path), tmp_path)
    failed = render(tell(tmp_path, passed=False), tmp_path)
    assert '<details class="answer" open>' in failed
    assert "✗ Not all claims hold." in failed


def listened(story):
    """A stream that tells `story` more."""
    stream = Stream()
    stream.listen(story)
    return stream


def test_a_run_that_was_ended_is_written_as_far_as_it_came(tmp_path):
    story = tell(tmp_path, end=False)
    (tmp_path / "capture.pcapng").unlink()
    stream = listened(story)
    stream.emit("step", number=0, of=2, title="Later", say="", ask="", proves=["9c.y"])
    stream.emit("check", claim="9c.y", text="it is checked", passed=False, broken=True,
                evidence=["it was not: the run was ended"])  # fmt: skip
    text = render(story, tmp_path)
    assert "This step was not come to." in text
    assert "could not be checked" in text
    assert "✗ Not all claims hold." in text


def test_a_run_without_a_network_says_why(tmp_path):
    story = Story()
    stream = listened(story)
    stream.emit("lab", lab="9c", title="T", intro="")
    stream.emit("trouble", text="no bridge <here>", trace="")
    stream.emit("step", number=0, of=1, title="S", say="", ask="", proves=[])
    stream.emit("end", passed=False, seconds=0.1)
    assert "no bridge &lt;here&gt;" in render(story, tmp_path)


def test_a_story_is_bounded(tmp_path):
    story = tell(tmp_path, end=False)
    stream = listened(story)
    for _ in range(1000):
        stream.emit("command", node="bob", command="true")
        stream.emit("program", node="files", program="web", name="request", fields={})
    (step,) = story.steps
    assert (len(step.deeds), step.deeds_left_out) == (DEEDS_KEPT, 1002 - DEEDS_KEPT)
    assert (len(step.reports), step.reports_left_out) == (REPORTS_KEPT, 1002 - REPORTS_KEPT)


def test_a_page_that_fails_costs_only_the_page(tmp_path, monkeypatch):
    def broken(*_):
        raise ValueError("out of ink")

    monkeypatch.setattr(page, "render", broken)
    out = io.StringIO()
    runner._write_report(Story(), tmp_path, Narration(Console(file=out, width=80)))
    assert "There is no report.html: ValueError: out of ink" in out.getvalue()


@pytest.mark.parametrize("path", sorted(TOPOLOGIES.glob("*.yaml")), ids=lambda path: path.stem)
def test_the_drawing_has_every_address_and_no_two_boxes_overlap(path):
    topology = load(path)
    picture = draw_topology(topology)
    words = {word for box in picture.boxes for word in (box.name, *box.lines)}
    for host in topology.hosts():
        assert {host.name, str(host.address.ip)} <= words
    for site in topology.sites:
        gateway = site.gateway
        assert {gateway.name, str(gateway.public.ip), str(gateway.private.ip)} <= words
    for number, one in enumerate(picture.boxes):
        assert one.x >= 0
        assert one.x + one.width <= picture.width
        assert one.y + one.height <= picture.height
        for other in picture.boxes[number + 1 :]:
            apart_x = one.x + one.width <= other.x or other.x + other.width <= one.x
            apart_y = one.y + one.height <= other.y or other.y + other.height <= one.y
            assert apart_x or apart_y, (one, other)


def test_what_turns_back_is_not_drawn_on_the_line_on_which_it_came():
    (flow,) = ladder(segment(ALICE_TO_BOB, 1)).flows
    (row,) = draw_flow(flow, ORDER, BEGAN).rows
    assert len({y for _, y in row.dots}) == 1  # straight through
    order = [where for where in ORDER if not where.startswith("bob")]
    order.insert(order.index("internet:isp2"), "bob:eth0")
    (row,) = draw_flow(flow, order, BEGAN).rows
    assert len({y for _, y in row.dots}) == 2


def test_a_run_that_was_stopped_is_called_so(tmp_path):
    story = tell(tmp_path, end=False)
    story({"event": "stopped", "time": BEGAN + 2, "where": "before step 2", "unchecked": []})
    story({"event": "end", "time": BEGAN + 2, "passed": False, "seconds": 2.0})
    page_text = render(story, tmp_path)
    assert "<title>Level 9c: stopped</title>" in page_text
    assert "The run was stopped before step 2: not every claim was checked." in page_text
    assert "Not all claims hold" not in page_text
