"""What students have handed in: a folder with a file or a folder for each.

    submissions/
      mia.yaml              mia's answers
      noah.py               noah's translator
      ada/answers.yaml      ada's answers …
      ada/mine.py           … and her translator

Names of files come from strangers, as what is in them does: a link is not followed, and what would
steer a terminal is shown as text.
"""

from __future__ import annotations

import csv
import io
import stat
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

ANSWERS, TRANSLATOR = "answers.yaml", "mine.py"
KINDS = {".yaml": "answers", ".yml": "answers", ".py": "translator"}
MOST_BYTES = 1 << 20  # of one file


class FolderError(Exception):
    """The folder, or the file with students' names, cannot be used; the text says why."""


@dataclass(frozen=True, slots=True)
class Submission:
    """One student's. `problem`: why there is nothing to mark; "" if there is something.

    `note`: what a teacher should know of it.
    """

    id: str
    name: str = ""
    answers: Path | None = None
    translator: Path | None = None
    problem: str = ""
    note: str = ""


def handed_in(folder: Path, names: dict[str, str]) -> tuple[list[Submission], list[str]]:
    """All submissions by ID, those of `names` that handed in nothing too, and what was left out.

    `names`: students' names by ID. FolderError if the folder cannot be read.
    """
    found: dict[str, Submission] = {}
    left_out: list[str] = []
    try:
        entries = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    except OSError as error:
        raise FolderError(f"{folder}: {error.strerror}; allowed: a folder") from error
    for path in entries:
        if path.is_dir() and not path.is_symlink():
            who = _shown(path.name)
            try:
                _add_folder(found, who, path)
            except OSError as error:
                problem = f"the folder cannot be read: {error.strerror}"
                found[who] = Submission(who, problem=problem)
        elif path.suffix.lower() in KINDS:
            _add(found, _shown(path.stem), [path])
        else:
            left_out.append(_shown(path.name))
    for who in found.keys() - names.keys() if names else ():
        found[who] = replace(found[who], note="this ID is not in the list of students")
    others = {Path(name).stem: name for name in left_out}
    for who, name in names.items():
        if who not in found:
            problem = "nothing was handed in"
            if who in others:
                problem += f" but {others[who]}; allowed: {who}.yaml or {who}.py"
            found[who] = Submission(who, problem=problem)
        found[who] = replace(found[who], name=name)
    return [found[who] for who in sorted(found)], left_out


def _add_folder(found: dict[str, Submission], who: str, folder: Path) -> None:
    there = {path.name for path in folder.iterdir()}
    wanted = (ANSWERS, "answers.yml", TRANSLATOR)
    _add(found, who, [folder / name for name in wanted if name in there])
    if who not in found:
        wrong = f"neither {ANSWERS} nor {TRANSLATOR} is in this folder"
        found[who] = Submission(who, problem=f"{wrong}{_instead(folder)}")


def _add(found: dict[str, Submission], who: str, files: list[Path]) -> None:
    for path in files:
        submission = found.get(who, Submission(who))
        kind = KINDS[path.suffix.lower()]
        if getattr(submission, kind) is not None:
            both = f"{getattr(submission, kind)} and {path}"
            raise FolderError(f"{who} has handed in {both}: remove the one that does not count")
        problem = _problem(path)
        change = {"problem": f"{_shown(path.name)} {problem}"} if problem else {kind: path}
        found[who] = replace(submission, **change)


def _problem(path: Path) -> str:
    status = path.lstat()
    if not stat.S_ISREG(status.st_mode):
        return "is a link, a folder or a pipe; allowed: a file"
    if status.st_size > MOST_BYTES:
        return f"is too large; allowed: at most {MOST_BYTES:,} bytes"
    return ""


def _instead(folder: Path) -> str:
    there = sorted(_shown(path.name) for path in folder.iterdir())[:5]
    return f"; there is: {', '.join(there)}" if there else "; it is empty"


def _shown(name: str) -> str:
    """The name of a file as text: it may hold bytes that are no text, and control characters.

    In Unicode's composed form (NFC), as IDs are: a Mac writes file names in the other one.
    """
    text = name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    text = unicodedata.normalize("NFC", text)
    return text if text.isprintable() else repr(text)[1:-1]


def read_names(path: Path) -> dict[str, str]:
    """Names by ID, from a CSV file with the columns `id` and `name`. FolderError."""
    try:
        with path.open("rb") as file:
            data = file.read(MOST_BYTES)
        return dict(_rows(path, data.decode("utf-8-sig")))
    except UnicodeDecodeError as error:
        line = 1 + data.count(b"\n", 0, error.start)
        byte = f"0x{data[error.start]:02x}"
        raise FolderError(f"{path}:{line}: the byte {byte} is not UTF-8; allowed: UTF-8") from error
    except (OSError, csv.Error) as error:
        why = getattr(error, "strerror", error)
        raise FolderError(f"{path}: {why}; allowed: a CSV file with id and name") from error


def _rows(path: Path, text: str) -> Iterator[tuple[str, str]]:
    reader = csv.DictReader(io.StringIO(text, newline=""))
    columns = {str(column).strip().lower(): column for column in reader.fieldnames or ()}
    if "id" not in columns:
        there = ", ".join(columns) or "nothing"
        raise FolderError(f"{path}:1: no column id, but: {there}; allowed: id,name")
    lines: dict[str, int] = {}
    for row in reader:
        who = unicodedata.normalize("NFC", (row[columns["id"]] or "").strip())
        if Path(who).name != who or who.startswith(".") or not who.isprintable():
            where = f"{path}:{reader.line_num}"
            allowed = "printable characters, no / among them, and not beginning with a dot"
            raise FolderError(f"{where}: {who!r} cannot be the name of a file; allowed: {allowed}")
        if who in lines:
            where = f"{path}:{reader.line_num}"
            raise FolderError(f"{where}: {who!r} is also on line {lines[who]}; allowed: once")
        if who:
            lines[who] = reader.line_num
            yield who, (row.get(columns.get("name", ""), "") or "").strip()
