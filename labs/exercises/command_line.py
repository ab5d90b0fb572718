"""What the command line says about exercises, understood before anything is built."""

from __future__ import annotations

from pathlib import Path

import click

from labs.exercises.answers import load_answers
from labs.exercises.exercise import LEVELS, names, series
from labs.exercises.tasks import Task, prepare


def which(text: str, part: str | None = None) -> tuple[str, str | None]:
    """`9c` or `9c/door` -> the level, and the exercise if one is named (by `part` as well)."""
    level, _, name = text.partition("/")
    name = part or name
    if level not in LEVELS:
        raise click.UsageError(f"there are no exercises {level!r}; there are: {', '.join(LEVELS)}")
    if name and name not in names(level):
        there = ", ".join(names(level))
        raise click.UsageError(f"level {level} has no exercise {name!r}; there are: {there}")
    return level, name or None


def read_tasks(text: str, answers: Path) -> list[Task]:
    """The exercises that `text` names, with the answers in a file. Raises TopologyError."""
    level, name = which(text)
    wanted = [exercise for exercise in series(level) if name in (None, exercise.name)]
    return prepare(wanted, load_answers(answers, names(level)))
