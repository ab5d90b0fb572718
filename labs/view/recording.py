"""Makes the page's records of a run's stream; bounded for each step.

A rule's life comes from its NAPT's own events, and before and after each step from the NAPT's
table as the control socket gives it. Where a step makes more rules than RULES_KEPT, the tables
alone tell how many there are.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from napt_lab.labs.records.stream import PROMPT, Record
from napt_lab.labs.report.story import Drop
from napt_lab.labs.stage.prediction import exercise_command
from napt_lab.labs.verdict.verdicts import Verdict, counted, verdict_of, worst_of_each
from napt_lab.labs.view.layout import picture_of
from napt_lab.topologies.network.napt_control import PROGRAM
from napt_lab.topologies.network.programs import FIREWALL
from napt_lab.topologies.network.slow_links import PROGRAM as LINK
from napt_lab.topologies.spec.loader import load

RULES_KEPT, WORDS_KEPT = 400, 120  # of a step: rules made and ended; everything else
LINES_KEPT, LINE_KEPT = 40, 400  # of a text: lines, and characters of each
DROPS_KEPT = 500  # of a step: reports of dropped packets
RULE = ("id", "protocol", "internal", "external", "remote", "explicit", "made_by", "created",
        "packets_out", "packets_in")  # fmt: skip


class Recording:
    """Listens to a run's stream. `listener`, if there is one, is called with each record."""

    def __init__(self, listener: Callable[[Record], None] | None = None) -> None:
        self.began = 0.0  # seconds since 1970
        self.records: list[Record] = []
        self.marks: list[tuple[str, str, float]] = []  # captures: path of topology, file, since
        self.drops: list[Drop] = []
        self.ended = 0.0
        self._listener = listener
        self._kept: Counter[str] = Counter()
        self._step = 0
        self._parts: list[tuple[int, float, int]] = []  # first step, when, after how many records
        self._checks: list[tuple[int, str, Verdict]] = []  # its step and claim

    def __call__(self, record: Record) -> None:
        """Take in one event."""
        event, time = record["event"], record["time"]
        self.began = self.began or time
        if event == "working":
            if self._kept and self.marks:
                self.marks.append((*self.marks[-1][:2], time))
            self._kept.clear()
        elif event == "end":
            self.ended = time
        make = getattr(self, f"_of_{event}", None)
        if make is not None:
            for kind, fields in make(record):
                self._keep({"kind": kind, "t": self.since_began(time), **fields})

    def since_began(self, seconds: float) -> float:
        """A wall time as the page counts it: milliseconds since the run began."""
        return round((seconds - self.began) * 1000, 3)

    def _keep(self, record: Record) -> None:
        self.records.append(record)
        if self._listener is not None:
            self._listener(record)

    def _room(self, what: str, limit: int) -> bool:
        self._kept[what] += 1
        return self._kept[what] <= limit

    # ── each event of the stream: the records that it becomes ────────────────────────────

    def _of_lab(self, record: Record) -> list[tuple[str, Record]]:
        return [("lab", {name: record[name] for name in ("lab", "title", "intro")})]

    def _of_part(self, record: Record) -> list[tuple[str, Record]]:
        first, time = record["first"], record["time"]
        self._forget(first)
        self._parts.append((first, time, len(self.records)))
        self.marks.append((record["path"], record["capture"], time))
        picture = record.get("picture") or picture_of(load(Path(record["path"])))
        title = record["title"] or record["topology"]
        return [("part", {"title": title, "picture": picture})]

    def _forget(self, first: int) -> None:
        """A part begins, with this step. If it has begun before, its capture is written anew.

        Then all that was told of it and of later parts is void; a listener keeps it.
        """
        self._checks = [check for check in self._checks if check[0] < first]
        void = [(time, length) for step, time, length in self._parts if step >= first]
        self._parts = [part for part in self._parts if part[0] < first]
        if void:
            since, length = void[0]
            del self.records[length:]
            self.marks = [mark for mark in self.marks if mark[2] < since]
            self.drops = [drop for drop in self.drops if drop.time < since]

    def _of_step(self, record: Record) -> list[tuple[str, Record]]:
        self._step = record["number"]
        if not record["number"]:
            return []
        names = ("number", "of", "title", "say", "ask", "choices", "usage")
        return [("step", {name: record[name] for name in names})]

    def _of_predicted(self, record: Record) -> list[tuple[str, Record]]:
        return [("predicted", {name: record[name] for name in ("step", "said")})]

    def _of_prediction(self, record: Record) -> list[tuple[str, Record]]:
        names = ("step", "ask", "said", "seen", "evidence", "choices", "beliefs")
        exercise = exercise_command(record["exercise"]) if record["exercise"] else ""
        return [("prediction", {name: record[name] for name in names} | {"exercise": exercise})]

    _of_remembered = _of_prediction

    def _of_pause(self, record: Record) -> list[tuple[str, Record]]:
        words = record.get("words", [])
        return [("pause", {"open": True, "step": record["step"], "words": words})]

    def _of_working(self, record: Record) -> list[tuple[str, Record]]:
        return [
            ("pause", {"open": False, "step": 0, "words": []}),
            ("working", {"what": record["what"]}),
        ]

    def _of_command(self, record: Record) -> list[tuple[str, Record]]:
        if not self._room("words", WORDS_KEPT):
            return []
        return [("command", {"node": record["node"], "command": short(record["command"])})]

    def _of_output(self, record: Record) -> list[tuple[str, Record]]:
        if not self._room("words", WORDS_KEPT):
            return []
        fields = {"node": record["node"], "command": short(record["command"])}
        lines = shortened(f"{record['stdout']}\n{record['stderr']}".splitlines())
        return [("output", fields | {"status": record["status"], "lines": lines})]

    def _of_observed(self, record: Record) -> list[tuple[str, Record]]:
        return [("observed", {"lines": shortened(record["lines"])})]

    def _of_check(self, record: Record) -> list[tuple[str, Record]]:
        verdict = verdict_of(passed=record["passed"], broken=record["broken"])
        self._checks.append((self._step, record["claim"], verdict))
        fields = {"claim": record["claim"], "text": record["text"], "verdict": verdict}
        shown = {"sign": verdict.sign, "words": verdict.words}
        return [("check", fields | shown | {"evidence": shortened(record["evidence"])})]

    def _of_trouble(self, record: Record) -> list[tuple[str, Record]]:
        return [("trouble", {"text": short(record["text"])})]

    def _of_stopped(self, record: Record) -> list[tuple[str, Record]]:
        return [("trouble", {"text": f"The run was stopped {record['where']}."})]

    def _of_tables(self, record: Record) -> list[tuple[str, Record]]:
        return [("tables", {"when": record["when"], "tables": record["tables"]})]

    def _of_end(self, record: Record) -> list[tuple[str, Record]]:
        claims = worst_of_each((claim, verdict) for _, claim, verdict in self._checks)
        told = {name: record[name] for name in ("passed", "learned")}
        return [("end", told | {"claims": counted(claims.values())})]

    def _of_program(self, record: Record) -> list[tuple[str, Record]]:
        node, name, fields = record["node"], record["name"], record["fields"]
        match name:
            case "rule-added" if record["program"] == PROGRAM:
                return self._rule(node, fields, {})
            case "rule-ended" if record["program"] == PROGRAM:
                return self._rule(node, fields, {"ended": str(fields.get("why", ""))})
            case "drop" if record["program"] in (PROGRAM, FIREWALL, LINK):
                keys = ("packet", "reason", "meaning")
                packet, reason, meaning = (str(fields.get(key, "")) for key in keys)
                if not self._room("drops", DROPS_KEPT):
                    return []
                by_link = record["program"] == LINK
                self.drops.append(Drop(node, record["time"], packet, reason, meaning, by_link))
                drop = {"packet": packet, "reason": reason, "meaning": meaning}
                return [("drop", {"node": node, **drop})]
            case "typed" if record["program"] == PROMPT:
                return self._of_command({"node": node, "command": str(fields["command"])})
            case "progress":
                return []
        if not self._room("words", WORDS_KEPT):
            return []
        said = [f"{key}={value}" for key, value in fields.items() if key not in ("event", "time")]
        told = {"node": node, "program": record["program"], "name": name}
        return [("report", told | {"words": short(" ".join(said))})]

    def _rule(self, node: str, fields: Record, more: Record) -> list[tuple[str, Record]]:
        if not self._room("rules", RULES_KEPT):
            return []
        rule: dict[str, Any] = {key: fields["rule"].get(key) for key in RULE}
        return [("rule", {"node": node, "rule": rule, **more})]


def short(text: str) -> str:
    """A line without what is too much of it."""
    return text if len(text) <= LINE_KEPT else f"{text[:LINE_KEPT]} …"


def shortened(lines: list[str]) -> list[str]:
    """The first lines that say something, and how many more there are."""
    full = [short(line) for line in lines if line.strip()]
    more = len(full) - LINES_KEPT
    return full if more <= 0 else [*full[:LINES_KEPT], f"… and {more} more lines"]
