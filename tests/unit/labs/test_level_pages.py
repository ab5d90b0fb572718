"""What a level says at its end is on its page as well, and what comes next exists."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from napt_lab.labs.course.registry import LABS, what_next
from napt_lab.labs.exercises.exercise import LEVELS

LABS_FOLDER = Path(__file__).parents[3] / "labs"
MAKEFILE = LABS_FOLDER.parent / "Makefile"


@pytest.mark.parametrize("lab_id", LABS)
def test_three_sentences_are_on_the_page(lab_id):
    lab = LABS[lab_id].lab()
    page = (LABS_FOLDER / f"level_{lab_id}" / "README.md").read_text("utf-8")
    assert len(lab.learned) == 3
    for number, sentence in enumerate(lab.learned, start=1):
        assert f"\n{number}. {sentence}\n" in page


@pytest.mark.parametrize("lab_id", LABS)
def test_what_comes_next_can_be_typed(lab_id):
    assert lab_id in LEVELS, "put it into LEVELS in labs/exercises/exercise.py"
    for level in re.findall(r"`make lab-(\w+)`", what_next(lab_id)):
        assert level in LABS
    for level in re.findall(r"`make exercise-(\w+)`", what_next(lab_id)):
        assert level in LEVELS


def test_the_first_half_of_level_8_ends_where_its_page_says():
    lab = LABS["8"].lab()
    (first_half_ends,) = (n for n, part in enumerate(lab.parts) if part.then)
    assert "`make lab-8 RESUME=1`" in lab.parts[first_half_ends].then
    steps = sum(len(part.steps) for part in lab.parts)
    before = sum(len(part.steps) for part in lab.parts[: first_half_ends + 1])
    page = (LABS_FOLDER / "level_8" / "README.md").read_text("utf-8")
    assert (steps, before) == (17, 10)
    assert "It has 17 steps. After the tenth" in page
