"""The report: tables compared, hostile text harmless, a page for every way a run can end."""

from __future__ import annotations

import io
import re
import sys
from html.parser import HTMLParser

import pytest
from rich.console import Console

from napt_lab.labs.records.stream import Stream
from napt_lab.labs.report import page
from napt_lab.labs.report.page import render, write_report
from napt_lab.labs.report.story import DEEDS_KEPT, REPORTS_KEPT, Story
from napt_lab.labs.report.tables import ROWS_SHOWN, compare
from napt_lab.labs.report.templates import templates, visible
from napt_lab.labs.report.topology_drawing import draw_topology
from napt_lab.labs.running import runner
from napt_lab.labs.stage.narration import Narration
from napt_lab.labs.verdict.claims import CLAIMS
from napt_lab.labs.view.recording import Recording
from napt_lab.topologies.spec.checkout import TOPOLOGIES
from napt_lab.topologies.spec.loader import load
from tests.unit.labs.report_run import BEGAN, rule, table, tell

EVIL = "<script>document.title='owned'</script>\"'><img src=x onerror=alert(1)>{{ 7*7 }}"


# ── the rules ──────────────────────────────────────────────────────────────────────────────


def comparison(before, after, ends=()):
    story = Story()
    stream = listened(story)
    stream.emit(
        "step",
        time=BEGAN,
        number=1,
        of=1,
        title="",
        say="",
        ask="",
        choices=[],
        usage="",
        proves=[],
    )
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
    cut = str(visible("x" * 10_000))
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
    stream.emit(
        "step", number=0, of=2, title="Later", say="", ask="", choices=[], usage="", proves=["9c.y"]
    )
    stream.emit("check", claim="9c.y", text="it is checked", passed=False, broken=True,
                evidence=["it was not: the run was ended"])  # fmt: skip
    text = render(story, tmp_path)
    assert "This step was not reached." in text
    assert "! was not checked" in text
    assert "✗ Not all claims hold." in text


def test_a_run_without_a_network_says_why(tmp_path):
    story = Story()
    stream = listened(story)
    stream.emit("lab", lab="9c", title="T", intro="")
    stream.emit("trouble", text="no bridge <here>", trace="")
    stream.emit("step", number=0, of=1, title="S", say="", ask="", choices=[], usage="", proves=[])
    stream.emit("end", passed=False, seconds=0.1, error="", learned=[])
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


def test_where_python_writes_no_bytecode_the_page_writes_none_either(monkeypatch, tmp_path):
    (cache := tmp_path / "__pycache__").mkdir()
    (tmp_path / "page.html").write_text("{{ 1 }}")
    for off in (True, False):
        monkeypatch.setattr(sys, "dont_write_bytecode", off)
        assert templates(tmp_path).get_template("page.html").render() == "1"
        assert (not list(cache.iterdir())) is off


def test_a_template_that_cannot_be_kept_is_used_all_the_same(tmp_path):
    (cache := tmp_path / "__pycache__").mkdir()
    (tmp_path / "page.html").write_text("{{ 1 }}")
    made = templates(tmp_path)
    cache.rmdir()  # as `make clean` does
    assert made.get_template("page.html").render() == "1"


def test_a_page_that_fails_costs_only_the_page(tmp_path, monkeypatch):
    def broken(*_):
        raise ValueError("out of ink")

    monkeypatch.setattr(page, "render", broken)
    out = io.StringIO()
    runner._write_report((Story(), Recording()), tmp_path, Narration(Console(file=out, width=80)))
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


def test_what_was_predicted_stands_beside_what_was_seen_and_learned(tmp_path):
    words = " ".join(Elements(render(tell(tmp_path), tmp_path)).words.split())
    outcome = "You said: nowhere The belief behind it: plain Seen: plain plain"
    assert f"What happened {outcome}" in words
    assert "What this level has shown plain What you predicted 0 of 1 predictions" in words
    assert f"Step 1: plain {outcome} The exercise that fits: make exercise-9c PART=door" in words


def test_a_run_that_was_stopped_is_called_so(tmp_path):
    story = tell(tmp_path, end=False)
    story.intro = "Port 80 of `files`, by `curl <URL>`"
    story({"event": "stopped", "time": BEGAN + 2, "where": "before step 2", "unchecked": []})
    story({"event": "end", "time": BEGAN + 2, "passed": False, "seconds": 2.0, "learned": []})
    page_text = render(story, tmp_path)
    assert "<title>Level 9c: stopped</title>" in page_text
    assert "The run was stopped before step 2: not every claim was checked." in page_text
    assert "Not all claims hold" not in page_text
    code = "Port 80 of <code>files</code>, by <code>curl &lt;URL&gt;</code>"
    assert code in page_text


def test_the_claims_are_there_with_their_text(tmp_path):
    story = tell(tmp_path, end=False)
    stream = listened(story)
    checks = [("9c.rule", True, False), ("9c.rule", False, True), ("9c.direct", False, True)]
    for claim, passed, broken in checks:
        stream.emit("check", claim=claim, text="t", passed=passed, broken=broken, evidence=["e"])
    words = " ".join(Elements(render(story, tmp_path)).words.split())
    assert f"9c.rule{CLAIMS['9c.rule']}! was not checked (the rest of it)1 of 2" in words
    assert f"9c.direct{CLAIMS['9c.direct']}! was not checked0 of 1" in words
