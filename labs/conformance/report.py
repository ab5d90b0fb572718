"""What a run leaves for other programs: results.json and junit.xml.

results.json is a stable interface: for each candidate its gateway's keys and, for each
requirement, id, RFC, name, level, words, verdict, why, removed_by, evidence and seconds. In
junit.xml a requirement that failed is a failure, one that could not be probed an error, one that
does not apply is skipped; a deliberate deviation passes, with its reason.
"""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from napt_lab.labs.conformance.requirement import Outcome, Verdict
from napt_lab.labs.conformance.side_by_side import Examination, as_json
from napt_lab.labs.verdict.results import xml_text


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
                "counts": {verdict.value: examination.count(verdict) for verdict in Verdict},
                "requirements": [as_json(outcome) for outcome in examination.outcomes],
            }
            for examination in examinations
        ],
    }


def write(examinations: Sequence[Examination], folder: Path) -> None:
    """Both files. OSError if one cannot be written."""
    text = json.dumps(results(examinations), indent=2, ensure_ascii=False)
    (folder / "results.json").write_text(text + "\n", encoding="utf-8")
    suites = ET.Element("testsuites")
    suites.extend(_suite(examination) for examination in examinations)
    tree = ET.ElementTree(suites)
    ET.indent(tree)
    tree.write(folder / "junit.xml", encoding="utf-8", xml_declaration=True)


def _suite(examination: Examination) -> ET.Element:
    suite = ET.Element(
        "testsuite",
        name=xml_text(f"conformance: {examination.name}"),
        tests=str(len(examination.outcomes)),
        failures=str(examination.count(Verdict.FAIL)),
        errors=str(examination.count(Verdict.ERROR)),
        skipped=str(examination.count(Verdict.NOT_APPLICABLE)),
        time=f"{examination.seconds:.3f}",
    )
    suite.extend(_case(outcome) for outcome in examination.outcomes)
    return suite


_KINDS = {
    Verdict.FAIL: "failure",
    Verdict.ERROR: "error",
    Verdict.NOT_APPLICABLE: "skipped",
}


def _case(outcome: Outcome) -> ET.Element:
    requirement = outcome.requirement
    case = ET.Element(
        "testcase",
        classname=f"rfc{requirement.rfc}",
        name=xml_text(f"{requirement.name} {requirement.level} {requirement.words}"),
        time=f"{outcome.seconds:.3f}",
    )
    if outcome.verdict in _KINDS:
        ET.SubElement(case, _KINDS[outcome.verdict], message=xml_text(outcome.why))
    lines = [f"{outcome.verdict.value}: {outcome.why}" if outcome.why else outcome.verdict.value]
    ET.SubElement(case, "system-out").text = xml_text("\n".join([*lines, *outcome.evidence]))
    return case
