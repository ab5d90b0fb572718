"""Where a run of a lab has come to: one that was stopped, or killed, can go on there.

`runs/.9c.json` is there from the first step on, until the run has come to its end:

    {"parts": ["direct"], "step": 5, "pauses": true, "said": {"4": "…"}, "predictions": {"4": …}}
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from napt_lab.labs.records.rundir import RUNS
from napt_lab.labs.records.stream import Record


@dataclass(slots=True)
class Bookmark:
    """`step` comes next, or was broken off. Steps have the numbers that they have in `parts`.

    `said`: what was predicted, by the step; `predictions`: what became of it.
    """

    parts: list[str]
    pauses: bool
    step: int = 1
    said: dict[int, str] = field(default_factory=dict)
    predictions: dict[int, Record] = field(default_factory=dict)


class Bookmarking:
    """Listens to a run's stream and keeps its bookmark, if it can: no claim rests on it."""

    def __init__(self, lab: str, parts: Sequence[str], *, pauses: bool, runs: Path = RUNS) -> None:
        self._path = _path(lab, runs)
        self._mark = Bookmark(list(parts), pauses)
        self._again = 0  # up to this step all is done once more
        self._stopped = False
        self._text = ""  # as it was written last

    def __call__(self, record: Record) -> None:
        """Take in one event."""
        mark = self._mark
        match record["event"]:
            case "part":
                self._again = 0
            case "replay":
                self._again = record["last"]
            case "step" if record["number"] > self._again:
                mark.step = record["number"]
                self._write()
            case "predicted":
                mark.said[record["step"]] = record["said"]
                self._write()
            case "prediction" | "remembered":
                mark.said[record["step"]] = record["said"]
                mark.predictions[record["step"]] = record
            case "stopped":
                self._stopped = True
            case "end" if not (self._stopped or record["error"]):
                with contextlib.suppress(OSError):  # it may be another run's by now
                    if self._path.read_text(encoding="utf-8") == self._text:
                        self._path.unlink()

    def _write(self) -> None:
        self._text = json.dumps(asdict(self._mark))
        fresh = self._path.with_suffix(".new")
        with contextlib.suppress(OSError):
            fresh.write_text(self._text, encoding="utf-8")
            fresh.replace(self._path)


def read_bookmark(lab: str, runs: Path = RUNS) -> Bookmark | None:
    """Where the last run of a lab was stopped; None if it came to its end, or there was none."""
    try:
        read = json.loads(_path(lab, runs).read_text(encoding="utf-8"))
        for by_step in ("said", "predictions"):
            read[by_step] = {int(step): value for step, value in read[by_step].items()}
        return Bookmark(**read)
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None


def _path(lab: str, runs: Path) -> Path:
    return runs / f".{lab}.json"
