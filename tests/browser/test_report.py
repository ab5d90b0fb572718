"""The report, as people meet it: in a real browser, wide and narrow, light, dark and on paper.

Set NAPT_LAB_SCREENSHOTS to a folder to look at the pages yourself.
"""

from __future__ import annotations

import base64
import os
from itertools import pairwise
from pathlib import Path

import pytest

from napt_lab.labs.report.page import write_report
from tests.unit.labs.report_run import tell

EVIL = "<img src=x onerror=\"document.title='owned'\"><script>document.title='owned'</script>"
PICTURES = os.environ.get("NAPT_LAB_SCREENSHOTS")
SEEN = "document.querySelector('.deeds').checkVisibility({contentVisibilityAuto: true})"
OPEN_STEPS = "document.querySelectorAll('details.answer[open]').length"


@pytest.fixture(scope="session")
def report(tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    return write_report(tell(folder), folder).as_uri()


def hard_to_read(page):
    """Texts that are hard to read: (text, contrast), both of HTML and of drawings."""
    return page.evaluate("""(() => {
        const numbers = colour => colour.match(/[\\d.]+/g).map(Number);
        const light = colour => {
            const [r, g, b] = numbers(colour).map(v => v / 255)
                .map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
            return 0.2126 * r + 0.7152 * g + 0.0722 * b;
        };
        const behind = element => {
            if (element.matches('svg text.rewritten'))
                return getComputedStyle(document.querySelector('svg rect.rewritten')).fill;
            for (; element; element = element.parentElement) {
                const colour = getComputedStyle(element).backgroundColor;
                if (numbers(colour)[3] !== 0) return colour;
            }
        };
        const bad = [];
        for (const element of document.querySelectorAll('body *')) {
            const own = [...element.childNodes].some(n => n.nodeType === 3 && n.data.trim());
            if (!own || element.closest('script')) continue;
            const style = getComputedStyle(element);
            const [a, b] = [light(element.closest('svg') ? style.fill : style.color),
                            light(behind(element))].sort((x, y) => x - y);
            const contrast = (b + 0.05) / (a + 0.05);
            if (contrast < 4.5) bad.push([element.textContent, contrast]);
        }
        return bad;
    })()""")


@pytest.mark.parametrize("width", [360, 1240])
def test_it_can_be_read(chromium, report, width):
    with chromium.page(width) as page:
        page.open(report)
        page.evaluate("document.querySelectorAll('details').forEach(d => { d.open = true; })")
        for scheme, background in (("light", "rgb(255, 255, 255)"), ("dark", "rgb(21, 22, 26)")):
            page.set_media(prefers_color_scheme=scheme)
            assert page.evaluate("getComputedStyle(document.body).backgroundColor") == background
            if PICTURES:
                page.screenshot(Path(PICTURES) / f"report-{scheme}-{width}.png")
            assert page.evaluate("document.documentElement.scrollWidth") <= width
            assert hard_to_read(page) == []
        assert page.evaluate("document.querySelector('button').offsetHeight") >= 44
        assert page.complaints() == []
        assert page.requested() == [report]


def test_the_contrast_is_measured(chromium, report):
    with chromium.page() as page:
        page.open(report)
        assert hard_to_read(page) == []
        page.evaluate("document.querySelector('h1').style.color = 'rgb(200, 200, 200)'")
        page.evaluate("document.querySelector('svg text').style.fill = 'rgb(200, 200, 200)'")
        assert len(hard_to_read(page)) == 2


def test_words_in_drawings_do_not_overlap(chromium, report):
    with chromium.page(1240) as page:
        page.open(report)
        page.click("#open")
        overlapping = page.evaluate("""[...document.querySelectorAll('svg')].flatMap(svg => {
            const boxes = [...svg.querySelectorAll('text')]
                .map(text => [text.textContent, text.getBoundingClientRect()]);
            const cross = (a, b) => Math.min(a.right, b.right) - Math.max(a.left, b.left) > 1
                && Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top) > 4;
            const edge = svg.getBoundingClientRect();
            const out = boxes.filter(([, b]) => b.right > edge.right + 1 || b.left < edge.left - 1);
            return boxes.flatMap(([a, x], i) => boxes.slice(i + 1)
                .filter(([, y]) => cross(x, y)).map(([b]) => [a, b])).concat(out);
        })""")
        assert overlapping == []


def test_a_step_is_opened_by_keyboard_and_all_by_a_button(chromium, report):
    with chromium.page() as page:
        page.open(report)
        assert page.evaluate(OPEN_STEPS) == 0
        focused = "document.activeElement.matches('.answer > summary')"
        for _ in range(40):
            page.press("Tab")
            if page.evaluate(focused):
                break
        assert page.evaluate(focused)
        page.press("Enter")
        assert page.evaluate(SEEN)
        page.click("#close")
        assert page.evaluate(OPEN_STEPS) == 0
        page.click("#open")
        assert page.evaluate(OPEN_STEPS) == 1


def test_what_a_screen_reader_says(chromium, report):
    with chromium.page() as page:
        page.open(report)
        page.click("#open")
        spoken = page.spoken()
        roles = {role for role, _ in spoken}
        assert {"banner", "navigation", "main", "table", "columnheader", "rowheader"} <= roles
        headings = [name for role, name in spoken if role == "heading"]
        assert headings[:2] == ["Title plain", "Claims"]
        assert "Step 1 of 1: Step plain" in headings
        levels = page.evaluate(
            "[...document.querySelectorAll('h1,h2,h3,h4')].map(h => +h.tagName[1])"
        )
        assert all(b - a <= 1 for a, b in pairwise(levels))
        pictures = [name for role, name in spoken if role in ("image", "img")]
        assert len(pictures) == 3  # the network, a connection, a knock in vain
        assert all(pictures)
        unnamed = [
            role for role, name in spoken if role in ("link", "button", "region") and not name
        ]
        assert unnamed == []
        page.evaluate("document.querySelector('details.alternative').open = true")
        words = page.evaluate("document.querySelector('details.alternative').innerText")
        assert "napt_b:wan0: 203.0.113.77:40001 → 24.9.3.7:8080" in words
        assert "dropped by napt_a, reason no-rule" in words
        marked = page.evaluate("[...document.querySelectorAll('td mark')].map(m => m.textContent)")
        assert {"203.0.113.77:40001", "10.0.0.7:8080", "24.9.3.7:8080", "10.0.0.9:4711"} == set(
            marked
        )


def test_on_paper_every_step_is_open(chromium, report):
    with chromium.page() as page:
        page.open(report)
        assert not page.evaluate(SEEN)
        page.command("Emulation.setEmulatedMedia", media="print")
        page.until(SEEN)  # with the next frame, and by the style alone: no script is asked
        page.command("Emulation.setEmulatedMedia", media="")
        page.until(f"!{SEEN}")
        paper = base64.b64decode(page.command("Page.printToPDF", printBackground=True)["data"])
        if PICTURES:
            (Path(PICTURES) / "report.pdf").write_bytes(paper)
        assert paper.startswith(b"%PDF")
        assert page.evaluate(OPEN_STEPS) == 0  # as it was before
        assert page.complaints() == []


def test_hostile_text_does_nothing(chromium, tmp_path):
    report = write_report(tell(tmp_path, EVIL, passed=False), tmp_path).as_uri()
    with chromium.page() as page:
        page.open(report)
        page.click("#open")
        assert page.evaluate("document.title") == "Level 9c: not all claims hold"
        assert page.evaluate("document.images.length") == 0
        assert page.evaluate("document.body.innerText.includes('<img src=x onerror')")
        assert page.requested() == [report]
        assert page.complaints() == []
        # The policy is a second line of defence: it stops even what is in the page.
        page.evaluate("""(() => {
            const script = document.createElement('script');
            script.textContent = "document.title = 'owned'";
            document.body.append(script);
        })()""")
        assert page.evaluate("document.title") != "owned"
        assert any("Content Security Policy" in complaint for complaint in page.complaints())
