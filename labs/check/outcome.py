"""The result of one assertion, and the evidence for it."""

from __future__ import annotations

from dataclasses import dataclass

from napt_lab.labs.verdict.verdicts import Verdict
from napt_lab.topologies.spec.assertions import Expectation


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of one expectation. Unless it passed, the last line of evidence says why."""

    expectation: Expectation
    verdict: Verdict
    evidence: tuple[str, ...]
    seconds: float


class _NotPassed(Exception):
    """Why a try did not pass; `by_chance`: a link lost a packet of it, so another one may."""

    def __init__(self, message: str, *, by_chance: bool = False) -> None:
        super().__init__(message)
        self.by_chance = by_chance


class Unmet(_NotPassed):
    """An expectation does not hold; the message says what was seen instead."""


class CannotTell(_NotPassed):
    """The probe or its control failed, so the result would prove nothing."""


class Evidence:
    """The evidence of one check so far, in lines."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def add(self, line: str) -> None:
        self.lines.append(line)

    def require(self, holds: bool, seen: str, expected: str) -> None:
        """Unmet unless it holds; what was seen is evidence either way."""
        if not holds:
            raise Unmet(f"{seen}; expected: {expected}")
        self.lines.append(seen)
