"""One cell of the matrix: two types and a method, what was predicted, and what was seen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from napt_lab.labs.matrix.napt_types import NaptType
from napt_lab.labs.matrix.prediction import Forecast, Method, Way, predict
from napt_lab.labs.report.journey import Journey
from napt_lab.labs.verdict.verdicts import Verdict

Socket = tuple[str, str]
"""A node, and the endpoint of a socket there; empty: all of the node's."""


@dataclass(frozen=True, slots=True)
class Cell:
    """Two types, of which `a` begins, and a method."""

    method: Method
    a: NaptType
    b: NaptType

    @property
    def predicted(self) -> Forecast:
        return predict(self.method, self.a.nat, self.b.nat)


@dataclass(slots=True)
class Result:
    """What was seen. `observed` is None if it could not be tried: then `trouble` says why."""

    cell: Cell
    observed: Way | None
    evidence: Sequence[str]
    seconds: float
    trouble: str = ""
    began: float = 0.0  # in seconds since 1970
    sockets: Sequence[Socket] = ()
    journeys: list[Journey] = field(default_factory=list)  # its packets

    @property
    def verdict(self) -> Verdict:
        if self.observed is None:
            return Verdict.ERROR
        good = self.observed is self.cell.predicted.way
        if self.cell.method is Method.PROGRAMS:
            good = self.observed is not Way.FAILS
        return Verdict.PASSED if good else Verdict.FAILED
