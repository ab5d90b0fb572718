"""What a run leaves behind for other programs: results.json, junit.xml, events.jsonl.

results.json is a stable interface; junit.xml says the same in the form that CI systems read,
where a check that could not be made is an `error` and one that did not hold a `failure`.
"""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

from napt_lab.labs.records.stream import Record

_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


class Results:
    """Collects a run from its stream, and writes it at any moment as far as it has come."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._events = (folder / "events.jsonl").open("w", encoding="utf-8")
        self._head: dict[str, Any] = {"lab": "", "topology": "", "engine": ""}
        self._parts: list[str] = []
        self._steps: list[dict[str, Any]] = []
        self._broken: set[int] = set()  # id() of checks that could not be made
        self._unwritten: OSError | None = None  # why events are missing
        self.passed = False
        self._seconds = 0.0

    def __call__(self, record: Record) -> None:
        """Listen to the stream."""
        try:
            self._events.write(json.dumps(record, default=str) + "\n")
        except OSError as error:  # the lab goes on; `write` tells
            self._unwritten = error
        match record["event"]:
            case "lab":
                self._head["lab"] = record["lab"]
            case "part":
                if not self._parts:
                    self._head |= {"topology": record["topology"], "engine": record["engine"]}
                self._parts.append(record["part"])
            case "step":
                self._steps.append({"title": record["title"], "checks": []})
            case "check":
                self._add_check(record)
            case "end":
                self.passed, self._seconds = record["passed"], record["seconds"]

    def write(self) -> None:
        """Write all files; the events are there already. OSError if anything is missing."""
        self._events.close()
        if self._unwritten is not None:
            raise self._unwritten
        (self._folder / "results.json").write_text(
            json.dumps(self.as_json(), indent=2, ensure_ascii=False) + "\n", encoding="utf-8"
        )
        tree = ET.ElementTree(self._junit())
        ET.indent(tree)
        tree.write(self._folder / "junit.xml", encoding="utf-8", xml_declaration=True)

    def as_json(self) -> dict[str, Any]:
        """The stable interface."""
        return {
            **self._head,
            "parts": self._parts,  # that were begun
            "passed": self.passed,
            "seconds": self._seconds,
            "steps": self._steps,
        }

    def _add_check(self, record: Record) -> None:
        check = {key: record[key] for key in ("claim", "text", "passed")}
        check["evidence"] = "; ".join(record["evidence"])
        if not self._steps:
            self._steps.append({"title": "before the first step", "checks": []})
        self._steps[-1]["checks"].append(check)
        if record["broken"]:
            self._broken.add(id(check))

    def _junit(self) -> ET.Element:
        name = f"lab {self._head['lab']}"
        suite = ET.Element("testsuite", name=name, time=str(self._seconds))
        counts = {"tests": 0, "failures": 0, "errors": 0}
        for step in self._steps:
            for check in step["checks"]:
                case = ET.SubElement(
                    suite,
                    "testcase",
                    classname=xml_text(check["claim"]),
                    name=xml_text(check["text"]),
                )
                counts["tests"] += 1
                if check["passed"]:
                    ET.SubElement(case, "system-out").text = xml_text(check["evidence"])
                    continue
                kind = "error" if id(check) in self._broken else "failure"
                counts[f"{kind}s"] += 1
                trouble = ET.SubElement(case, kind, message=xml_text(check["evidence"]))
                trouble.text = xml_text(f"in step: {step['title']}")
        suite.attrib.update({key: str(count) for key, count in counts.items()})
        suites = ET.Element("testsuites")
        suites.append(suite)
        return suites


def xml_text(text: str) -> str:
    """`text` as XML can say it: XML has no way to say some characters, not even escaped."""
    return _NOT_XML.sub("�", text)
