"""What the command line says about exercises, understood before anything is built."""

from __future__ import annotations

from pathlib import Path

import click

from napt_lab.labs.exercises.answers import load_answers
from napt_lab.labs.exercises.exercise import LEVELS, Exercise, load, names, series
from napt_lab.labs.exercises.tasks import Task, prepare

SUFFIX = ".yaml"


def chosen(text: str, part: str | None = None) -> tuple[tuple[Exercise, ...], str | None]:
    """`9c`, `9c/door` or a file -> exercises, and the name of one, if one is meant.

    Raises TopologyError, for what is wrong with a file, and click.UsageError.
    """
    if text.endswith(SUFFIX):
        return (load(Path(text).absolute()),), None
    level, _, name = text.partition("/")
    name = part or name
    if level not in LEVELS:
        there = ", ".join(LEVELS)
        raise click.UsageError(
            f"there are no exercises {level!r}; there are: {there}, and files of your own (*.yaml)"
        )
    if name and name not in names(level):
        there = ", ".join(names(level))
        raise click.UsageError(f"level {level} has no exercise {name!r}; there are: {there}")
    return series(level), name or None


def read_tasks(text: str, answers: Path) -> list[Task]:
    """The exercises that `text` names, with the answers in a file. Raises TopologyError."""
    exercises, name = chosen(text)
    wanted = [exercise for exercise in exercises if name in (None, exercise.name)]
    return prepare(wanted, load_answers(answers, [exercise.name for exercise in exercises]))
