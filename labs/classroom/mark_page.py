"""The marks of a class as a page: a table, and what was seen of each student's work.

One file that loads nothing; a policy in it forbids it to. What students and programs have written
is text and is escaped.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from napt_lab.labs.classroom.marked import Marked
from napt_lab.labs.report.page import policy, style, visible
from napt_lab.labs.verdict.verdicts import Verdict

_HERE = Path(__file__).parent


def write_mark_page(path: Path, title: str, marked: Sequence[Marked]) -> None:
    """Raises OSError."""
    environment = Environment(
        loader=FileSystemLoader(_HERE), autoescape=True, undefined=StrictUndefined,
        finalize=visible, trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    text = environment.get_template("mark_page.html").render(
        title=title,
        marked=marked,
        failed=[one for one in marked if one.error],
        verdicts={verdict.value: verdict for verdict in Verdict},
        when=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        style=Markup(style()),
        policy=policy([style()], []),
    )
    path.write_text(text, encoding="utf-8")
