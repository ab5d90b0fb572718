"""The moving picture in a report, in a real browser: time, tables, packets, every kind of reader.

Set NAPT_LAB_SCREENSHOTS to a folder to look at the pages yourself.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from napt_lab.labs.report.page import write_report
from napt_lab.labs.view.page import report_inset
from napt_lab.labs.view.run_data import run_records
from tests.browser.test_report import hard_to_read
from tests.unit.labs.report_run import BEGAN, BOB_TO_ALICE, rule, segment
from tests.unit.labs.view_run import record_run, write_many

PICTURES = os.environ.get("NAPT_LAB_SCREENSHOTS")
EVIL = "<img src=x onerror=\"document.title='owned'\"><script>document.title='owned'</script>"
VALUE = "Number(document.getElementById('slider').value)"
PACKETS = "document.querySelectorAll('#picture .packet').length"
LIT = "document.querySelector('#picture .row.lit')"
CROSS = "document.querySelector('#picture .packet .cross')"
TABLE = """[...document.querySelectorAll('#tables table[data-node="napt_a"] tbody tr:not(.ended)')]
    .map(row => [...row.cells].slice(1, 4).map(cell => cell.textContent))"""
RULES = [rule(7, internal="10.0.0.7:8080", external="24.9.3.7:8080", created=BEGAN + 0.002)]


def write(folder, text="plain", **how):
    """A report whose NAPT has a rule from the first packet until after it; its records, its URL."""
    story, recording = record_run(folder, text, **how)
    added = {"kind": "rule", "t": recording.since_began(BEGAN + 0.009), "node": "napt_a",
             "rule": RULES[0]}  # fmt: skip
    recording.records.append(added)
    recording.records.append(added | {"t": recording.since_began(BEGAN + 0.9), "ended": "removed"})
    path = write_report(story, folder, report_inset(recording, folder))
    return run_records(recording, folder), path.as_uri()


@pytest.fixture(scope="session")
def report(tmp_path_factory):
    return write(tmp_path_factory.mktemp("view"))


@pytest.fixture
def page(chromium, report):
    with chromium.page(1280, 900) as page:
        page.open(report[1])
        yield page
        assert page.complaints() == []


def forward(page, until, times=200):
    """Press → until something is to be seen."""
    for _ in range(times):
        if page.evaluate(f"Boolean({until})"):
            return
        page.evaluate("document.getElementById('forward').click()")
    raise AssertionError(f"never {until}")


def go_to(page, moment):
    page.evaluate(f"""(() => {{ const slider = document.getElementById('slider');
        slider.value = {moment}; slider.dispatchEvent(new Event('input')); }})()""")


def test_the_network_is_on_the_first_screen(page, report):
    edges = "(({top, bottom, width}) => [top, bottom, width])"
    box = page.evaluate(f"{edges}(document.getElementById('picture').getBoundingClientRect())")
    assert box[0] >= 0
    assert box[1] <= 900
    assert box[2] >= 800
    assert page.evaluate("document.getElementById('play').getBoundingClientRect().bottom") <= 900
    assert page.requested() == [report[1]]


def test_it_plays_and_pauses_by_keyboard(page):
    before = page.evaluate(VALUE)
    page.press(" ")
    page.until(f"{VALUE} > {before} + 300")
    page.until(f"{PACKETS} > 0")
    page.press(" ")
    assert page.evaluate("document.getElementById('play').getAttribute('aria-label')") == "Play"
    there = page.evaluate(VALUE)
    frames = "requestAnimationFrame(() => requestAnimationFrame(done))"
    page.evaluate(f"new Promise(done => {frames})")
    assert page.evaluate(VALUE) == there


def test_a_frame_that_began_before_play_was_pressed_moves_nothing(page):
    moved = page.evaluate(f"""new Promise(done => {{
        const real = requestAnimationFrame;
        const [pressed, before] = [performance.now(), {VALUE}];
        window.requestAnimationFrame = show => real(() => {{
            window.requestAnimationFrame = real;
            show(pressed - 8);
            done({VALUE} - before);
        }});
        document.getElementById('play').click();
    }})""")
    assert moved == 0


def test_in_a_napt_the_row_that_rewrites_lights_up_with_both_addresses(page):
    forward(page, LIT)
    row = page.evaluate(f"{LIT}.textContent")
    assert "10.0.0.7:8080 ⇄ 24.9.3.7:8080" in row
    label = page.evaluate("document.querySelector('#picture .packet .label').textContent")
    assert "24.9.3.7:8080 ⇒ 10.0.0.7:8080" in label
    assert (
        page.evaluate("document.querySelector('#tables tr.lit mark').textContent")
        == "10.0.0.7:8080"
    )
    if PICTURES:
        page.screenshot(Path(PICTURES) / "view-rewrite.png")


def test_a_dropped_packet_breaks_with_its_reason(page):
    forward(page, CROSS)
    assert "dropped: no-rule" in page.evaluate(f"{CROSS}.closest('.packet').textContent")
    if PICTURES:
        page.screenshot(Path(PICTURES) / "view-drop.png")


def test_claims_are_seen_and_at_the_end_they_come_first(page):
    go_to(page, page.evaluate("Number(document.getElementById('slider').max)"))
    page.evaluate("document.querySelector('#step p').textContent = 'A long story. '.repeat(200)")
    boxes = """['checks', 'step'].map(id => document.getElementById(id).getBoundingClientRect())
        .map(({top, height}) => [top, height])"""
    (checks, height), (step, _) = page.evaluate(boxes)
    assert height > 40
    assert checks < step


def test_any_moment_looks_the_same_forward_and_back(page):
    end = page.evaluate("Number(document.getElementById('slider').max)")
    moments = [end * part / 20 for part in range(21)]
    look = "['picture', 'tables'].map(id => document.getElementById(id).textContent).join()"
    forth, back = {}, {}
    for moment in moments:
        go_to(page, moment)
        forth[moment] = page.evaluate(look)
    for moment in reversed(moments):
        go_to(page, moment)
        back[moment] = page.evaluate(look)
    assert forth == back
    assert len(set(forth.values())) > 5


def test_tables_are_as_they_were_then(page):
    wanted = ["tcp", "10.0.0.7:8080", "24.9.3.7:8080"]
    assert page.evaluate(TABLE) == []
    forward(page, LIT)
    assert page.evaluate(TABLE) == [wanted]
    go_to(page, 0)
    assert page.evaluate(TABLE) == []
    go_to(page, page.evaluate("Number(document.getElementById('slider').max)"))
    assert page.evaluate(TABLE) == [wanted]  # the control socket's answer after the step
    assert "1 × no-rule" in page.evaluate("document.getElementById('tables').textContent")


def test_a_new_row_is_new_for_a_while(page):
    """Between two moments at which nothing else changes."""
    word = "document.querySelector('#tables tbody th').textContent"
    sign = "document.querySelector('#picture .row text').textContent.slice(0, 1)"
    classes = "document.querySelector('#picture .row').getAttribute('class').trim()"
    forward(page, "document.querySelector('#tables tbody tr')")
    page.until(f"{word} !== ''")
    added = page.evaluate(VALUE)
    while page.evaluate(word) != "new":
        go_to(page, added := added + 100)
    assert page.evaluate(f"[{sign}, {classes}]") == ["▸", "row fresh"]
    go_to(page, added + 2500)
    assert page.evaluate(word) == ""
    assert page.evaluate(f"[{sign}, {classes}]") == ["▸", "row"]
    go_to(page, added)
    assert page.evaluate(word) == "new"


def test_the_list_has_what_has_been_and_nothing_of_what_comes(chromium, tmp_path):
    rows = "[...document.querySelectorAll('#packets button')].map(row => row.textContent)"
    frames = [each for ms in (10, 20) for each in segment(BOB_TO_ALICE, ms, stop="napt_b:lan0")]
    _, url = write(tmp_path, frames=frames)
    with chromium.page(1280, 900) as page:
        page.open(url)
        assert page.evaluate(rows) == []
        forward(page, f"{PACKETS} > 0")
        (row,) = page.evaluate(rows)
        assert "10.0.0.9:4711 → 24.9.3.7:8080" in row
        assert "last seen" not in row  # it is still under way
        go_to(page, page.evaluate("Number(document.getElementById('slider').max)"))
        told = page.evaluate(rows)
        assert len(told) == 2
        assert all("last seen at napt_b:lan0" in row for row in told)


def test_a_packet_is_followed_and_its_changed_bytes_are_marked_and_named(page):
    forward(page, LIT)
    page.evaluate("document.querySelector('#packets button.now').click()")
    page.evaluate("document.getElementById('follow').click()")
    forward(page, "document.querySelector('#packet .hex mark')")
    words = page.evaluate("document.querySelector('#packet .bytes p').textContent")
    assert re.match("Changed by napt_b: .*source address.*source port", words)
    marked = page.evaluate(
        "[...document.querySelectorAll('#packet .hex mark')].map(m => m.textContent)"
    )
    assert {"cb", "71", "4d"} <= set(marked)  # 203.0.113.77, where it was 10.0.0.9
    while page.evaluate(VALUE) < page.evaluate("Number(document.getElementById('slider').max)"):
        assert page.evaluate(PACKETS) <= 1
        page.evaluate("document.getElementById('forward').click()")


def test_filters(page):
    forward(page, LIT)
    page.evaluate("document.querySelector('#protocols input[value=tcp]').click()")
    assert page.evaluate(PACKETS) == 0
    assert page.evaluate("document.getElementById('packets').textContent") == "No packet to show."
    page.evaluate("document.querySelector('#protocols input[value=tcp]').click()")
    assert page.evaluate(PACKETS) > 0
    page.evaluate("""document.querySelector('#picture [data-node="alice"]')
        .dispatchEvent(new MouseEvent('click', {bubbles: true}))""")
    assert page.evaluate("document.getElementById('only-node').value") == "alice"
    assert page.evaluate("document.querySelectorAll('#packets .bad').length") == 0
    flows = page.evaluate("[...document.getElementById('only-flow').options].length")
    assert flows == 3  # all, the connection, the SYN that is dropped


def test_steps_of_time_by_keyboard(page):
    moments = [page.evaluate(VALUE)]
    for _ in range(6):
        page.evaluate("document.dispatchEvent(new KeyboardEvent('keydown', "
                      "{key: 'ArrowRight', bubbles: true}))")  # fmt: skip
        moments.append(page.evaluate(VALUE))
    assert moments == sorted(set(moments))
    for before in reversed(moments[1:-1]):
        page.evaluate("document.dispatchEvent(new KeyboardEvent('keydown', "
                      "{key: 'ArrowLeft', bubbles: true}))")  # fmt: skip
        assert page.evaluate(VALUE) == pytest.approx(before)
    page.evaluate("document.getElementById('faster').click()")
    assert page.evaluate("document.getElementById('speed').textContent") == "2×"


def test_a_prediction_is_kept_and_answered(page):
    page.evaluate("document.querySelector('#choices input').click()")
    go_to(page, page.evaluate("Number(document.getElementById('slider').max)"))
    said = page.evaluate("document.getElementById('said').textContent")
    assert said == "You predicted it: plainplain"


def test_once_a_step_acts_only_what_was_predicted_is_shown(page):
    shown = "[...document.querySelectorAll('#choices label')].filter(l => l.checkVisibility())"
    texts = f"{shown}.map(label => label.textContent)"
    begin = page.evaluate(VALUE)
    assert page.evaluate(texts) == ["plain", "nowhere"]
    go_to(page, begin + 1600)
    assert page.evaluate(texts) == []
    go_to(page, begin)
    page.evaluate("document.querySelectorAll('#choices input')[1].click()")
    assert page.evaluate(texts) == ["plain", "nowhere"]
    go_to(page, begin + 1600)
    assert page.evaluate(texts) == ["nowhere"]


@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_can_be_read_on_every_screen(chromium, report, width, scheme):
    with chromium.page(width, 900) as page:
        page.set_media(prefers_color_scheme=scheme)
        page.open(report[1])
        forward(page, CROSS)
        page.evaluate("document.querySelector('#packets button').click()")
        forward(page, LIT)
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert [text for text in hard_to_read(page) if text[0] not in MARKED] == []
        assert page.evaluate("document.getElementById('play').offsetHeight") >= 44
        if PICTURES:
            page.screenshot(Path(PICTURES) / f"view-{scheme}-{width}.png")
        assert page.complaints() == []


MARKED = {"10.0.0.7:8080"}  # it stands on a mark; test_marks_can_be_read looks at it


def test_on_a_phone_each_press_brings_the_packet_into_sight(chromium, report):
    with chromium.page(390, 844) as page:
        page.open(report[1])
        forward(page, PACKETS)
        places = set()
        for _ in range(12):
            left, right, x = page.evaluate("""(() => {
                const {left, right} = document.getElementById('screen').getBoundingClientRect();
                const all = document.querySelectorAll('#picture .packet > :first-child');
                const packet = all[all.length - 1].getBoundingClientRect();
                return [left, right, packet.x + packet.width / 2];
            })()""")
            assert left < x < right
            places.add(page.evaluate("document.getElementById('screen').scrollLeft"))
            page.evaluate("document.getElementById('forward').click()")
        assert len(places) > 1


def test_what_firefox_shows_otherwise_than_chromium_is_said(page):
    """It breaks no line between labels, and shows the points of a list that has no margin."""
    style = "getComputedStyle(document.getElementById({!r}))"
    assert page.evaluate(style.format("protocols") + ".flexWrap") == "wrap"
    assert page.evaluate(style.format("doings") + ".listStyleType") == "none"


def test_without_motion_packets_stand_still_between_their_stops(chromium, report):
    with chromium.page(1280, 900) as page:
        page.set_media(prefers_reduced_motion="reduce")
        page.open(report[1])
        forward(page, f"{PACKETS} > 0")
        page.evaluate("document.getElementById('play').click()")
        places = page.evaluate("""new Promise(done => { const seen = new Set(); let frames = 0;
            const look = () => { const packet = document.querySelector('#picture .packet');
                if (packet) seen.add(packet.getAttribute('transform'));
                if (++frames < 90) requestAnimationFrame(look); else done([...seen]); };
            look(); })""")
        assert 1 <= len(places) <= 12


def test_what_a_screen_reader_hears(page):
    forward(page, CROSS)
    spoken = page.spoken()
    assert ("region", "The run, packet by packet") in spoken
    assert ("slider", "Moment of the run") in spoken
    assert {
        ("button", "Play"),
        ("button", "To the next packet"),
        ("button", "One packet back"),
    } <= set(spoken)
    heard = page.evaluate("document.getElementById('said-aloud').textContent")
    assert "TCP SYN from 203.0.113.77:40009 to 24.9.3.7:8080. Dropped: no-rule" in heard
    assert (
        page.evaluate("document.getElementById('said-aloud').getAttribute('aria-live')") == "polite"
    )
    unnamed = [role for role, name in spoken if role in ("link", "button", "region") and not name]
    assert unnamed == []


def test_hostile_text_does_nothing(chromium, tmp_path):
    _, url = write(tmp_path, EVIL)
    with chromium.page(1280, 900) as page:
        page.open(url)
        go_to(page, page.evaluate("Number(document.getElementById('slider').max)"))
        assert page.evaluate("document.title") == "Level 9c: all claims hold"
        assert page.evaluate("document.images.length") == 0
        assert page.evaluate("document.getElementById('doings').textContent.includes('<img src=x')")
        assert page.complaints() == []


def test_without_javascript_it_is_the_report(chromium, report):
    with chromium.page(1280, 900) as page:
        page.command("Emulation.setScriptExecutionDisabled", value=True)
        page.open(report[1])
        text = page.command("Accessibility.getFullAXTree")["nodes"]
        names = {node.get("name", {}).get("value", "") for node in text if not node["ignored"]}
        assert "Claims" in names
        assert "The run, packet by packet" not in names


def test_ten_thousand_packets_do_not_stutter(chromium, tmp_path):
    report = write_many(tmp_path, 10_000)
    with chromium.page(1280, 900) as page:
        page.open(report.as_uri())
        took, under_way = move_through(page, 40)
        print(f"10,000 packets: {took * 1000:.1f} ms of processor time a moment, drawing included")
        assert under_way >= 5
        assert 0 < took < 0.05
        page.evaluate("""(() => { let moves = 0;
            document.getElementById('slider').addEventListener('input', () => {
                // So much work, not so much time: a busy machine gives little of it to Chromium.
                for (let left = ++moves % 10 ? 0 : 1e9; left; left--) Math.sqrt(left);
            }); })()""")
        stutter = move_through(page, 20)[0]
        print(f"with a stutter every ten moments: {stutter * 1000:.1f} ms")
        assert stutter > 0.05  # the control
        assert page.complaints() == []


def move_through(page, moments):
    """How long 95 % of so many moments take at most, and how many packets are under way at once."""
    took, under_way = [], 0
    for number in range(1, moments + 1):
        before = page.processor_time()
        seen = page.evaluate(f"""new Promise(done => {{
            const slider = document.getElementById('slider');
            slider.value = slider.max * {number / moments};
            slider.dispatchEvent(new Event('input'));
            const seen = {PACKETS};
            requestAnimationFrame(() => setTimeout(() => done(seen)));  // when it is drawn
        }})""")
        took.append(page.processor_time() - before)
        under_way = max(under_way, seen)
    return sorted(took)[moments * 95 // 100 - 1], under_way


def test_a_question_for_a_number_takes_nothing_else(chromium, tmp_path):
    story, recording = record_run(tmp_path)
    for record in recording.records:
        if record["kind"] == "step":
            record |= {"choices": [], "usage": "a number"}
    url = write_report(story, tmp_path, report_inset(recording, tmp_path)).as_uri()
    with chromium.page(1280, 900) as page:
        page.open(url)
        forward(page, FIELD)
        assert type_number(page, "many") == (
            "'many' is not an answer: type a whole number, as in 12"
        )
        assert type_number(page, "65,535") == ""
        assert page.complaints() == []


FIELD = "document.querySelector('#choices input')"


def type_number(page, typed):
    """What is said of it."""
    page.evaluate(
        f"{FIELD}.value = '{typed}'; {FIELD}.dispatchEvent(new Event('change', {{bubbles: true}}))"
    )
    return page.evaluate("document.querySelector('#choices p').textContent")


@pytest.mark.parametrize("width", [800, 1024, 1280, 1440])
@pytest.mark.parametrize("height", [600, 900])
def test_the_choices_are_in_sight(chromium, tmp_path, width, height):
    story, recording = record_run(tmp_path)
    for record in recording.records:
        if record["kind"] == "step":
            record |= {"say": "The Internet knows one address. " * 12, "choices": ["a PC"] * 4}
    url = write_report(story, tmp_path, report_inset(recording, tmp_path)).as_uri()
    bottom = "document.querySelector('{}').getBoundingClientRect().bottom"
    with chromium.page(width, height) as page:
        page.open(url)
        forward(page, FIELD)
        last = page.evaluate(bottom.format("#choices label:last-child"))
        assert last <= page.evaluate(bottom.format(".lesson"))
