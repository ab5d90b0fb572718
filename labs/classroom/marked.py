"""The marks of one submission, and the folder that keeps them: after a kill, a run goes on.

A submission's marks are kept under a digest of all that they depend on: its files, the exercises,
the student's variant, the source of this project. The same files are not marked twice, and a
changed file is marked anew. What could not be marked is not kept.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from napt_lab.labs.setup.bootstrap import give_to_owner
from napt_lab.topologies.spec.checkout import ROOT


@dataclass(frozen=True, slots=True)
class PartMarks:
    """An exercise, or the translator: its points, and what there is to say about it.

    `checks` has text, points, of, verdict, message and evidence of each assertion or claim.
    """

    name: str
    title: str
    points: int
    of: int
    messages: tuple[str, ...]
    checks: tuple[dict[str, Any], ...]
    seconds: float
    error: str = ""  # why it could not be marked: no fault of the student's


@dataclass(frozen=True, slots=True)
class Marked:
    """All parts of one submission."""

    id: str
    name: str
    parts: tuple[PartMarks, ...]
    said: tuple[str, ...] = ()  # about the files as a whole

    @property
    def error(self) -> str:
        """Why it could not be marked, if it could not."""
        return next((part.error for part in self.parts if part.error), "")

    @property
    def points(self) -> int:
        return sum(part.points for part in self.parts)

    @property
    def of(self) -> int:
        return sum(part.of for part in self.parts)

    @property
    def messages(self) -> tuple[str, ...]:
        """All that there is to say, each with its part."""
        said = [
            f"{part.name}: {text}"
            for part in self.parts
            for text in ([f"could not be marked: {part.error}"] if part.error else part.messages)
        ]
        return (*self.said, *said)


def as_text(marked: Marked) -> str:
    """As JSON."""
    return json.dumps(asdict(marked), ensure_ascii=False)


def from_text(text: str) -> Marked:
    """What `as_text` has written. Raises ValueError, TypeError, KeyError for anything else."""
    read = json.loads(text)
    parts = tuple(
        PartMarks(**part | {key: tuple(part[key]) for key in ("messages", "checks")})
        for part in read["parts"]
    )
    return Marked(read["id"], read["name"], parts, tuple(read["said"]))


class CannotKeep(Exception):
    """Marks cannot be kept, for the reason `error`."""

    def __init__(self, error: OSError) -> None:
        super().__init__(str(error))
        self.error = error


class KeptMarks:
    """A folder with the marks of before. Raises CannotKeep if it cannot be made."""

    def __init__(self, folder: Path) -> None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise CannotKeep(error) from error
        self._folder = folder

    def get(self, key: str) -> Marked | None:
        """The marks that were kept under this key, if there are any."""
        try:
            return from_text((self._folder / f"{key}.json").read_text("utf-8"))
        except (OSError, ValueError, TypeError, KeyError):
            return None

    def put(self, key: str, marked: Marked) -> None:
        """Keep them: a reader sees all of the file or none. Raises CannotKeep."""
        fresh = self._folder / f".{key}.{os.getpid()}"
        try:
            fresh.write_text(as_text(marked), encoding="utf-8")
            fresh.replace(self._folder / f"{key}.json")
        except OSError as error:
            raise CannotKeep(error) from error

    def give_to_owner(self) -> None:
        """Root's files in a user's clone belong to the user."""
        give_to_owner(self._folder)


def key_of(files: Iterable[Path | None], words: Iterable[str]) -> str:
    """The digest of files and words that marks depend on. A file that cannot be read is "gone"."""
    digest = hashlib.sha256(_source())
    for path in files:
        try:
            content = b"no file" if path is None else path.read_bytes()
        except OSError:
            content = b"gone"
        digest.update(hashlib.sha256(content).digest())
    for word in words:
        digest.update(hashlib.sha256(word.encode("utf-8", "surrogateescape")).digest())
    return digest.hexdigest()


@functools.cache
def _source() -> bytes:
    """The digest of all source, and of the levels' networks: marks of others do not count."""
    digest = hashlib.sha256()
    folders = ("labs", "nat_node", "servers", "topologies")
    source = [path for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))]
    for path in (*source, *sorted((ROOT / "topologies").glob("*.yaml"))):
        digest.update(path.read_bytes())
    return digest.digest()
