"""JUnit's XML: what a run found, in the form that CI systems read.

A check that did not hold is a `failure`, one that could not be made an `error`, one that does not
apply is `skipped`. A deliberate deviation passes, and its text says why.
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from napt_lab.labs.verdict.verdicts import Verdict

_KINDS = {
    Verdict.FAILED: "failure",
    Verdict.ERROR: "error",
    Verdict.NOT_APPLICABLE: "skipped",
}
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


@dataclass(frozen=True, slots=True)
class Case:
    """One check. `why` is one line, `text` all that was seen; `line` is in the suite's file."""

    group: str
    name: str
    verdict: Verdict
    why: str = ""
    text: str = ""
    seconds: float | None = None
    line: int | None = None
    points: tuple[int, int] | None = None  # got, and of how many


@dataclass(frozen=True, slots=True)
class Suite:
    """The checks of one lab, file or candidate. `file`, if any, is where its cases are written."""

    name: str
    seconds: float
    cases: Sequence[Case]
    file: str | None = None
    complaints: str = ""  # of the program that was examined


def junit(suites: Iterable[Suite]) -> str:
    """The whole XML document."""
    root = ET.Element("testsuites")
    root.extend(map(_suite, suites))
    ET.indent(root)
    return f'<?xml version="1.0" encoding="utf-8"?>\n{ET.tostring(root, encoding="unicode")}\n'


def write_junit(path: Path, suites: Iterable[Suite]) -> None:
    """Write the document to a file. Raises OSError."""
    path.write_text(junit(suites), encoding="utf-8")


def _suite(suite: Suite) -> ET.Element:
    verdicts = [case.verdict for case in suite.cases]
    element = ET.Element(
        "testsuite",
        name=_text(suite.name),
        tests=str(len(verdicts)),
        failures=str(verdicts.count(Verdict.FAILED)),
        errors=str(verdicts.count(Verdict.ERROR)),
        skipped=str(verdicts.count(Verdict.NOT_APPLICABLE)),
        time=f"{suite.seconds:.3f}",
    )
    element.extend(_case(case, suite.file) for case in suite.cases)
    if suite.complaints:
        ET.SubElement(element, "system-err").text = _text(suite.complaints)
    return element


def _case(case: Case, file: str | None) -> ET.Element:
    element = ET.Element("testcase", classname=_text(case.group), name=_text(case.name))
    if file is not None:
        element.set("file", _text(file))
    if case.line is not None:
        element.set("line", str(case.line))
    if case.seconds is not None:
        element.set("time", f"{case.seconds:.3f}")
    if case.points is not None:
        properties = ET.SubElement(element, "properties")
        for name, number in zip(("points", "of"), case.points, strict=True):
            ET.SubElement(properties, "property", name=name, value=str(number))
    kind = _KINDS.get(case.verdict)
    if kind is None:
        ET.SubElement(element, "system-out").text = _text(case.text)
    else:
        ET.SubElement(element, kind, message=_text(case.why)).text = _text(case.text)
    return element


def _text(text: str) -> str:
    """`text` without the characters that XML cannot contain, not even escaped."""
    return _NOT_XML.sub("�", text)
