"""What is to be graded: exercises with answers, checked before a network is built."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from napt_lab.labs.exercises.answers import Answers, Line
from napt_lab.labs.exercises.exercise import Exercise, Setting
from napt_lab.labs.exercises.node_names import NodeNames
from napt_lab.topologies.spec.errors import Problems, TopologyError, placed
from napt_lab.topologies.spec.model import Topology


@dataclass(frozen=True, slots=True)
class Task:
    """One exercise with an answer to it; `lines` is None if there is none."""

    exercise: Exercise
    topology: Topology
    lines: tuple[Line, ...] | None


def prepare(exercises: Sequence[Exercise], answers: Answers) -> list[Task]:
    """All that is to be graded. Raises TopologyError with all that is wrong with the answers."""
    tasks = []
    for exercise in exercises:
        lines = answers.lines.get(exercise.name)
        try:
            topology = exercise.topology(settings(lines or (), answers.path))
        except TopologyError as error:
            for problem in error.problems:
                number, message = placed(answers.path, problem)
                answers.problems.add(number, "", message)
            topology = exercise.topology()
        _check_nodes(topology, lines or (), answers.problems)
        tasks.append(Task(exercise, topology, lines))
    answers.problems.raise_if_any()
    return tasks


def settings(lines: Sequence[Line], path: Path) -> tuple[Setting, ...]:
    """The `set` lines of an answer."""
    return tuple(
        Setting(line.words[1], line.words[2], line.words[3], str(path), line.number, line.path)
        for line in lines
        if line.words[0] == "set"
    )


def _check_nodes(topology: Topology, lines: Sequence[Line], problems: Problems) -> None:
    """Note each line that names a node which this exercise does not have."""
    names = NodeNames.of(topology)
    for line in lines:
        if line.words[0] == "set":
            continue  # read_topology has judged it
        try:
            names.check_line(line.words)
        except ValueError as error:
            problems.add(line.number, line.path, str(error))
