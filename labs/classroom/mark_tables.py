"""The marks of a class as tables: lines, CSV, Gradescope's results.json, JUnit, JSON.

What could not be marked has no number in any of them.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from dataclasses import asdict
from itertools import zip_longest
from pathlib import Path
from typing import Any

from napt_lab.labs.classroom.marked import Marked, PartMarks
from napt_lab.labs.verdict.junit import Case, Suite, write_junit
from napt_lab.labs.verdict.verdicts import Verdict

ERROR = "error"
#: With these a cell is a formula for a spreadsheet (OWASP, "CSV injection"), which would run it.
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")


def as_lines(marked: Sequence[Marked]) -> list[str]:
    """For a terminal: one line for each student."""
    parts = [part.name for part in marked[0].parts] if marked else []
    rows = [["student", *parts, "points", "of"]]
    for one in marked:
        points = [ERROR if part.error else str(part.points) for part in one.parts]
        rows.append([one.id, *points, ERROR if one.error else str(one.points), str(one.of)])
    widths = [max(map(len, column)) for column in zip_longest(*rows, fillvalue="")]
    return ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]


def write_csv(path: Path, marked: Sequence[Marked]) -> None:
    """One row for each student. Raises OSError."""
    parts = [part.name for part in marked[0].parts] if marked else []
    with path.open("w", encoding="utf-8-sig", newline="") as file:  # Excel knows UTF-8 by its mark
        rows = csv.writer(file)
        rows.writerow(["name", "id", *parts, "points", "of", "messages"])
        for one in marked:
            points = [ERROR if part.error else part.points for part in one.parts]
            total = ERROR if one.error else one.points
            words = map(harmless, (one.name, one.id))
            said = harmless(" | ".join(" ".join(text.split()) for text in one.messages))
            rows.writerow([*words, *points, total, one.of, said])


def harmless(cell: str) -> str:
    """The text of a cell, such that no spreadsheet takes it for a formula."""
    return f"'{cell}" if cell.startswith(_FORMULA) else cell


def write_gradescope(path: Path, marked: Sequence[Marked]) -> list[Path]:
    """Gradescope's form, which holds one submission; of several, each in a folder named as `path`.

    What could not be marked has no file: Gradescope shows that its autograder failed. Raises
    OSError. Returns what was written.
    """
    sound = [one for one in marked if not one.error]
    if len(marked) == 1:
        places = [path][: len(sound)]
    else:
        folder = path.with_suffix("")
        folder.mkdir(exist_ok=True)
        places = [folder / f"{one.id}.json" for one in sound]
    for place, one in zip(places, sound, strict=True):
        place.write_text(json.dumps(gradescope(one), indent=2, ensure_ascii=False), "utf-8")
    return places


def gradescope(marked: Marked) -> dict[str, Any]:
    """One submission in the form of https://gradescope-autograders.readthedocs.io (specs)."""
    return {
        "score": marked.points,
        "execution_time": round(sum(part.seconds for part in marked.parts)),
        "output": "\n".join(marked.said) or f"{marked.points} of {marked.of} points",
        "tests": [
            {
                "name": f"{part.name}: {check['text']}",
                "number": f"{number}.{nth}",
                "score": check["points"],
                "max_score": check["of"],
                "status": "passed" if check["verdict"] == Verdict.PASSED.value else "failed",
                "output": _said(part, check, first=nth == 1),
            }
            for number, part in enumerate(marked.parts, start=1)
            for nth, check in enumerate(part.checks, start=1)
        ],
    }


def _said(part: PartMarks, check: dict[str, Any], *, first: bool) -> str:
    own = [] if check["verdict"] == Verdict.PASSED.value else [check["message"], *check["evidence"]]
    return "\n".join(filter(None, [*own, *(part.messages if first else ())]))


def write_marks_junit(path: Path, marked: Sequence[Marked]) -> None:
    """A suite for each student, a case for each assertion, with its points. Raises OSError."""
    write_junit(path, map(_suite, marked))


def _suite(marked: Marked) -> Suite:
    cases = [
        Case(
            part.name,
            check["text"],
            Verdict(check["verdict"]),
            check["message"] or "it does not hold",
            "\n".join((*check["evidence"], *part.messages)),
            points=(check["points"], check["of"]),
        )
        for part in marked.parts
        for check in part.checks
    ]
    name = " ".join(filter(None, (marked.id, marked.name)))
    return Suite(
        name, sum(part.seconds for part in marked.parts), cases, complaints="\n".join(marked.said)
    )


def write_marks_json(path: Path, marked: Sequence[Marked]) -> None:
    """All that is known. Raises OSError."""
    told = [asdict(one) | {"points": one.points, "of": one.of} for one in marked]
    path.write_text(json.dumps(told, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
