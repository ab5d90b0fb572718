"""The errors of a topology file: where they are, what is wrong, and what is allowed.

One line for each problem, `FILE:LINE: path.to.key: what is wrong; allowed: … (did you mean …?)`,
and all problems of a file at once. Text from the file is shown in quotes, shortened, and with
control characters escaped: a file could otherwise send commands to the reader's terminal.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence
from difflib import get_close_matches
from pathlib import Path

LONGEST_QUOTE = 40  # characters of the file's own text shown in a message

#: The names of behaviors before RFC 4787 (RFC 3489), which people still use.
OLD_NAMES = {
    "full-cone": "endpoint-independent",
    "restricted-cone": "address-dependent",
    "port-restricted-cone": "address-and-port-dependent",
    "symmetric": "address-and-port-dependent",
}


class TopologyError(Exception):
    """A topology file that cannot be used; `problems` are the lines to print, sorted."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class Problems:
    """The problems found so far in one file."""

    def __init__(self, file: str) -> None:
        self._file = file
        self._found: set[tuple[int, str, str]] = set()

    def add(self, line: int, path: str, message: str) -> None:
        """Note a problem at `line` (counted from 1); `path` is empty for the file as a whole.

        The line is 0 where there is none, because the file could not be read.
        """
        self._found.add((line, path, message))

    @property
    def count(self) -> int:
        """How many there are so far."""
        return len(self._found)

    def fatal(self, line: int, message: str) -> TopologyError:
        """The error to raise where the file cannot be read any further."""
        self.add(line, "", message)
        return TopologyError(self.lines())

    def raise_if_any(self) -> None:
        """Raise TopologyError with everything noted so far, if anything was."""
        if self._found:
            raise TopologyError(self.lines())

    def within(self, path: str) -> list[str]:
        """The problems at `path` or below it, each as `line N: what is wrong`, sorted."""
        found = [(line, message) for line, at, message in self._found if _is_below(at, path)]
        return [f"line {line}: {message}" for line, message in sorted(found)]

    def outside(self, paths: Collection[str]) -> list[str]:
        """The problems at none of these paths, nor below, each as `line N: path: what is wrong`."""
        return [
            f"line {line}: {at}: {message}" if at else f"line {line}: {message}"
            for line, at, message in sorted(self._found)
            if not any(_is_below(at, path) for path in paths)
        ]

    def lines(self) -> list[str]:
        """The problems noted so far, as lines to print, sorted."""
        return [
            ": ".join(filter(None, (f"{self._file}:{line}" if line else self._file, path, message)))
            for line, path, message in sorted(self._found)
        ]


def _is_below(at: str, path: str) -> bool:
    """Whether `door[0]` is at `door`, or below it."""
    return re.match(rf"{re.escape(path)}(?:$|[.\[])", at) is not None


def placed(file: Path, problem: str) -> tuple[int, str]:
    """Split a problem of `file` into its line number (1 if it has none) and its message."""
    if problem.startswith(f"{file}: "):
        return 1, problem.removeprefix(f"{file}: ")
    line, _, message = problem.removeprefix(f"{file}:").partition(": ")
    return int(line), message


def quoted(text: str) -> str:
    """Text from a file, ready to show: in quotes, shortened, unprintable characters escaped."""
    return repr(text if len(text) <= LONGEST_QUOTE else text[: LONGEST_QUOTE - 1] + "…")


def not_one_of(wrong: str, given: str, choices: Iterable[str]) -> str:
    """The message for a word that is not in `choices`, with the most similar choice."""
    words = list(choices)
    shown = (word if word.isprintable() else quoted(word) for word in words)
    message = f"{wrong}; allowed: {', '.join(shown)}"
    near = nearest(given, words)
    return f"{message} (did you mean '{near}'?)" if near else message


def nearest(given: str, words: Sequence[str]) -> str | None:
    """The word in `words` that the writer probably meant, or None."""
    given = given[:LONGEST_QUOTE].lower()
    for old in get_close_matches(given, OLD_NAMES, n=1, cutoff=0.8):
        if given not in words and OLD_NAMES[old] in words:
            return OLD_NAMES[old]
    begun = [word for word in words if given and (given.startswith(word) or word.startswith(given))]
    return next(iter(begun or get_close_matches(given, words, n=1)), None)
