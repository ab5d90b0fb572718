"""report.html: the table for a browser, on a phone, in the dark, on paper.

One file that loads nothing; a policy in it forbids it to. Everything that came from a wire or a
program is text and is escaped.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from markupsafe import Markup

from napt_lab.labs.conformance.chapters import CHAPTERS
from napt_lab.labs.conformance.requirement import WORDS
from napt_lab.labs.conformance.side_by_side import Examination
from napt_lab.labs.report.page import policy
from napt_lab.labs.report.page import style as house_style
from napt_lab.labs.report.templates import templates
from napt_lab.labs.verdict.verdicts import verdict_of

_HERE = Path(__file__).parent


def write_page(examinations: Sequence[Examination], folder: Path) -> Path:
    """Write the page; returns its path."""
    path = folder / "report.html"
    path.write_text(render(examinations), encoding="utf-8")
    return path


def render(examinations: Sequence[Examination]) -> str:
    """The page as text."""
    environment = templates(_HERE)
    style = house_style() + (_HERE / "table_page.css").read_text(encoding="utf-8")
    rows = list(zip(*(examination.outcomes for examination in examinations), strict=True))
    return environment.get_template("table_page.html").render(
        examinations=examinations,
        chapters=[
            (chapter, [row for row in rows if row[0].requirement.rfc == chapter.rfc])
            for chapter in CHAPTERS
        ],
        words=WORDS,
        columns=f"of-{min(len(examinations), 4)}",
        verdict=verdict_of(passed=all(examination.passed for examination in examinations)),
        when=datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S UTC"),
        style=Markup(style),
        policy=policy([style], []),
    )
