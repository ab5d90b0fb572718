"""What is to be graded: exercises with answers, checked before a network is built."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from napt_lab.labs.exercises.answers import Answers, Line
from napt_lab.labs.exercises.exercise import Exercise, Setting
from napt_lab.labs.exercises.node_names import NodeNames
from napt_lab.topologies.spec.errors import TopologyError, placed
from napt_lab.topologies.spec.model import Topology

TOO_LATE = "`set` builds the network anew, without what was done before; allowed: set first"


@dataclass(frozen=True, slots=True)
class Task:
    """One exercise with an answer to it; `lines` is None if there is none.

    `refused`: what is wrong with the answer, if it is done as far as it can be.
    """

    exercise: Exercise
    topology: Topology
    lines: tuple[Line, ...] | None
    refused: tuple[str, ...] = ()


def as_far_as_possible(exercises: Sequence[Exercise], answers: Answers) -> list[Task]:
    """All that is to be graded, without the lines that cannot be done: their problems say why."""
    tasks = []
    for exercise in exercises:
        lines = answers.lines.get(exercise.name)
        possible = _possible(exercise, lines or (), answers)
        topology = exercise.topology(settings(possible, answers.path))
        refused = tuple(answers.problems.within(exercise.name))
        tasks.append(Task(exercise, topology, None if lines is None else possible, refused))
    return tasks


def settings(lines: Sequence[Line], path: Path) -> tuple[Setting, ...]:
    """The `set` lines of an answer."""
    return tuple(
        Setting(line.words[1], line.words[2], line.words[3], str(path), line.number, line.path)
        for line in lines
        if line.words[0] == "set"
    )


def _possible(exercise: Exercise, lines: Sequence[Line], answers: Answers) -> tuple[Line, ...]:
    """The lines that this exercise knows the nodes and settings of, and in an order that can be."""
    names = NodeNames.of(exercise.topology())
    possible: list[Line] = []
    for line in lines:
        wrong: list[str] = []
        try:
            if line.words[0] == "set":
                if any(before.words[0] != "set" for before in possible):
                    wrong.append(TOO_LATE)
                exercise.topology(settings([*possible, line], answers.path))
            else:
                names.check_line(line.words)
        except TopologyError as error:
            told = (placed(answers.path, problem)[1] for problem in error.problems)
            wrong += [message.removeprefix(f"{line.path}: ") for message in told]
        except ValueError as error:
            wrong.append(str(error))
        for message in wrong:
            answers.problems.add(line.number, line.path, message)
        if not wrong:
            possible.append(line)
    return tuple(possible)
