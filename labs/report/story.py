"""What the page tells of a run, kept while it goes on. Cheap, and bounded for each step."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from napt_lab.labs.records.stream import Record
from napt_lab.labs.verdict.verdicts import Verdict, verdict_of, worst
from napt_lab.topologies.network.slow_links import PROGRAM as LINK

DEEDS_KEPT = 60  # commands and observations of a step
REPORTS_KEPT = 24  # of what programs reported in a step
DROPS_KEPT = ENDS_KEPT = 500  # of a step


@dataclass(slots=True)
class Check:
    """One check of a claim, with its evidence."""

    claim: str
    text: str
    verdict: Verdict
    evidence: list[str]


@dataclass(slots=True)
class Deed:
    """A command and its output; without a command, `lines` are an observation."""

    node: str = ""
    command: str = ""
    status: int | None = None  # None: it was still running at the end of the step
    seconds: float = 0.0
    lines: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Drop:
    """A packet that a translator dropped or a slow link lost, in their words."""

    node: str
    time: float
    packet: str
    reason: str
    meaning: str
    by_link: bool = False


@dataclass(slots=True)
class StepStory:
    """One step. Times in seconds since 1970; `number` is 0 if it was not reached."""

    number: int
    of: int
    title: str
    say: str
    ask: str
    choices: list[str]
    began: float
    ended: float = 0.0
    deeds: list[Deed] = field(default_factory=list)
    deeds_left_out: int = 0
    checks: list[Check] = field(default_factory=list)
    reports: list[Record] = field(default_factory=list)
    reports_left_out: int = 0
    drops: list[Drop] = field(default_factory=list)
    ends: dict[tuple[str, int], Record] = field(default_factory=dict)  # (node, rule) to its end
    before: dict[str, Record] = field(default_factory=dict)  # a NAPT's name to its table
    after: dict[str, Record] = field(default_factory=dict)
    troubles: list[str] = field(default_factory=list)
    prediction: Record | None = None  # what was predicted, and what was seen

    @property
    def verdict(self) -> Verdict:
        """The worst of its checks; a step without checks holds unless something went wrong."""
        verdicts = [check.verdict for check in self.checks]
        return worst(verdicts + [Verdict.FAILED] * len(self.troubles))


@dataclass(slots=True)
class PartStory:
    """Steps on one network."""

    name: str
    first: int  # number of its first step
    title: str
    topology: str
    path: str  # of the topology's file
    engine: str
    capture: str  # name of the file
    steps: list[StepStory] = field(default_factory=list)


class Story:
    """Listens to a run's stream."""

    def __init__(self) -> None:
        self.lab = ""
        self.title = ""
        self.intro = ""
        self.began = 0.0
        self.seconds = 0.0
        self.passed = False
        self.stopped = ""  # where, if the run was stopped early
        self.learned: list[str] = []
        self._predictions: dict[int, Record] = {}  # by the step
        self.parts: list[PartStory] = []
        self.troubles: list[str] = []
        self._step: StepStory | None = None

    def __call__(self, record: Record) -> None:
        """Take in one event."""
        event, step = record["event"], self._step
        match event:
            case "lab":
                self.lab, self.title, self.intro = record["lab"], record["title"], record["intro"]
                self.began = record["time"]
            case "part":
                self._end_step(record)
                # If it begins again, what was told of it and of later parts is void.
                self.parts = [part for part in self.parts if part.first < record["first"]]
                names = ("part", "first", "title", "topology", "path", "engine", "capture")
                self.parts.append(PartStory(*(record[name] for name in names)))
            case "step":
                self._begin_step(record)
            case "trouble":
                (step.troubles if step else self.troubles).append(record["text"])
            case "stopped":
                self.stopped = record["where"]
            case "prediction" | "remembered":
                self._predictions[record["step"]] = record
                if step is not None:
                    step.prediction = record
            case "end":
                self._end_step(record)
                self.passed, self.seconds = record["passed"], record["seconds"]
                self.learned = record["learned"]
            case _ if step is not None:
                _take_in(step, record)

    @property
    def steps(self) -> list[StepStory]:
        """The steps of all parts."""
        return [step for part in self.parts for step in part.steps]

    @property
    def predicted(self) -> list[Record]:
        """What became of the predictions that were made, in the order of the steps."""
        told = sorted(self._predictions.items())
        return [record for _, record in told if record["right"] is not None]

    @property
    def claims(self) -> dict[str, list[tuple[StepStory, Check]]]:
        """The checks of each claim, in order."""
        claims: dict[str, list[tuple[StepStory, Check]]] = {}
        for step in self.steps:
            for check in step.checks:
                claims.setdefault(check.claim, []).append((step, check))
        return claims

    def _begin_step(self, record: Record) -> None:
        self._end_step(record)
        names = ("number", "of", "title", "say", "ask", "choices", "time")
        self._step = StepStory(*(record[name] for name in names))
        if not self.parts:
            self.parts.append(PartStory("", 0, "", "", "", "", ""))
        self.parts[-1].steps.append(self._step)

    def _end_step(self, record: Record) -> None:
        if self._step is not None:
            self._step.ended = record["time"]
            self._step = None


def _take_in(step: StepStory, record: Record) -> None:
    match record["event"]:
        case "working":
            step.began = record["time"]  # a student may have paused before
        case "command":
            _keep(step, Deed(record["node"], record["command"]))
        case "output":
            _add_output(step, record)
        case "observed":
            _keep(step, Deed(lines=list(record["lines"])))
        case "check":
            verdict = verdict_of(passed=record["passed"], broken=record["broken"])
            evidence = list(record["evidence"])
            step.checks.append(Check(record["claim"], record["text"], verdict, evidence))
        case "tables":
            tables = {table["node"]: table for table in record["tables"]}
            if record["when"] == "before":
                step.before = tables
            else:
                step.after = tables
        case "program":
            _add_report(step, record)


def _keep(step: StepStory, deed: Deed) -> None:
    if len(step.deeds) < DEEDS_KEPT:
        step.deeds.append(deed)
    else:
        step.deeds_left_out += 1


def _add_output(step: StepStory, record: Record) -> None:
    text = f"{record['stdout']}\n{record['stderr']}"
    for deed in step.deeds:
        same = (deed.node, deed.command) == (record["node"], record["command"])
        if same and deed.status is None:
            deed.status, deed.seconds = record["status"], record["seconds"]
            deed.lines = [line for line in text.splitlines() if line.strip()]
            return


def _add_report(step: StepStory, record: Record) -> None:
    fields: dict[str, Any] = record["fields"]
    match record["name"]:
        case "rule-added":
            return  # the table after the step has it, or its end is told
        case "rule-ended":
            if len(step.ends) < ENDS_KEPT:
                step.ends[record["node"], fields["rule"]["id"]] = record
            return
        case "drop" if len(step.drops) < DROPS_KEPT:
            packet, reason, meaning = (
                str(fields.get(name, "")) for name in ("packet", "reason", "meaning")
            )
            by_link = record.get("program") == LINK
            step.drops.append(
                Drop(record["node"], record["time"], packet, reason, meaning, by_link)
            )
    if len(step.reports) < REPORTS_KEPT:
        step.reports.append(record)
    else:
        step.reports_left_out += 1
