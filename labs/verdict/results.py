"""What a run leaves behind for other programs: results.json, junit.xml, events.jsonl.

results.json is a stable interface; junit.xml says the same in the form that CI systems read.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from napt_lab.labs.records.stream import Record
from napt_lab.labs.verdict.junit import Case, Suite, write_junit
from napt_lab.labs.verdict.verdicts import Verdict, verdict_of


class Results:
    """What a run has done so far, from its stream; `write` may be called at any moment."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._events = (folder / "events.jsonl").open("w", encoding="utf-8")
        self._head: dict[str, Any] = {"lab": "", "topology": "", "engine": ""}
        self._parts: list[str] = []
        self._steps: list[dict[str, Any]] = []
        self._cases: list[Case] = []
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
                if record["error"]:
                    text = "the network runs to the end"
                    self._cases.append(Case("network", text, Verdict.ERROR, record["error"]))

    def write(self) -> None:
        """Write all files; the events are there already. OSError if anything is missing."""
        self._events.close()
        if self._unwritten is not None:
            raise self._unwritten
        (self._folder / "results.json").write_text(
            json.dumps(self.as_json(), indent=2, ensure_ascii=False) + "\n", encoding="utf-8"
        )
        suite = Suite(f"lab {self._head['lab']}", self._seconds, self._cases)
        write_junit(self._folder / "junit.xml", [suite])

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
        step = self._steps[-1]
        step["checks"].append(check)
        verdict = verdict_of(passed=record["passed"], broken=record["broken"])
        text = check["evidence"] if record["passed"] else f"in step: {step['title']}"
        self._cases.append(Case(check["claim"], check["text"], verdict, check["evidence"], text))
