"""The table on the terminal: a line for each requirement, a mark for each candidate."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.console import Console
from rich.padding import Padding
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from napt_lab.labs.conformance.chapters import CHAPTERS
from napt_lab.labs.conformance.requirement import WORDS, Outcome
from napt_lab.labs.conformance.side_by_side import Examination
from napt_lab.labs.verdict.verdicts import Verdict

WIDTH = 100


def show(examinations: Sequence[Examination], console: Console) -> None:
    """Print the whole report."""
    if console.width > WIDTH:
        console.width = WIDTH
    rows = list(zip(*(examination.outcomes for examination in examinations), strict=True))
    for chapter in CHAPTERS:
        mine = [row for row in rows if row[0].requirement.rfc == chapter.rfc]
        if mine:
            console.print(Rule(f"RFC {chapter.rfc}: {chapter.title}", align="left"))
            console.print(_table(mine))
    for examination in examinations:
        _explain(examination, console)
    legend = ", ".join(f"{verdict.sign} {word}" for verdict, word in WORDS.items())
    console.print(f"\n{legend}", style="dim")
    for number, examination in enumerate(examinations, start=1):
        console.print(_summary(examination, number if len(examinations) > 1 else None))


def _table(rows: Sequence[Sequence[Outcome]]) -> Table:
    grid = Table.grid(padding=(0, 1), pad_edge=True)
    for _ in rows[0]:
        grid.add_column(min_width=1)
    grid.add_column(min_width=16)
    grid.add_column(min_width=11, style="dim")
    grid.add_column()
    for row in rows:
        requirement = row[0].requirement
        marks = [Text(outcome.verdict.sign, outcome.verdict.color) for outcome in row]
        grid.add_row(*marks, requirement.name, requirement.level, Text(requirement.words))
    return grid


def _explain(examination: Examination, console: Console) -> None:
    """Every deviation, failure and error, with the evidence."""
    told = [o for o in examination.outcomes if o.verdict in _EXPLAINED]
    if not told:
        return
    console.print()
    console.print(Rule(examination.name, align="left"))
    causes = {outcome.why for outcome in told if outcome.verdict is Verdict.ERROR}
    if len(causes) == 1 and len(told) == len(examination.outcomes):
        console.print(Text(f"Nothing could be tested: {causes.pop()}"), style="bold magenta")
        return
    for outcome in told:
        verdict, requirement = outcome.verdict, outcome.requirement
        name = f"RFC {requirement.rfc}, {requirement.name} ({requirement.level})"
        head = f"{verdict.sign} {name}: ", f"bold {verdict.color}"
        console.print(Text.assemble(head, requirement.words))
        for line in _reasons(outcome):
            console.print(Padding(Text(line), (0, 0, 0, 4)), style="dim")


_EXPLAINED = (Verdict.DEVIATION, Verdict.FAILED, Verdict.ERROR)


def _reasons(outcome: Outcome) -> Iterator[str]:
    yield outcome.why
    if outcome.verdict is Verdict.DEVIATION:
        yield f"seen: {outcome.evidence[-1] if outcome.evidence else 'nothing'}"
        yield f"what removes it: {outcome.removed_by}"
    else:
        yield from outcome.evidence[-3:]


def _summary(examination: Examination, number: int | None) -> Text:
    counts = ", ".join(
        f"{examination.count(verdict)} {word}"
        for verdict, word in WORDS.items()
        if examination.count(verdict)
    )
    column = f"column {number}: " if number else ""
    style = "bold green" if examination.passed else "bold red"
    return Text.assemble(
        (f"{column}{examination.name}", style), f": {counts} ({examination.seconds:.0f} s)"
    )
