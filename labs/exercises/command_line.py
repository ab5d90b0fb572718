"""What the command line says about exercises, understood before anything is built."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import click

from napt_lab.labs.exercises.answers import load_answers
from napt_lab.labs.exercises.exercise import LEVELS, Exercise, load, names, series
from napt_lab.labs.exercises.tasks import Task, as_far_as_possible
from napt_lab.labs.exercises.variant import Student

SUFFIX = ".yaml"
SECRET = "NAPT_LAB_SECRET"  # in the environment: the secret itself
SHORTEST_SECRET, LONGEST_SECRET = 16, 1 << 12  # bytes


def chosen(
    text: str, part: str | None = None, student: Student | None = None
) -> tuple[tuple[Exercise, ...], str | None]:
    """`9c`, `9c/door`, a file or a folder -> exercises, and the name of one, if one is meant.

    They are the variants of `student`, if one is given. Raises TopologyError, for what is wrong
    with a file, and click.UsageError.
    """
    if text.endswith(SUFFIX):
        return (load(Path(text).absolute(), student),), None
    level, _, name = text.partition("/")
    name = part or name
    if level not in LEVELS:
        own = sorted(Path(text).absolute().glob(f"*{SUFFIX}"))
        if own:
            found = (load(path, student) for path in own)
            return tuple(replace(each, number=nth) for nth, each in enumerate(found, 1)), part
        there = ", ".join(LEVELS)
        raise click.UsageError(
            f"there are no exercises {level!r}; there are: {there}, and files of your own "
            "(*.yaml, or a folder of them)"
        )
    if name and name not in names(level):
        there = ", ".join(names(level))
        raise click.UsageError(f"level {level} has no exercise {name!r}; there are: {there}")
    return series(level, student), name or None


def read_tasks(
    text: str, file: Path, student: Student | None = None
) -> tuple[list[Task], list[str]]:
    """The exercises that `text` names, with the answers in a file; what is wrong with other lines.

    Raises TopologyError for a file that cannot be read, or has none of the exercises.
    """
    exercises, name = chosen(text, student=student)
    wanted = [exercise for exercise in exercises if name in (None, exercise.name)]
    answers = load_answers(file, [exercise.name for exercise in exercises])
    if not answers.lines:
        answers.problems.raise_if_any()
    tasks = as_far_as_possible(wanted, answers)
    others = answers.problems.outside([exercise.name for exercise in wanted])
    return tasks, [f"{file}:{problem.removeprefix('line ')}" for problem in others]


def read_secret(file: Path | None) -> bytes | None:
    """The secret of a course: from a file, or from the environment. Raises click.UsageError."""
    try:
        secret = os.environb.get(SECRET.encode()) if file is None else _first_bytes(file)
    except OSError as error:
        raise click.UsageError(f"--secret {file}: {error.strerror}") from error
    if secret is None:
        return None
    secret = secret.strip()
    if not SHORTEST_SECRET <= len(secret) <= LONGEST_SECRET:
        where = SECRET if file is None else file
        allowed = f"{SHORTEST_SECRET} to {LONGEST_SECRET}"
        raise click.UsageError(f"{where}: {len(secret)} bytes are not a secret; allowed: {allowed}")
    return secret


def _first_bytes(file: Path) -> bytes:
    with file.open("rb") as opened:
        return opened.read(LONGEST_SECRET + 2)


def read_student(text: str | None, secret: bytes | None) -> Student | None:
    """`ID:KEY`, or `ID` where the secret is known. Raises click.UsageError."""
    if text is None:
        return None
    text = text.strip()  # a file with student.txt's line may end with CR LF
    try:
        if ":" in text:
            student = Student.from_code(text)
            if secret is not None and student != Student.of(student.id, secret):
                raise ValueError("this key was not made from the course's secret")
            return student
        if secret is not None:
            return Student.of(text, secret)
    except ValueError as error:
        raise click.UsageError(f"--student (STUDENT): {error}") from error
    raise click.UsageError(
        f"--student {text} (STUDENT): write ID:KEY, as you were given it, or give the course's "
        f"secret (--secret FILE, or {SECRET})"
    )
