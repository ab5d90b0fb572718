"""The rows as a table: a bar for each engine, and whether the targets are reached."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Literal

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from napt_lab.labs.bench.figures import OURS, Figure, Row
from napt_lab.labs.verdict.verdicts import verdict_of

BAR = 20  # characters of the longest bar in a row
_WIDTHS = (18, 8, 5, BAR, 0, 0)
_JUSTIFY: tuple[Literal["left", "right"], ...] = ("left", "right", "right", "left", "left", "left")
_EIGHTHS = " ▏▎▍▌▋▊▉█"


def table(rows: Iterable[Row]) -> Group:
    """The rows one below the other: a line for each engine, and one for each target."""
    return Group(*(part for row in rows for part in _show(row)))


def _show(row: Row) -> Iterator[RenderableType]:
    figures = row.figures
    longest = max((figure.median for figure in figures.values()), default=0.0)
    better = "" if row.more_is_better else " (less is better)"
    yield Text(f"\n{row.title}, {row.unit}{better}", style="bold")
    grid = Table.grid(padding=(0, 1), pad_edge=True)
    for width, justify in zip(_WIDTHS, _JUSTIFY, strict=True):
        grid.add_column(min_width=width, justify=justify)
    for engine, figure in figures.items():
        style = "cyan" if engine == OURS else ""
        repeated = len(figure.values) > 1
        grid.add_row(
            Text(engine, style=style),
            number(figure.median),
            f"±{figure.spread / 2:.0%}" if repeated else "",
            Text(bar(figure.median, longest), style=style),
            "" if engine == OURS else _ratio(figures.get(OURS), figure),
            Text(row.notes.get(engine, ""), style="dim"),
        )
    yield grid
    for target in row.targets:
        met = target.met(figures)
        verdict = verdict_of(passed=met is True, broken=met is None)
        yield Text(f" {verdict.sign} {target.text(row.unit)}", style=verdict.color)


def _ratio(ours: Figure | None, other: Figure) -> str:
    if ours is None or not all(other.values):
        return ""
    return f"{OURS} {number(ours.ratio_to(other))}×"


def bar(value: float, longest: float) -> str:
    """A bar as long as `value` is of `longest`, to an eighth of a character."""
    if longest <= 0:
        return ""
    eighths = round(BAR * 8 * value / longest)
    return "█" * (eighths // 8) + _EIGHTHS[eighths % 8].strip()


def number(value: float) -> str:
    """Three significant digits, thousands apart."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"
