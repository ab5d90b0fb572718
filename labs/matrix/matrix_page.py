"""report.html: the grids for a browser; a click on a cell shows its packets.

One file that loads nothing; a policy in it forbids it to. The words of a cell are in the page. The
pictures of its packets would make it ten times as large, so they are packed, a row of the grid at a
time, and a browser unpacks them when a cell is opened. Everything that came from a wire is text.
"""

from __future__ import annotations

import base64
import itertools
import json
import zlib
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from markupsafe import Markup

from napt_lab.labs.matrix.cell import Result
from napt_lab.labs.matrix.field import Field
from napt_lab.labs.matrix.grid import ORDER, SIGNS, TITLES, conclusion, counted, marked
from napt_lab.labs.report.ladder import Flow
from napt_lab.labs.report.ladder_drawing import draw_flow
from napt_lab.labs.report.page import policy
from napt_lab.labs.report.page import style as house_style
from napt_lab.labs.report.templates import templates
from napt_lab.labs.verdict.verdicts import worst

_HERE = Path(__file__).parent
SHOWN = 12  # packets of a cell


def write_page(results: Sequence[Result], field: Field, folder: Path) -> Path:
    """Write the page; returns its path."""
    path = folder / "report.html"
    path.write_text(render(results, field), encoding="utf-8")
    return path


def render(results: Sequence[Result], field: Field) -> str:
    """The page as text."""
    environment = templates(_HERE, _HERE.parent / "report")
    style = house_style() + (_HERE / "matrix_page.css").read_text(encoding="utf-8")
    script = (_HERE / "matrix_page.js").read_text(encoding="utf-8")
    draw: Any = environment.get_template("ladder.html").module
    return environment.get_template("matrix_page.html").render(
        field=field,
        methods=[
            (TITLES[method], counted(mine), list(_rows(mine, field, draw.ladder_svg)))
            for method, group in itertools.groupby(results, key=lambda result: result.cell.method)
            for mine in [list(group)]
        ],
        signs={way.value: sign for way, (sign, _) in SIGNS.items()},
        order=ORDER,
        conclusion=conclusion(results),
        marked=marked(results),
        verdict=worst(result.verdict for result in results),
        when=datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S UTC"),
        style=Markup(style),
        script=Markup(script),
        policy=policy([style], [script]),
    )


def _rows(
    results: Sequence[Result], field: Field, draw: Any
) -> Iterator[tuple[str, list[Result], Markup]]:
    """For each `a`: its name, its cells, and their pictures, packed."""
    for a, group in itertools.groupby(results, key=lambda result: result.cell.a):
        row = list(group)
        yield a.name, row, _pack([_picture(result, field, draw) for result in row])


def _picture(result: Result, field: Field, draw: Any) -> str:
    """A ladder of a cell's packets; empty if there are none."""
    if not result.journeys:
        return ""
    flow = Flow(result.journeys[:SHOWN])
    order = field.places(result.cell.a, result.cell.b)
    left_out = len(result.journeys) - len(flow.journeys)
    more = Markup('<p class="quiet">… and {} more packets</p>').format(left_out) if left_out else ""
    return str(draw(flow, draw_flow(flow, order, result.began))) + more


def _pack(pictures: list[str]) -> Markup:
    return Markup(base64.b64encode(zlib.compress(json.dumps(pictures).encode(), 9)).decode())
