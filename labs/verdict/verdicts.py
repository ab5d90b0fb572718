"""How a check can end, and how each ending is shown on a screen, a page or in a report."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from enum import StrEnum


class Verdict(StrEnum):
    """How a check ended, from good to bad.

    `error` says nothing about what was checked: the check itself could not be made.
    """

    PASSED = "passed"
    DEVIATION = "deliberate deviation"
    NOT_APPLICABLE = "not applicable"
    ERROR = "error"
    FAILED = "failed"

    @property
    def sign(self) -> str:
        """One character, for a terminal or a page."""
        return _SHOWN[self][0]

    @property
    def color(self) -> str:
        """The color of the sign, as rich names it."""
        return _SHOWN[self][1]

    @property
    def words(self) -> str:
        """What it says about one claim or assertion, such as `does not hold`."""
        return _WORDS[self][0]

    @property
    def is_bad(self) -> bool:
        """Whether a run that has such a check has not passed."""
        return self in (Verdict.FAILED, Verdict.ERROR)


_SHOWN = {
    Verdict.PASSED: ("✓", "green"),
    Verdict.DEVIATION: ("≈", "yellow"),
    Verdict.NOT_APPLICABLE: ("–", "dim"),
    Verdict.ERROR: ("!", "magenta"),
    Verdict.FAILED: ("✗", "red"),
}
_WORDS = {  # of one, of several
    Verdict.PASSED: ("holds", "hold"),
    Verdict.DEVIATION: ("deviates deliberately", "deviate deliberately"),
    Verdict.NOT_APPLICABLE: ("does not apply", "do not apply"),
    Verdict.ERROR: ("was not checked", "were not checked"),
    Verdict.FAILED: ("does not hold", "do not hold"),
}


def verdict_of(*, passed: bool, broken: bool = False) -> Verdict:
    """The verdict on one check of a lab, as the stream of events tells it."""
    if passed:
        return Verdict.PASSED
    return Verdict.ERROR if broken else Verdict.FAILED


def worst(verdicts: Iterable[Verdict]) -> Verdict:
    """The worst of several; of none, `passed`."""
    return max(verdicts, key=list(Verdict).index, default=Verdict.PASSED)


def worst_of_each(checks: Iterable[tuple[str, Verdict]]) -> dict[str, Verdict]:
    """Each claim with the worst of its verdicts, in the order in which they came."""
    claims: dict[str, Verdict] = {}
    for claim, verdict in checks:
        claims[claim] = worst([verdict, claims.get(claim, verdict)])
    return claims


def counted(verdicts: Iterable[Verdict]) -> str:
    """How many there are of each, as in `3 hold, 1 does not hold`."""
    counts = Counter(verdicts)
    return ", ".join(
        f"{counts[verdict]} {_WORDS[verdict][counts[verdict] != 1]}"
        for verdict in Verdict
        if counts[verdict]
    )
