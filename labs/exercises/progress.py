"""What a person has solved, kept between runs: `progress.json` in the state folder.

    {"9c/door": {"points": 4, "of": 4, "hints": 1, "shown": false}}

`shown`: its solution was shown, and it is not solved since; a solution that is shown gives no
points. The best result stays. Several prompts may write at the same time: each reads, changes and
replaces the file under a lock.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace

from napt_lab.labs.records.state import make_state_folder, state_folder, write_state

NAME = "progress.json"
MOST_BYTES = 1 << 16


@dataclass(frozen=True, slots=True)
class Result:
    """The best result so far in one exercise."""

    points: int = 0
    of: int = 0
    hints: int = 0
    shown: bool = False

    @property
    def solved(self) -> bool:
        return self.full and not self.shown

    @property
    def full(self) -> bool:
        """Whether it has all points."""
        return 0 < self.of == self.points


def read_progress() -> dict[str, Result]:
    """All results by exercise; none where there is no file, or one that makes no sense."""
    path = state_folder() / NAME
    if not path.is_file():  # a FIFO would wait for its writer
        return {}
    try:
        with path.open("rb") as file:
            read = json.loads(file.read(MOST_BYTES))
        return {str(key): _result(value) for key, value in read.items()}
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return {}


def _result(value: dict[str, object]) -> Result:
    numbers = [value[key] for key in ("points", "of", "hints")]
    if not all(isinstance(number, int) and 0 <= number <= 10_000 for number in numbers):
        raise ValueError(value)
    points, of, hints = (int(str(number)) for number in numbers)
    return Result(points, of, hints, value["shown"] is True)


def save_result(exercise: str, result: Result) -> Result:
    """Keep the better of this result and the one there was; returns it. Raises OSError."""
    with _locked():
        progress = read_progress()
        before = progress.get(exercise, Result())
        if before.solved:
            return before
        if result.shown:
            result = replace(result, points=before.points)
        elif not result.full:
            best = max(before.points, result.points)
            result = replace(result, points=best, shown=before.shown)
        progress[exercise] = result
        write_state(NAME, json.dumps({key: asdict(r) for key, r in progress.items()}, indent=2))
    return result


@contextmanager
def _locked() -> Iterator[None]:
    descriptor = os.open(make_state_folder(), os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
