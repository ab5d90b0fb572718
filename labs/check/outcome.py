"""What came of one assertion, and what was seen on the way to it."""

from __future__ import annotations

from dataclasses import dataclass

from napt_lab.labs.verdict.verdicts import Verdict
from napt_lab.topologies.spec.assertions import Expectation


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one expectation. Unless it passed, the last line of evidence says why."""

    expectation: Expectation
    verdict: Verdict
    evidence: tuple[str, ...]
    seconds: float


class Unmet(Exception):
    """What was expected is not so; the message says what is."""


class CannotTell(Exception):
    """The probe or its control did not work, so its result would prove nothing."""


class Evidence:
    """What a check has seen so far."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def add(self, line: str) -> None:
        self.lines.append(line)

    def require(self, holds: bool, seen: str, expected: str) -> None:
        """Unmet unless it holds; what was seen is evidence either way."""
        if not holds:
            raise Unmet(f"{seen}; expected: {expected}")
        self.lines.append(seen)
