"""The reports of `check` for other programs: JSON and JUnit's XML. README.md describes them."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, Any

from napt_lab.labs.check.outcome import Outcome
from napt_lab.labs.verdict.junit import Case, Suite, junit
from napt_lab.labs.verdict.verdicts import Verdict
from napt_lab.topologies.spec.errors import placed
from napt_lab.topologies.spec.model import Topology


@dataclass(slots=True)
class Checked:
    """One topology and the outcomes of its expectations, in their order."""

    topology: Topology
    outcomes: list[Outcome] = field(default_factory=list)
    seconds: float = 0.0
    broken: bool = False  # by an error of the network or of the machine

    @property
    def passed(self) -> bool:
        return all(outcome.verdict is Verdict.PASSED for outcome in self.outcomes)

    def lose(self, why: str) -> None:
        """Make every outcome an error: what was seen proves nothing."""
        self.broken = True
        self.outcomes = [
            replace(o, verdict=Verdict.ERROR, evidence=(*o.evidence, why)) for o in self.outcomes
        ]
        self.give_up(why)

    def give_up(self, why: str) -> None:
        """Make an error of every expectation that has no outcome yet."""
        known = {id(outcome.expectation): outcome for outcome in self.outcomes}
        self.outcomes = [
            known.get(id(expectation)) or Outcome(expectation, Verdict.ERROR, (why,), 0.0)
            for expectation in self.topology.expectations()
        ]


@dataclass(frozen=True, slots=True)
class Wrong:
    """A file that is not a valid topology, with the loader's messages."""

    path: Path
    problems: tuple[str, ...]


class CannotReport(Exception):
    """A report could not be written."""

    def __init__(self, error: OSError) -> None:
        super().__init__(str(error))
        self.error = error


class Reports:
    """The files that were asked for; `-` is stdout."""

    def __init__(self, junit: str | None = None, as_json: str | None = None) -> None:
        """OSError if one of them cannot be written."""
        self.on_stdout = "-" in (junit, as_json)
        self._junit, self._json = _open(junit), _open(as_json)

    def refuse(self, wrong: Mapping[Path, Sequence[str]], others: Sequence[Topology]) -> None:
        """Write the loader's messages for some files. Because of them no network is built."""
        unchecked = [Checked(topology) for topology in others]
        for one in unchecked:
            one.give_up("nothing was built: another of the files is wrong")
        self.write([*(Wrong(path, tuple(lines)) for path, lines in wrong.items()), *unchecked])

    def write(self, checked: Sequence[Checked | Wrong]) -> None:
        """Write them; CannotReport if that fails, for example on a full disk."""
        try:
            if self._junit is not None:
                self._junit.write(junit(map(_suite, checked)))
                self._junit.flush()
            if self._json is not None:
                _write_json(checked, self._json)
        except OSError as error:
            raise CannotReport(error) from error


def _open(path: str | None) -> IO[str] | None:
    if path is None:
        return None
    return sys.stdout if path == "-" else Path(path).open("w", encoding="utf-8")


def _write_json(checked: Sequence[Checked | Wrong], file: IO[str]) -> None:
    """All of it, as one object."""
    files = [_wrong_as_json(c) if isinstance(c, Wrong) else _as_json(c) for c in checked]
    whole = {"passed": all(file["passed"] for file in files), "files": files}
    json.dump(whole, file, indent=2, ensure_ascii=False)
    file.write("\n")
    file.flush()


def _as_json(checked: Checked) -> dict[str, Any]:
    topology = checked.topology
    return {
        "file": str(topology.path),
        "title": topology.title,
        "passed": checked.passed,
        "seconds": round(checked.seconds, 3),
        "points": sum(
            o.expectation.points for o in checked.outcomes if o.verdict is Verdict.PASSED
        ),
        "of_points": sum(o.expectation.points for o in checked.outcomes),
        "checks": [
            {
                "line": outcome.expectation.line,
                "check": outcome.expectation.text,
                "verdict": outcome.verdict.value,
                "evidence": list(outcome.evidence),
                "message": outcome.expectation.message,
                "points": outcome.expectation.points,
                "seconds": round(outcome.seconds, 3),
            }
            for outcome in checked.outcomes
        ],
    }


def _wrong_as_json(wrong: Wrong) -> dict[str, Any]:
    problems = [placed(wrong.path, problem) for problem in wrong.problems]
    return {
        "file": str(wrong.path),
        "title": "",
        "passed": False,
        "seconds": 0.0,
        "points": 0,
        "of_points": 0,
        "problems": [{"line": line, "problem": message} for line, message in problems],
        "checks": [],
    }


def _suite(checked: Checked | Wrong) -> Suite:
    """A case for each expectation, or for each problem of the file."""
    if isinstance(checked, Wrong):
        group = checked.path.stem
        cases = [
            Case(group, f"line {line}", Verdict.ERROR, why, seconds=0.0, line=line)
            for line, why in (placed(checked.path, problem) for problem in checked.problems)
        ]
        return Suite(str(checked.path), 0.0, cases, file=str(checked.path))
    path, group = str(checked.topology.path), checked.topology.name
    return Suite(path, checked.seconds, [_case(o, group) for o in checked.outcomes], file=path)


def _case(outcome: Outcome, group: str) -> Case:
    expectation = outcome.expectation
    return Case(
        group,
        expectation.text,
        outcome.verdict,
        expectation.message or outcome.evidence[-1],
        "\n".join(outcome.evidence),
        outcome.seconds,
        expectation.line,
    )
