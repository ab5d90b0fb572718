"""Where a run of a lab has come to: one that was stopped, or killed, can go on there.

`runs/.9c.json` is there from the first step on, until the run has come to its end:

    {"parts": ["direct"], "questions": [["A title", "Where …?", "a letter, a to b", "at …", …], …],
     "pauses": true, "step": 5, "said": {"4": "at …"}, "found": {"4": ["at …", "alice:eth0: …"]}}
"""

from __future__ import annotations

import contextlib
import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from napt_lab.labs.records.rundir import RUNS
from napt_lab.labs.records.stream import Record


@dataclass(slots=True)
class Bookmark:
    """`step` comes next, or was broken off. Steps have the numbers that they have in `parts`.

    `questions`: what each step asked (Step.question), for a run can only go on with the same steps.
    `said`: what was predicted, by the step; `found`: what it has seen, and where.
    """

    parts: list[str]
    questions: list[list[str]]
    pauses: bool
    step: int = 1
    said: dict[int, str] = field(default_factory=dict)
    found: dict[int, list[str]] = field(default_factory=dict)


class Bookmarking:
    """Listens to a run's stream and keeps its bookmark, if it can: no claim rests on it."""

    def __init__(self, lab: str, mark: Bookmark, *, runs: Path = RUNS) -> None:
        """`mark`: where the run begins."""
        self._path = _path(lab, runs)
        self._mark = mark
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
                mark.found[record["step"]] = [record["seen"], record["evidence"]]
            case "stopped":
                self._stopped = True
                self._write()  # once more: another run that came to its end has removed the file
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
    """Where the last run of a lab was stopped; None if it came to its end, or there was none.

    Raises ValueError for a file that no run has written so.
    """
    path = _path(lab, runs)
    try:
        return _bookmark(json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, AttributeError) as error:
        wrong = f"{path} does not say where a run was stopped ({error})"
        raise ValueError(f"{wrong}: run the lab without RESUME") from error


def _bookmark(read: Any) -> Bookmark:
    """What was read from a file, if each field has its type. ValueError, TypeError, AttributeError.

    A file of an older version has other fields.
    """
    for by_step in ("said", "found"):
        read[by_step] = {int(step): value for step, value in read.get(by_step, {}).items()}
    mark = Bookmark(**read)
    found = list(mark.found.values())
    for name, sound in {
        "parts": _are_texts(mark.parts),
        "questions": isinstance(mark.questions, list) and all(map(_are_texts, mark.questions)),
        "pauses": isinstance(mark.pauses, bool),
        "step": type(mark.step) is int,
        "said": _are_texts(list(mark.said.values())),
        "found": all(_are_texts(seen) and len(seen) == 2 for seen in found),
    }.items():
        if not sound:
            raise TypeError(f"`{name}` is of another type")
    return mark


def _are_texts(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(each, str) for each in value)


def _path(lab: str, runs: Path) -> Path:
    return runs / f".{lab}.json"
