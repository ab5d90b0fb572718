"""Exercises on real packets: the solution, nothing at all, and the usual mistakes."""

from __future__ import annotations

import pytest

from napt_lab.labs.exercises.answers import parse_line
from napt_lab.labs.exercises.attempt import Attempt, fresh_network
from napt_lab.labs.exercises.exercise import LEVELS, series
from napt_lab.labs.exercises.marking import mark
from napt_lab.labs.exercises.tasks import settings

EXERCISES = [exercise for level in LEVELS for exercise in series(level)]


RULE = "rule add napt_a tcp 24.9.3.7:8080 10.0.0."
#: Answers that are like one of the usual mistakes, for what was refused before is no longer true.
MENDED = {
    (f"{RULE}9:8080", f"{RULE}7:8080"): (f"{RULE}7:8080",),
    (f"{RULE}7:8080", f"{RULE}9:8080"): (f"{RULE}7:8080",),
}


class Classroom:
    """A network for one answer after the other; a fresh one where settings differ."""

    def __init__(self, exercise):
        self.exercise = exercise
        self._settings = None
        self._network = None

    def marks(self, answer):
        lines = [parse_line(text) for text in answer]
        wanted = _sets(answer)
        if self._network is None or wanted != self._settings:
            self.close()
            self._settings = wanted
            topology = self.exercise.topology(settings(lines, self.exercise.path))
            self._network = fresh_network(topology)
            self.net, self.wire = self._network.__enter__()
        self._tidy()
        services = {process.pid for node in self.net for process in node.processes}
        attempt = Attempt(self.exercise, self.net, self.wire)
        for line in lines:
            attempt.do(line)
        marks = mark(attempt)
        for process in (process for node in self.net for process in node.processes):
            if process.pid not in services:  # what the answer has left in the background
                process.kill()
                process.await_end()
        return marks

    def _tidy(self):
        for node in self.net:
            for rule in node.napt.rules() if node.napt is not None else ():
                if rule["explicit"]:
                    node.napt.remove(rule["protocol"], rule["external"])
            for path in node.home.iterdir():
                if path.is_file():
                    path.unlink()
            for path in (node.home / "files").glob("*"):
                path.unlink()

    def close(self):
        if self._network is not None:
            self._network.__exit__(None, None, None)


def _sets(answer):
    return [line for line in answer if line.startswith("set ")]


@pytest.mark.network(timeout=120)
@pytest.mark.parametrize("exercise", EXERCISES, ids=lambda exercise: exercise.id)
def test_solution_nothing_and_mistakes(exercise):
    answers = [(mistake.answer, mistake) for mistake in exercise.mistakes]
    if exercise.id == "9c/door":
        by_answer = {mistake.answer: mistake for mistake in exercise.mistakes}
        answers += [(answer, by_answer[like]) for answer, like in MENDED.items()]
    answers += [((), None), (exercise.solution, None)]
    answers.sort(key=lambda answer: (_sets(answer[0]), len(answer[0])))
    classroom = Classroom(exercise)
    try:
        for answer, mistake in answers:
            marks = classroom.marks(answer)
            assert not marks.unknown, marks
            assert marks.full == (answer == exercise.solution), (answer, marks)
            if mistake is not None:
                assert marks.advice == (mistake.says,), (answer, marks)
            elif marks.full:
                assert marks.got == marks.of
            else:
                assert marks.got == 0
    finally:
        classroom.close()
