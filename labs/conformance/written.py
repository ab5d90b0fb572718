"""docs/conformance.md: the side-by-side table in words, made by `conformance --docs`.

It leaves out what differs from run to run (ports, seconds), so that it changes only with a verdict
or with the words of a requirement.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from napt_lab.labs.conformance.chapters import CHAPTERS
from napt_lab.labs.conformance.requirement import WORDS, Outcome
from napt_lab.labs.conformance.side_by_side import Examination
from napt_lab.labs.verdict.verdicts import Verdict

PATH = Path(__file__).resolve().parents[2] / "docs" / "conformance.md"

_INTRODUCTION = """# Conformance, requirement by requirement

`make conformance` tries on real packets what RFC 4787 (UDP), RFC 5382 (TCP), RFC 5508 (ICMP), RFC 7857 (updates) and RFC 6888 (carrier-grade NAT) ask of a NAPT, whether a client finds what is set (RFC 5780), and what RFC 3022 and the RFCs of the headers say of the fields that it must and must not change. The evidence for each row is in `runs/conformance/report.html` after a run. One requirement alone: `make conformance ONLY="RFC 4787, REQ-1"`, or with a part of an id all that have it, as in `ONLY=5382`.

This table is written by `napt-lab conformance {arguments}`; do not edit it by hand. A test runs the same again and compares the verdicts.

{legend}

"""  # noqa: E501
_LEGEND = {
    Verdict.PASSED: "met, and seen to be met",
    Verdict.DEVIATION: "not met, on purpose: the reason, and the setting that removes it, "
    "are below the table",
    Verdict.FAILED: "not met",
    Verdict.NOT_APPLICABLE: "does not apply to such a NAPT, for the reason below",
    Verdict.ERROR: "could not be tested",
}


def document(examinations: Sequence[Examination], arguments: str) -> str:
    """The whole file."""
    legend = "\n".join(f"- **{WORDS[verdict]}**: {what}" for verdict, what in _LEGEND.items())
    parts = [_INTRODUCTION.format(arguments=arguments, legend=legend)]
    rows = list(zip(*(examination.outcomes for examination in examinations), strict=True))
    names = [examination.name for examination in examinations]
    for chapter in CHAPTERS:
        mine = [row for row in rows if row[0].requirement.rfc == chapter.rfc]
        parts.append(f"## RFC {chapter.rfc}: {chapter.title}\n\n{_table(mine, names)}\n")
        parts.append(_notes(mine))
    return "\n".join(part for part in parts if part).rstrip() + "\n"


def _table(rows: Sequence[Sequence[Outcome]], names: Sequence[str]) -> str:
    lines = [
        f"| | level | what it asks | {' | '.join(names)} |",
        f"|---|---|---|{'---|' * len(names)}",
    ]
    for row in rows:
        requirement = row[0].requirement
        verdicts = " | ".join(WORDS[outcome.verdict] for outcome in row)
        lines.append(
            f"| {requirement.name} | {requirement.level} | {requirement.words} | {verdicts} |"
        )
    return "\n".join(lines)


def _notes(rows: Sequence[Sequence[Outcome]]) -> str:
    """Why rows deviate or do not apply: the declared reasons, not the evidence of one run."""
    notes: dict[str, None] = {}
    for row in rows:
        for outcome in row:
            name = outcome.requirement.name
            if outcome.verdict is Verdict.DEVIATION:
                removed = f"Removed by: {outcome.removed_by}."
                notes[f"- **{name}**, deliberate deviation: {outcome.why}. {removed}"] = None
            elif outcome.verdict is Verdict.NOT_APPLICABLE:
                notes[f"- **{name}**, not applicable: {outcome.why}."] = None
    return "\n".join(notes) + "\n" if notes else ""


def verdicts(text: str) -> dict[tuple[str, str], list[str]]:
    """The verdicts in such a file: for each RFC's heading and requirement, one a column."""
    found: dict[tuple[str, str], list[str]] = {}
    heading = ""
    for line in text.splitlines():
        if line.startswith("## "):
            heading = line[3:]
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if line.startswith("| ") and len(cells) > 3 and cells[1] != "level":
            found[(heading, cells[0])] = cells[3:]
    return found
