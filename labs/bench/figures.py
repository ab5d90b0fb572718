"""What was measured, and what follows from it: medians, spread, ratios, targets.

Other programs share the machine, and its speed drifts. So engines take turns, and a ratio is
taken between *neighbours in time*: round by round, and then the median of these ratios. The
spread says how far to believe a figure.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from statistics import median
from typing import Any

OURS, KERNEL, PASTA, SCAPY, MININET = "python", "kernel", "pasta", "scapy", "mn"
SLIRP, MININET_NAT = "slirp4netns", "Mininet's NAT"
CARRIED = "python, carried"
"""Our translator with `datapath: kernel`."""
DIRECT = "no translator"
"""What the machine can do with nothing in between."""
COTURN = "coturn"


class Bound(Enum):
    """What a target bounds, and from which side."""

    RATIO_AT_LEAST = "at least {value:.3g} of {engine}"
    RATIO_AT_MOST = "at most {value:.3g} of {engine}"
    ADDED_AT_MOST = "at most {value:.3g} {unit} over {engine}"
    VALUE_AT_MOST = "at most {value:.3g} {unit}"


@dataclass(frozen=True, slots=True)
class Target:
    """One thing that an engine of ours is to reach, alone or beside `engine`."""

    bound: Bound
    value: float
    engine: str = ""
    ours: str = OURS

    def text(self, unit: str) -> str:
        text = self.bound.value.format(value=self.value, engine=self.engine, unit=unit)
        return text if self.ours == OURS else f"{self.ours}: {text}"

    def met(self, figures: Mapping[str, Figure]) -> bool | None:
        """Whether it is reached; None if one of the two has not been measured."""
        ours = figures.get(self.ours)
        if ours is None:
            return None
        if self.bound is Bound.VALUE_AT_MOST:
            return ours.median <= self.value
        other = figures.get(self.engine)
        if other is None:
            return None
        if self.bound is Bound.ADDED_AT_MOST:
            return paired(ours, other, lambda a, b: a - b) <= self.value
        ratio = ours.ratio_to(other)
        return ratio >= self.value if self.bound is Bound.RATIO_AT_LEAST else ratio <= self.value


@dataclass(frozen=True, slots=True)
class Figure:
    """What one engine showed in every round, in order."""

    values: Sequence[float]

    def __post_init__(self) -> None:
        if not self.values:
            raise ValueError("a figure needs at least one value")

    @property
    def median(self) -> float:
        return median(self.values)

    @property
    def spread(self) -> float:
        """Highest less lowest, as a part of the median; 0 where the median is."""
        return (max(self.values) - min(self.values)) / self.median if self.median else 0.0

    def ratio_to(self, other: Figure) -> float:
        """The median of the ratios, round by round. ZeroDivisionError if the other shows 0."""
        return paired(self, other, lambda a, b: a / b)


def paired(first: Figure, second: Figure, compare: Callable[[float, float], float]) -> float:
    """The median of what `compare` makes of the two, round by round."""
    # One that is too slow to be asked in every round is compared as far as it went.
    return median(compare(a, b) for a, b in zip(first.values, second.values, strict=False))


@dataclass(slots=True)
class Row:
    """One question, the answers of all engines, and the targets."""

    key: str
    title: str
    unit: str
    more_is_better: bool = True
    targets: tuple[Target, ...] = ()
    samples: dict[str, list[float]] = field(default_factory=dict)
    notes: dict[str, str] = field(default_factory=dict)

    def add(self, engine: str, value: float) -> None:
        self.samples.setdefault(engine, []).append(value)

    @property
    def figures(self) -> dict[str, Figure]:
        return {engine: Figure(values) for engine, values in self.samples.items()}

    def as_json(self) -> dict[str, Any]:
        figures = self.figures
        engines = {
            engine: {"median": figure.median, "spread": figure.spread, "values": figure.values}
            for engine, figure in figures.items()
        }
        ours = figures.get(OURS)
        ratios = {
            engine: ours.ratio_to(figure)
            for engine, figure in figures.items()
            if ours and engine != OURS and all(figure.values)
        }
        targets = [
            {"text": target.text(self.unit), "met": target.met(figures)} for target in self.targets
        ]
        return {
            "key": self.key,
            "title": self.title,
            "unit": self.unit,
            "more_is_better": self.more_is_better,
            "engines": engines,
            "ratio_to": ratios,
            "targets": targets,
            "notes": self.notes,
        }
