"""Finds out whether a class is marked with the secret from which its variants were drawn.

With another secret, or none, all variants are others, and all students get next to no points. The
answers then have addresses that fit no variant, and the keys that were handed out do not fit.
"""

from __future__ import annotations

import stat
from collections.abc import Mapping, Sequence
from pathlib import Path

from napt_lab.labs.classroom.submissions import ANSWERS
from napt_lab.labs.classroom.whose import FEWEST, words_in
from napt_lab.labs.exercises.variant import Student

CODE = "student.txt"  # beside a student's answers: the key that was handed out
LONGEST_CODE = 400  # bytes
_NO_SECRET = "are these variants? Then give the course's secret (--secret FILE)"
_OTHER_SECRET = "is this the right secret?"


def about_key(answers: Path, student: Student | None) -> str:
    """What is wrong with the key beside these answers, for this student; "" if nothing is."""
    if answers.stem != Path(ANSWERS).stem:
        return ""
    path = answers.with_name(CODE)
    try:
        if not stat.S_ISREG(path.lstat().st_mode):
            return ""
        with path.open("rb") as file:
            code = Student.from_code(file.read(LONGEST_CODE).decode("utf-8", "replace"))
    except (OSError, ValueError):  # nothing there, the template's line, or a mistyped key
        return ""
    if student is None:
        return f"{CODE} has a key of {code.id}: {_NO_SECRET}"
    if code.id != student.id:
        return f"{CODE} has the key of {code.id}"
    return "" if code == student else f"the key in {CODE} is not of this secret: {_OTHER_SECRET}"


def about_secret(
    answers: Sequence[Path], words: Mapping[str, frozenset[str]], *, secret: bool
) -> str:
    """A warning if most of these answers, which did not get all points, fit no variant at all.

    `words`: the addresses and ports of all variants. `secret`: whether one was given.
    """
    if not any(words.values()):
        return ""
    found = [words_in(path) for path in answers]
    found = [there for there in found if sum(word.count(".") == 3 for word in there)]
    strays = sum(all(len(there & own) < FEWEST for own in words.values()) for there in found)
    if 2 * strays <= len(found):
        return ""
    fits = "anybody's variant" if secret else "the exercises as they are written"
    asks = _OTHER_SECRET if secret else _NO_SECRET
    return f"{strays} of {len(found)} answers do not fit {fits}: {asks}"
