"""What is marked of each student: exercises in the student's variant, and a translator's claims."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from napt_lab.labs.classroom.submissions import Submission
from napt_lab.labs.exercises.exercise import Exercise, load
from napt_lab.labs.exercises.variant import Student
from napt_lab.labs.translator.claims import Earned, claimed_in
from napt_lab.labs.translator.grade import ALL_SECONDS

TRANSLATOR = "translator"
EXERCISE_SECONDS = 180.0  # that one exercise may take: all of its lines, and its marking


@dataclass(frozen=True, slots=True)
class Assignment:
    """Exercises as they were written, and the claims that a translator must earn.

    No claims: no translator is marked. `student`: whose variant it is, if all have their own.
    """

    exercises: tuple[Exercise, ...]
    claims: tuple[Earned, ...] = ()
    student: Student | None = None

    @property
    def seconds(self) -> float:
        """What a submission may take at the most."""
        translator = 2 * ALL_SECONDS if self.claims else 0.0
        return 30.0 + EXERCISE_SECONDS * len(self.exercises) + translator

    @property
    def names(self) -> list[str]:
        """What each part is called, in order."""
        return [*(exercise.id for exercise in self.exercises), *[TRANSLATOR][: len(self.claims)]]

    def variants(self) -> tuple[Exercise, ...]:
        """The exercises as this student has them."""
        if self.student is None:
            return self.exercises
        return tuple(load(exercise.path, self.student) for exercise in self.exercises)


def for_class(
    exercises: Sequence[Exercise], submissions: Sequence[Submission], secret: bytes | None
) -> dict[str, Assignment]:
    """The assignment of each student, by ID. Without a secret all have the same.

    Answers are marked if anyone has handed in answers, translators if anyone has handed in one.
    Raises ValueError for an ID that no variant can be made for.
    """
    any_translator = any(submission.translator for submission in submissions)
    claims = claimed_in(exercises[0].level) if any_translator else ()
    if claims and not any(submission.answers for submission in submissions):
        exercises = ()
    if secret is None or not exercises:
        same = Assignment(tuple(exercises), claims)
        return {submission.id: same for submission in submissions}
    return {
        one.id: Assignment(tuple(exercises), claims, Student.of(one.id, secret))
        for one in submissions
    }
