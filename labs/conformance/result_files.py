"""What a run leaves for other programs: results.json and junit.xml.

results.json is a stable interface: for each candidate its gateway's keys and, for each
requirement, id, RFC, name, level, words, verdict, why, removed_by, evidence and seconds.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from napt_lab.labs.conformance.requirement import WORDS, Outcome
from napt_lab.labs.conformance.side_by_side import Examination, as_json
from napt_lab.labs.verdict.junit import Case, Suite, write_junit


def results(examinations: Sequence[Examination]) -> dict[str, Any]:
    """The stable interface."""
    return {
        "passed": all(examination.passed for examination in examinations),
        "candidates": [
            {
                "name": examination.name,
                "gateway": dict(examination.setup.candidate.gateway),
                "passed": examination.passed,
                "seconds": round(examination.seconds, 3),
                "counts": {word: examination.count(verdict) for verdict, word in WORDS.items()},
                "requirements": [as_json(outcome) for outcome in examination.outcomes],
            }
            for examination in examinations
        ],
    }


def write(examinations: Sequence[Examination], folder: Path) -> None:
    """Both files. OSError if one cannot be written."""
    text = json.dumps(results(examinations), indent=2, ensure_ascii=False)
    (folder / "results.json").write_text(text + "\n", encoding="utf-8")
    write_junit(folder / "junit.xml", map(_suite, examinations))


def _suite(examination: Examination) -> Suite:
    name = f"conformance: {examination.name}"
    return Suite(name, examination.seconds, list(map(_case, examination.outcomes)))


def _case(outcome: Outcome) -> Case:
    requirement = outcome.requirement
    word = WORDS[outcome.verdict]
    lines = [f"{word}: {outcome.why}" if outcome.why else word, *outcome.evidence]
    return Case(
        f"rfc{requirement.rfc}",
        f"{requirement.name} {requirement.level} {requirement.words}",
        outcome.verdict,
        outcome.why,
        "\n".join(lines),
        outcome.seconds,
    )
