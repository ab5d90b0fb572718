"""A requirement, its test, and the verdict on it.

Theory of operation. Every requirement of the RFCs that speak of a NAPT is one `Requirement`: the
RFC's word for how binding it is, what it asks in a few words of our own, and a function that
tries it on real packets. The function raises

    Violation       the NAPT did something else                            -> fail, or deviation
    NotApplicable   the requirement does not apply to this NAPT            -> not applicable
    NotProbed       the test could not be carried out                      -> error

If it raises nothing and has observed something, the requirement is met. A test without an
observation is an error as well: silence proves nothing. So is a violation while the machine was at
one of its limits: it may have lost the packet, not the NAPT.

A *deliberate deviation* is declared beside the requirement, as data: for which settings, for
which reason, and which setting removes it. It must also be observed: if the NAPT conforms, the
declaration is wrong, and that is a failure.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum, auto

from napt_lab.labs.conformance.exam import Exam
from napt_lab.labs.conformance.topology import Setup
from napt_lab.labs.conformance.violation import Coincidence, NotApplicable, NotProbed, Violation
from napt_lab.labs.verdict.verdicts import Verdict

#: How the verdicts are called in results.json and docs/conformance.md, from good to bad.
WORDS = {verdict: verdict.value for verdict in Verdict} | {
    Verdict.PASSED: "pass",
    Verdict.FAILED: "fail",
}


CHANCES = 3


class When(Enum):
    """Where a test has its place among the others of a run."""

    AT_ONCE = auto()  # it mostly waits for a time-out
    IN_TURN = auto()
    AT_LAST = auto()  # it would disturb the others


AT_ONCE, IN_TURN, AT_LAST = When


@dataclass(frozen=True, slots=True)
class Deviation:
    """Not conforming on purpose, where `when` holds."""

    when: Callable[[Setup], bool]
    reason: str
    removed_by: str
    """The setting that removes it, as one would write it."""
    any_engine: bool = False
    """Whether it holds for every engine; otherwise another engine than this project's fails."""


@dataclass(frozen=True, slots=True)
class Requirement:
    """One row of the report. Without a `check` it never applies to a NAPT of this kind."""

    rfc: int
    name: str
    level: str
    words: str
    check: Callable[[Exam], None] | None = None
    why_not: str = ""
    deviations: tuple[Deviation, ...] = ()
    when: When = When.IN_TURN

    @property
    def id(self) -> str:
        """Short and stable, e.g. `4787.REQ-3a`."""
        return f"{self.rfc}.{self.name}".replace(" ", "-")

    def deviation(self, setup: Setup) -> Deviation | None:
        """The deviation that is declared for such a NAPT, if any."""
        mine = [d for d in self.deviations if setup.is_ours or d.any_engine]
        return next((deviation for deviation in mine if deviation.when(setup)), None)


@dataclass(slots=True)
class Chapter:
    """The requirements of one RFC, in its order."""

    rfc: int
    title: str
    requirements: list[Requirement] = field(default_factory=list)

    def test(
        self, name: str, level: str, words: str, *deviations: Deviation, when: When = When.IN_TURN
    ) -> Callable[[Callable[[Exam], None]], Callable[[Exam], None]]:
        """A decorator: the function tries this requirement."""

        def add(check: Callable[[Exam], None]) -> Callable[[Exam], None]:
            self.requirements.append(
                Requirement(self.rfc, name, level, words, check, deviations=deviations, when=when)
            )
            return check

        return add

    def inapplicable(self, name: str, level: str, words: str, why: str) -> None:
        """A requirement that does not apply to a NAPT of this kind."""
        self.requirements.append(Requirement(self.rfc, name, level, words, why_not=why))


@dataclass(frozen=True, slots=True)
class Outcome:
    """The verdict on one requirement with one engine, and the evidence."""

    requirement: Requirement
    verdict: Verdict
    why: str  # empty for a pass
    evidence: tuple[str, ...]
    seconds: float
    removed_by: str = ""


def judge(
    requirement: Requirement, exam: Exam, setup: Setup, clock: Callable[[], float]
) -> Outcome:
    """Carry out one test and give its outcome."""
    begin = clock()

    def outcome(verdict: Verdict, why: str, removed_by: str = "") -> Outcome:
        return Outcome(requirement, verdict, why, exam.evidence, clock() - begin, removed_by)

    if requirement.check is None:
        return outcome(Verdict.NOT_APPLICABLE, requirement.why_not)
    declared = requirement.deviation(setup)
    try:
        _check(requirement.check, exam)
    except Violation as violation:
        if requirement.level == "MAY" and not setup.is_ours:
            return outcome(Verdict.NOT_APPLICABLE, f"allowed, not required: {violation}")
        if declared is None:
            fault = _fault(exam)
            return outcome(Verdict.ERROR if fault else Verdict.FAILED, f"{violation}{fault}")
        exam.note(str(violation))
        return outcome(Verdict.DEVIATION, declared.reason, declared.removed_by)
    except NotApplicable as why:
        return outcome(Verdict.NOT_APPLICABLE, str(why))
    except Exception as error:  # noqa: BLE001  # shown as an error
        name = "" if isinstance(error, NotProbed) else f"{type(error).__name__}: "
        return outcome(Verdict.ERROR, f"{name}{error}{_fault(exam)}")
    if not exam.observations:
        return outcome(Verdict.ERROR, "the test ended without an observation")
    if declared is not None:
        return outcome(
            Verdict.ERROR if (fault := _fault(exam)) else Verdict.FAILED,
            f"declared as a deviation, but not observed: {declared.reason}{fault}",
        )
    return outcome(Verdict.PASSED, "")


def _check(check: Callable[[Exam], None], exam: Exam) -> None:
    """Carry it out; again if another test's mapping had its port, but thrice is no chance."""
    for left in reversed(range(CHANCES)):
        try:
            check(exam)
        except Coincidence as chance:
            if not left:
                raise Violation(str(chance)) from None
            exam.note(f"{chance}, by another test's mapping; so this one was made again")
        else:
            return


def _fault(exam: Exam) -> str:
    """The machine's part in what went wrong, to follow the NAPT's; empty if it has none."""
    fault = exam.machine_fault()
    return f"; error of this machine: {fault}" if fault else ""
