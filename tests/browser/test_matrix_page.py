"""The matrix in a browser: a click on a cell of the grid shows its words and its packets."""

from __future__ import annotations

import pytest
from scapy.layers.inet import IP

from napt_lab.labs.capture.packets import decode_ipv4
from napt_lab.labs.matrix.cell import Cell, Result
from napt_lab.labs.matrix.field import Field
from napt_lab.labs.matrix.matrix_page import write_page
from napt_lab.labs.matrix.napt_types import chosen
from napt_lab.labs.matrix.prediction import Method, Way
from napt_lab.labs.report.journey import Journey, Sighting
from napt_lab.labs.report.story import Drop
from tests.packets import udp

INSIDE, OUTSIDE = ("10.0.0.7:5000", "203.0.113.10:6000"), ("24.9.3.10:7000", "203.0.113.10:6000")
WAY = [("a1:eth0", True, INSIDE), ("napt_a1:lan0", False, INSIDE), ("napt_a1:wan0", True, OUTSIDE),
       ("internet:isp2", False, OUTSIDE), ("internet:isp3", True, OUTSIDE),
       ("napt_b1:wan0", False, OUTSIDE)]  # fmt: skip
EVIL = "<img src=x onerror=\"document.title='owned'\">"


def write_matrix(folder):
    """A matrix of two cells, of which one is not as predicted."""
    types, _ = chosen("symmetric", None)
    field = Field(types, behind_carrier=False)
    packet = decode_ipv4(bytes(IP(udp(*INSIDE))))
    sightings = [Sighting(where, 1, out, *ends, b"") for where, out, ends in WAY]
    died = Drop("napt_b1", 0.0, " > ".join(OUTSIDE), "no-rule", "no rule says …")
    journeys = [Journey(packet, sightings, died)]
    cells = [Cell(method, *types, *types) for method in (Method.UDP, Method.TCP)]
    results = [
        Result(cells[0], Way.FAILS, [EVIL], 0.1, journeys=journeys),
        Result(cells[1], Way.DIRECT, [], 0.1),
    ]
    return write_page(results, field, folder)


@pytest.fixture(scope="session")
def report(tmp_path_factory):
    return write_matrix(tmp_path_factory.mktemp("matrix")).as_uri()


def test_a_click_on_a_cell_shows_its_packets(chromium, report):
    with chromium.page() as page:
        page.open(report)
        assert page.evaluate("document.querySelectorAll('.packets svg').length") == 0
        page.click("a[href='#udp-1-1']")
        page.until("document.querySelectorAll('.packets svg').length == 1")
        assert page.evaluate("document.getElementById('udp-1-1').checkVisibility()")
        seen = page.evaluate("document.querySelector('.packets svg').textContent")
        assert "dropped: no-rule" in seen
        assert "24.9.3.10:7000" in seen
        said = page.evaluate("document.getElementById('udp-1-1').innerText")
        assert "b uses another port towards a" in said
        assert EVIL in said
        # A cell that is not as predicted is open from the start.
        assert page.evaluate("document.getElementById('tcp-1-1').checkVisibility()")
        assert "predicted: fails" in page.evaluate("document.getElementById('tcp-1-1').innerText")
        assert page.evaluate("document.title") == "The matrix of NAPT types"
        assert [url for url in page.requested() if not url.startswith("file:")] == []
