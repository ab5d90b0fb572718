"""What a matrix leaves for other programs: results.json and junit.xml.

results.json is a stable interface: the types, and for each cell `a`, `b`, `method`, `predicted`,
`observed` (null if it could not be tried), `why` (the model's reason), `evidence` and `seconds`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from napt_lab.labs.matrix.cell import Result
from napt_lab.labs.matrix.field import Field
from napt_lab.labs.verdict.junit import Case, Suite, write_junit
from napt_lab.labs.verdict.verdicts import Verdict


def write(results: Sequence[Result], field: Field, folder: Path) -> None:
    """Both files. OSError if one cannot be written."""
    text = json.dumps(_as_json(results, field), indent=1, ensure_ascii=False)
    (folder / "results.json").write_text(text + "\n", encoding="utf-8")
    write_junit(folder / "junit.xml", _suites(results))


def _as_json(results: Sequence[Result], field: Field) -> dict[str, Any]:
    return {
        "passed": all(result.verdict is Verdict.PASSED for result in results),
        "behind_carrier": field.behind_carrier,
        "types": [{"name": type_.name, "gateway": dict(type_.keys)} for type_ in field.types],
        "cells": [
            {
                "a": result.cell.a.name,
                "b": result.cell.b.name,
                "method": result.cell.method.value,
                "predicted": result.cell.predicted.way.value,
                "observed": result.observed and result.observed.value,
                "why": result.cell.predicted.why,
                "evidence": list(result.evidence),
                "seconds": round(result.seconds, 3),
            }
            for result in results
        ],
    }


def _suites(results: Sequence[Result]) -> Iterator[Suite]:
    for method in dict.fromkeys(result.cell.method for result in results):
        mine = [result for result in results if result.cell.method is method]
        seconds = sum(result.seconds for result in mine)
        yield Suite(f"matrix: {method}", seconds, list(map(_case, mine)))


def _case(result: Result) -> Case:
    cell = result.cell
    predicted = f"predicted {cell.predicted.way}: {cell.predicted.why}"
    seen = f"observed {result.observed}" if result.observed else result.trouble
    why = f"{seen}; {predicted}"
    text = "\n".join([predicted, seen, *result.evidence])
    name = f"{cell.a.name} and {cell.b.name}"
    return Case(cell.method.value, name, result.verdict, why, text, result.seconds)
