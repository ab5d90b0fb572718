"""The grid on the terminal: for each method a row for each `a`, a column for each `b`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from rich.console import Console
from rich.padding import Padding
from rich.rule import Rule
from rich.text import Text

from napt_lab.labs.matrix.cell import Result
from napt_lab.labs.matrix.prediction import Method, Way
from napt_lab.labs.verdict.verdicts import Verdict, worst

TITLES = {
    Method.UDP: "UDP hole punching",
    Method.TCP: "TCP simultaneous open",
    Method.ICE: "ICE, with a relay at hand",
    Method.PROGRAMS: "Your programs, compared with what ICE would do",
}
SIGNS = {Way.DIRECT: ("●", "green"), Way.RELAYED: ("◐", "yellow"), Way.FAILS: ("×", "red")}
ORDER = "In each cell host a, which is behind the row's NAPT, begins; b is behind the column's."
DIFFERS = "bold reverse magenta"
TOLD = 20  # cells that differ, of which all is said


def show(results: Sequence[Result], console: Console) -> None:
    """Print the grids, and every cell that has not passed."""
    for method in dict.fromkeys(result.cell.method for result in results):
        mine = [result for result in results if result.cell.method is method]
        console.print(Rule(TITLES[method], align="left"))
        for line in _grid(mine, console.width):
            console.print(line, no_wrap=True, overflow="ignore", crop=False)
        console.print(f"{counted(mine)}.")
    wrong = [result for result in results if result.verdict is not Verdict.PASSED]
    for result in wrong[:TOLD]:
        _tell(result, console)
    if len(wrong) > TOLD:
        console.print(f"… and {len(wrong) - TOLD} more, in results.json", style="dim")
    legend = [f"{sign} {way}" for way, (sign, _) in SIGNS.items()]
    legend += [f"marked: {marked(results)}", "! could not be tried"]
    console.print(f"{ORDER} {', '.join(legend)}", style="dim")


def conclusion(results: Sequence[Result]) -> str:
    """One sentence on all cells. Programs of the user's need not do what was predicted."""
    match worst(result.verdict for result in results):
        case Verdict.ERROR:
            return "Not every cell could be tried."
        case Verdict.FAILED if _are_programs(results):
            return "Your programs did not succeed in every cell."
        case Verdict.FAILED:
            return "Not every cell is as predicted."
        case _ if _are_programs(results):
            return "Your programs succeeded in every cell."
    return "Every cell is as predicted."


def marked(results: Sequence[Result]) -> str:
    """What it means that a cell of theirs is marked."""
    return "your programs failed" if _are_programs(results) else "not as predicted"


def _are_programs(results: Sequence[Result]) -> bool:
    return any(result.cell.method is Method.PROGRAMS for result in results)


def counted(results: Sequence[Result]) -> str:
    """How many cells there are of each kind, as in `400 direct, 329 fails, all as predicted`."""
    by = " for ICE" if _are_programs(results) else ""
    ways = Counter(result.observed for result in results)
    words = [f"{ways[way]} {way}" for way in Way if ways[way]]
    words += [f"{ways[None]} could not be tried"] * bool(ways[None])
    differ = sum(result.observed not in (None, result.cell.predicted.way) for result in results)
    if differ:
        words.append(f"{differ} not as predicted{by}")
    elif ways[None] < len(results):
        words.append(f"{'the others' if ways[None] else 'all'} as predicted{by}")
    return ", ".join(words)


def _grid(results: Sequence[Result], width: int) -> Iterator[Text]:
    """The lines of a grid, in at most so many columns if that is possible."""
    columns = list(dict.fromkeys(result.cell.b.name for result in results))
    rows: dict[str, list[Text]] = {}
    for result in results:
        rows.setdefault(result.cell.a.name, []).append(_sign(result))
    left = max(map(len, rows)) + len("12 ")
    gap = Text(" " if left + 2 * len(columns) <= width else "")
    numbers = {name: f"{number:2}" for number, name in enumerate(columns, 1)}
    for digit in (0, 1) if len(columns) > 9 else (1,):
        head = gap.join(Text(number[digit], "dim") for number in numbers.values())
        yield Text(" " * (left + 1)).append_text(head)
    for name, signs in rows.items():
        yield Text(f"{numbers[name]} {name}".ljust(left + 1)).append_text(gap.join(signs))


def _sign(result: Result) -> Text:
    if result.observed is None:
        return Text("!", DIFFERS)
    sign, color = SIGNS[result.observed]
    return Text(sign, color if result.verdict is Verdict.PASSED else DIFFERS)


def _tell(result: Result, console: Console) -> None:
    cell, seen = result.cell, result.observed or f"not tried: {result.trouble}"
    head = f"{cell.method}: {cell.a.name} and {cell.b.name}: predicted {cell.predicted.way}, {seen}"
    console.print(Text(f"{result.verdict.sign} {head}", f"bold {result.verdict.color}"))
    for line in (cell.predicted.why, *result.evidence):
        console.print(Padding(Text(line), (0, 0, 0, 4)), style="dim")
