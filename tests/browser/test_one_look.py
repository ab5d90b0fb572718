"""The reports of conformance and of the matrix look like a lab's, wide and narrow, light and dark.

Set NAPT_LAB_SCREENSHOTS to a folder to look at the pages yourself.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from napt_lab.labs.conformance.chapters import REQUIREMENTS
from napt_lab.labs.conformance.requirement import Outcome
from napt_lab.labs.conformance.side_by_side import Examination
from napt_lab.labs.conformance.table_page import write_page
from napt_lab.labs.conformance.topology import Candidate, read_setup
from napt_lab.labs.verdict.verdicts import Verdict
from tests.browser.test_matrix_page import write_matrix
from tests.browser.test_report import hard_to_read
from tests.browser.test_view import write as write_run

PICTURES = os.environ.get("NAPT_LAB_SCREENSHOTS")
LOOK = """['h1', 'header .quiet', '.banner', 'body'].map(selector => {
    const style = getComputedStyle(document.querySelector(selector));
    return [style.font, style.margin, style.padding, style.maxWidth, style.borderLeftWidth,
        style.backgroundColor];
})"""


def write_conformance(folder):
    """A page on two candidates with every verdict."""
    setups = [read_setup(Candidate("python", {"preset": preset})) for preset in ("rfc", "home")]
    rows = tuple(
        Outcome(requirement, verdict, f"because {verdict}", ("seen",), 0.5, "a-setting: true")
        for requirement, verdict in zip(REQUIREMENTS, list(Verdict), strict=False)
    )
    return write_page([Examination(setup, rows, 1.0, 0) for setup in setups], folder)


@pytest.fixture(scope="session")
def lab_page(tmp_path_factory):
    return write_run(tmp_path_factory.mktemp("lab"))[1]


@pytest.mark.parametrize("write", [write_conformance, write_matrix])
@pytest.mark.parametrize("width", [390, 1280])
def test_a_report_looks_like_that_of_a_lab(chromium, lab_page, write, width, tmp_path):
    report = write(tmp_path).as_uri()
    for scheme in ("light", "dark"):
        with chromium.page(width, 900) as page:
            page.set_media(prefers_color_scheme=scheme)
            page.open(lab_page)
            look = page.evaluate(LOOK)
            page.open(report)
            page.evaluate("document.querySelectorAll('details').forEach(d => { d.open = true; })")
            if PICTURES:
                page.screenshot(Path(PICTURES) / f"{write.__name__}-{scheme}-{width}.png")
            assert page.evaluate(LOOK) == look
            assert page.evaluate("document.documentElement.scrollWidth") <= width
            assert hard_to_read(page) == []
            assert page.complaints() == []
            assert page.requested() == [lab_page, report]
