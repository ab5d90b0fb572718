"""What the grid and the page of a matrix say of all cells together."""

from __future__ import annotations

import re

import pytest

from napt_lab.labs.matrix.cell import Cell, Result
from napt_lab.labs.matrix.field import Field
from napt_lab.labs.matrix.grid import counted
from napt_lab.labs.matrix.matrix_page import render
from napt_lab.labs.matrix.napt_types import chosen
from napt_lab.labs.matrix.prediction import Method, Way

HOME, HOTEL = chosen("home,hotel", None)[0]


def results(method: Method, *seen: Way | None) -> list[Result]:
    """Cells that are predicted to be direct."""
    return [Result(Cell(method, HOME, HOME), way, (), 0.0) for way in seen]


@pytest.mark.parametrize(
    ("method", "seen", "conclusion", "count"),
    [
        (Method.UDP, [Way.DIRECT], "Every cell is as predicted.", "1 direct, all as predicted"),
        (
            Method.UDP,
            [Way.FAILS, None],
            "Not every cell is as predicted.",
            "1 fails, 1 could not be tried, 1 not as predicted",
        ),
        (Method.UDP, [None], "Not every cell could be tried.", "1 could not be tried"),
        (
            Method.UDP,
            [Way.DIRECT, None],
            "Not every cell could be tried.",
            "1 direct, 1 could not be tried, the others as predicted",
        ),
        (
            Method.PROGRAMS,
            [Way.RELAYED],
            "Your programs succeeded in every cell.",
            "1 relayed, 1 not as predicted for ICE",
        ),
        (
            Method.PROGRAMS,
            [Way.DIRECT, Way.FAILS],
            "Your programs did not succeed in every cell.",
            "1 direct, 1 fails, 1 not as predicted for ICE",
        ),
    ],
)
def test_what_is_said_of_all_cells(method, seen, conclusion, count):
    mine = results(method, *seen)
    page = render(mine, Field([HOME], behind_carrier=False))
    assert re.findall(r'class="banner[^>]*>. ([^<]*)<', page) == [conclusion]
    assert counted(mine) == count
    marked = "your programs failed" if method is Method.PROGRAMS else "not as predicted"
    assert re.findall("a frame: ([^;]*);", page) == [marked]


def test_the_page_says_how_each_type_behaves():
    page = render(results(Method.TCP, Way.DIRECT), Field([HOME, HOTEL], behind_carrier=False))
    rows = re.findall(r'<tr><th scope="row">(\w+)</th>((?:<td>[^<]*</td>)+)</tr>', page)
    told = {name: re.findall("<td>([^<]*)</td>", cells) for name, cells in rows}
    both = ["endpoint-independent", "address-and-port-dependent"]
    assert told == {"home": [*both, "preserve"], "hotel": [*both, "random; blocks UDP"]}
