"""Finds out whether a student's answers were written for another student's variant.

Each variant has addresses and ports that hardly any other has. So they tell whose network somebody
had before them when the answers were written. It is a hint, and takes no points: the answers of
another student get few anyway, for they name what is not there.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from napt_lab.labs.exercises.exercise import Exercise, distinctive, variant_values
from napt_lab.labs.exercises.variant import Student, words_of
from napt_lab.topologies.spec.yaml_nodes import MAX_BYTES

FEWEST = 2  # of a variant's words in the answers
WRITTEN = "the exercises as they are written, without a student's variant"


def words_of_variants(
    exercises: Sequence[Exercise], students: Iterable[Student]
) -> dict[str, frozenset[str]]:
    """The addresses and ports that each student's variants have, by ID; and those as written."""
    varied = {exercise.path: distinctive(exercise.path) for exercise in exercises}
    words = {WRITTEN: frozenset(word for each in varied.values() for word in each)}
    for student in students:
        values = {path: variant_values(path, student) for path in varied}
        words[student.id] = frozenset(
            values[path][word] for path, each in varied.items() for word in each
        )
    return words


def whose(answers: Path, who: str, words: Mapping[str, frozenset[str]]) -> str:
    """A sentence that names another variant, if the answers of `who` fit it; else "".

    Words of the variant of `who` are not counted: a student could add them to hide a copy.
    """
    there = words_in(answers)
    own = words[who]
    fits = {other: len((there & theirs) - own) for other, theirs in words.items()}
    best = max(fits, key=lambda other: fits[other])
    if fits[best] < FEWEST:
        return ""
    variant = best if best == WRITTEN else f"the variant of {best}"
    return (
        f"these answers fit {variant}: {fits[best]} of their addresses and ports are found there, "
        f"but not in the variant of {who}; {len(there & own)} are in the variant of {who}"
    )


def words_in(answers: Path) -> set[str]:
    """The words and addresses of a file; none if it cannot be read."""
    try:
        with answers.open("rb") as file:
            return words_of(file.read(MAX_BYTES).decode("utf-8", "replace"))
    except OSError:
        return set()
