"""The marks of a class as a page: a table, and what was seen of each student's work.

One file that loads nothing; a policy in it forbids it to. What students and programs have written
is text and is escaped.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from markupsafe import Markup

from napt_lab.labs.classroom.marked import Marked
from napt_lab.labs.report.page import policy, style
from napt_lab.labs.report.templates import templates
from napt_lab.labs.verdict.verdicts import Verdict

_HERE = Path(__file__).parent


def write_mark_page(path: Path, title: str, marked: Sequence[Marked]) -> None:
    """Raises OSError."""
    page = templates(_HERE).get_template("mark_page.html")
    text = page.render(
        title=title,
        marked=marked,
        failed=[one for one in marked if one.error],
        verdicts={verdict.value: verdict for verdict in Verdict},
        when=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        style=Markup(style()),
        policy=policy([style()], []),
    )
    path.write_text(text, encoding="utf-8")
