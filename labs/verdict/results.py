"""What a run leaves behind for other programs: results.json, junit.xml, events.jsonl.

results.json is a stable interface; junit.xml says the same in the form that CI systems read.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from napt_lab.labs.records.stream import Record
from napt_lab.labs.verdict.junit import Case, Suite, write_junit
from napt_lab.labs.verdict.verdicts import Verdict, verdict_of

LEFT_OUT = 1 << 30  # the number of a step that was not reached: behind all others
PREDICTION = ("step", "ask", "said", "seen", "right", "belief", "evidence", "expected")


@dataclass(slots=True)
class _Step:
    """What is known of a step, from its beginning to where it begins again."""

    number: int
    title: str
    checks: list[dict[str, Any]] = field(default_factory=list)
    cases: list[Case] = field(default_factory=list)


class Results:
    """What a run has done so far, from its stream; `write` may be called at any moment."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._events = (folder / "events.jsonl").open("w", encoding="utf-8")
        self._head: dict[str, Any] = {"lab": "", "topology": "", "engine": ""}
        self._parts: dict[str, int] = {}  # to its first step
        self._steps: list[_Step] = []
        self._predictions: dict[int, dict[str, Any]] = {}  # by the step
        self._error: list[Case] = []
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
                first = record["first"]  # of this part on, everything is void if it begins again
                self._parts = {name: n for name, n in self._parts.items() if n < first}
                self._parts[record["part"]] = first
                self._steps = [step for step in self._steps if step.number < first]
            case "step":
                self._steps.append(_Step(record["number"] or LEFT_OUT, record["title"]))
            case "check":
                self._add_check(record)
            case "prediction" | "remembered":
                told = {key: record[key] for key in PREDICTION}
                nothing = {key: None for key in ("said", "seen") if not record[key]}
                self._predictions[record["step"]] = told | nothing
            case "end":
                self.passed, self._seconds = record["passed"], record["seconds"]
                if record["error"]:
                    text = "the network runs to the end"
                    self._error = [Case("network", text, Verdict.ERROR, record["error"])]

    def write(self) -> None:
        """Write all files; the events are there already. OSError if anything is missing."""
        self._events.close()
        if self._unwritten is not None:
            raise self._unwritten
        (self._folder / "results.json").write_text(
            json.dumps(self.as_json(), indent=2, ensure_ascii=False) + "\n", encoding="utf-8"
        )
        cases = [case for step in self._steps for case in step.cases]
        suite = Suite(f"lab {self._head['lab']}", self._seconds, [*cases, *self._error])
        write_junit(self._folder / "junit.xml", [suite])

    def as_json(self) -> dict[str, Any]:
        """The stable interface."""
        return {
            **self._head,
            "parts": list(self._parts),  # that were begun
            "passed": self.passed,
            "seconds": self._seconds,
            "steps": [{"title": step.title, "checks": step.checks} for step in self._steps],
            "predictions": [self._predictions[step] for step in sorted(self._predictions)],
        }

    def _add_check(self, record: Record) -> None:
        check = {key: record[key] for key in ("claim", "text", "passed")}
        check["evidence"] = "; ".join(record["evidence"])
        if not self._steps:
            self._steps.append(_Step(0, "before the first step"))
        step = self._steps[-1]
        step.checks.append(check)
        verdict = verdict_of(passed=record["passed"], broken=record["broken"])
        text = check["evidence"] if record["passed"] else f"in step: {step.title}"
        step.cases.append(Case(check["claim"], check["text"], verdict, check["evidence"], text))
