"""What `check` leaves for other programs: JSON and JUnit's XML. README.md says what is in them."""

from __future__ import annotations

import json
import sys
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from labs.check.outcome import Outcome, Verdict
from labs.results import xml_text
from topologies.model import Topology


@dataclass(slots=True)
class Checked:
    """One topology and what came of its expectations, in their order."""

    topology: Topology
    outcomes: list[Outcome] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def passed(self) -> bool:
        return all(outcome.verdict is Verdict.PASSED for outcome in self.outcomes)

    def count(self, verdict: Verdict) -> int:
        """How many ended so."""
        return sum(outcome.verdict is verdict for outcome in self.outcomes)


class CannotReport(Exception):
    """A report could not be written."""

    def __init__(self, error: OSError) -> None:
        super().__init__(str(error))
        self.error = error


class Reports:
    """The files that were asked for; `-` is stdout."""

    def __init__(self, junit: str | None = None, as_json: str | None = None) -> None:
        """OSError if one of them cannot be written."""
        self.on_stdout = "-" in (junit, as_json)
        self._junit, self._json = _open(junit), _open(as_json)

    def write(self, checked: Sequence[Checked]) -> None:
        """Write them; CannotReport if there is no room, for instance."""
        try:
            if self._junit is not None:
                _write_junit(checked, self._junit)
            if self._json is not None:
                _write_json(checked, self._json)
        except OSError as error:
            raise CannotReport(error) from error


def _open(path: str | None) -> IO[str] | None:
    if path is None:
        return None
    return sys.stdout if path == "-" else Path(path).open("w", encoding="utf-8")


def _write_json(checked: Sequence[Checked], file: IO[str]) -> None:
    """All of it, as one object."""
    whole = {"passed": all(c.passed for c in checked), "files": [_as_json(c) for c in checked]}
    json.dump(whole, file, indent=2, ensure_ascii=False)
    file.write("\n")
    file.flush()


def _write_junit(checked: Sequence[Checked], file: IO[str]) -> None:
    """A suite for each file, a case for each expectation."""
    suites = ET.Element("testsuites")
    for one in checked:
        suites.append(_suite(one))
    ET.indent(suites)
    file.write('<?xml version="1.0" encoding="utf-8"?>\n')
    file.write(ET.tostring(suites, encoding="unicode") + "\n")
    file.flush()


def _as_json(checked: Checked) -> dict[str, Any]:
    topology = checked.topology
    return {
        "file": str(topology.path),
        "title": topology.title,
        "passed": checked.passed,
        "seconds": round(checked.seconds, 3),
        "points": sum(
            o.expectation.points for o in checked.outcomes if o.verdict is Verdict.PASSED
        ),
        "of_points": sum(o.expectation.points for o in checked.outcomes),
        "checks": [
            {
                "line": outcome.expectation.line,
                "check": outcome.expectation.text,
                "verdict": outcome.verdict.value,
                "evidence": list(outcome.evidence),
                "message": outcome.expectation.message,
                "points": outcome.expectation.points,
                "seconds": round(outcome.seconds, 3),
            }
            for outcome in checked.outcomes
        ],
    }


def _suite(checked: Checked) -> ET.Element:
    path = str(checked.topology.path)
    suite = ET.Element(
        "testsuite",
        name=xml_text(path),
        tests=str(len(checked.outcomes)),
        failures=str(checked.count(Verdict.FAILED)),
        errors=str(checked.count(Verdict.ERROR)),
        time=f"{checked.seconds:.3f}",
    )
    for outcome in checked.outcomes:
        expectation = outcome.expectation
        case = ET.SubElement(
            suite,
            "testcase",
            classname=xml_text(checked.topology.name),
            name=xml_text(expectation.text),
            file=xml_text(path),
            line=str(expectation.line),
            time=f"{outcome.seconds:.3f}",
        )
        evidence = xml_text("\n".join(outcome.evidence))
        if outcome.verdict is Verdict.PASSED:
            ET.SubElement(case, "system-out").text = evidence
            continue
        kind = "failure" if outcome.verdict is Verdict.FAILED else "error"
        why = expectation.message or outcome.evidence[-1]
        ET.SubElement(case, kind, message=xml_text(why)).text = evidence
    return suite
