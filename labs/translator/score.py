"""Which claims a translator has earned: from what the trials saw, as a table, JSON and JUnit."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from napt_lab.labs.translator.claims import Earned
from napt_lab.labs.translator.trial import Trial, dropped, faults, printed
from napt_lab.labs.verdict.claims import CLAIMS
from napt_lab.labs.verdict.junit import Case, Suite
from napt_lab.labs.verdict.verdicts import verdict_of

_BROKEN = re.compile(
    r"(?P<how>could not be checked|it was not): (?P<kind>\w+): (?P<words>.*)", re.S
)
_SPEAKING = {"ControlError", "DeadlinePassed", "ProgramEnded", "ProgramError", "CaptureIncomplete"}
_ENDPOINT = re.compile(r"'([0-9.]+:[0-9]+)'")


@dataclass(frozen=True, slots=True)
class Mark:
    """One claim: earned or not. `why`: what failed first, and its evidence, the last line last."""

    earned: Earned
    held: bool
    checks: int
    passed: int
    begun: bool  # whether its first check passed
    why: tuple[str, ...] = ()
    needed: tuple[str, ...] = ()  # claims without which this one was not tried

    @property
    def text(self) -> str:
        return CLAIMS[self.earned.claim]


def mark(earned: Earned, trial: Trial) -> Mark:
    """What a trial says about a claim. One that it did not come to is not earned."""
    checks = [
        record
        for record in trial.records
        if record["event"] == "check" and record["claim"] == earned.claim
    ]
    failed = [check for check in checks if not check["passed"]]
    why: tuple[str, ...] = ()
    if trial.fault:
        *_, error = trial.fault.splitlines()
        why = ("not checked, because your program failed", error)
    elif failed:
        first = failed[0]
        why = (str(first["text"]), *(_plain(str(line)) for line in first["evidence"]))
    elif trial.overdue:
        why = (
            "not checked to the end",
            f"stopped after {trial.seconds:.0f} s: an expected packet did not come, "
            "or this machine is busy",
        )
    elif trial.status or not checks:
        why = ("not checked", f"the lab ended with status {trial.status}")
    begun = bool(checks) and checks[0]["passed"]
    return Mark(earned, not why, len(checks), len(checks) - len(failed), begun, why)


def _plain(line: str) -> str:
    """A line of evidence without our own exceptions, which say nothing to a student."""
    found = _BROKEN.fullmatch(line)
    if found is None or found["kind"] in _SPEAKING:
        return f"{found['how']}: {found['words']}" if found else line
    missing = _ENDPOINT.fullmatch(found["words"])
    if missing:
        return f"{found['how']}: your translator lists no rule for {missing[1]} (napt.rules.add)"
    return f"{found['how']}: something that it needs is missing: see the checks before it"


def untried(earned: Earned, needed: Sequence[str]) -> Mark:
    """A claim that was not tried, because others must hold first."""
    why = "not checked", f"{', '.join(needed)} must hold first"
    return Mark(earned, False, 0, 0, False, why, tuple(needed))


def as_json(
    translator: Path,
    marks: Sequence[Mark],
    trials: Sequence[Trial],
    seconds: float,
) -> dict[str, Any]:
    """The stable interface: grade.json."""
    return {
        "translator": str(translator),
        "engine": f"translator {translator.name}",
        "score": sum(mark.held for mark in marks),
        "of": len(marks),
        "seconds": round(seconds, 1),
        "claims": [
            {
                "claim": mark.earned.claim,
                "text": mark.text,
                "passed": mark.held,
                "checks": mark.checks,
                "checks_passed": mark.passed,
                "evidence": list(mark.why),
                "next": "" if mark.held else mark.earned.do,
                "read": "" if mark.held else mark.earned.read,
            }
            for mark in marks
        ],
        "faults": [fault for trial in trials for fault in faults(trial)],
        "printed": [line for trial in trials for line in printed(trial)],
        "dropped": [packet for trial in trials for packet in dropped(trial)],
    }


def write_json(path: Path, grade: dict[str, Any]) -> None:
    """Raises OSError."""
    path.write_text(json.dumps(grade, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def suite(grade: dict[str, Any]) -> Suite:
    """The grade for JUnit: a case for each claim."""
    complaints = "\n\n".join(fault["text"] for fault in grade["faults"])
    cases = [_case(claim) for claim in grade["claims"]]
    return Suite(grade["engine"], grade["seconds"], cases, complaints=complaints)


def _case(claim: dict[str, Any]) -> Case:
    verdict = verdict_of(passed=claim["passed"])
    if claim["passed"]:
        return Case(claim["claim"], claim["text"], verdict, points=(1, 1))
    what, *evidence = claim["evidence"]
    text = "\n".join([*evidence, claim["next"], claim["read"]])
    why = f"{what}: {evidence[-1]}"
    return Case(claim["claim"], claim["text"], verdict, why, text, points=(0, 1))
