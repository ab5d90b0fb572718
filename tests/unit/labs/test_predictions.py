"""What the steps ask: every question can be answered, and what the network shows decides."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from napt_lab.labs.course.registry import LABS
from napt_lab.labs.exercises.exercise import names
from napt_lab.labs.records.stream import Stream
from napt_lab.labs.stage.narration import Narration
from napt_lab.labs.stage.prediction import Choice, choose, number

WHO = choose(
    Choice("napt", "the NAPT"), Choice("pc", "the PC itself", "PCs answer."), exercise="9c/door"
)
MANY = number(65_535, {65_536: "Port 0 can be used."})


def test_an_answer_is_a_letter_or_a_number():
    assert [WHO.read(typed) for typed in ("a", " B ")] == ["the NAPT", "the PC itself"]
    assert [MANY.read(typed) for typed in ("65536", "65,535", "7")] == ["65,536", "65,535", "7"]
    for typed in ("c", "ab", "1", ""):
        with pytest.raises(ValueError, match="type a letter, a to b"):
            WHO.read(typed)
    for typed in ("many", "-1", "1" * 10):
        with pytest.raises(ValueError, match="type a whole number, as in 12"):
            MANY.read(typed)


def test_what_was_found_is_told_in_the_words_of_its_choice():
    assert (WHO.text_of("pc"), WHO.text_of("relay")) == ("the PC itself", "relay")
    assert (MANY.text_of(65_535), MANY.text_of(3)) == ("65,535", "3")
    assert (WHO.right, WHO.belief("the PC itself"), MANY.belief("3")) == (
        "the NAPT",
        "PCs answer.",
        "",
    )


@pytest.mark.parametrize(
    "choices",
    [
        [Choice(1, "one"), Choice(2, "two")],
        [Choice(1, "one", "b"), Choice(2, "two", "b")],
        [Choice(1, "one"), Choice(1, "two", "b")],
        [Choice(1, "one")],
    ],
)
def test_one_choice_is_right_and_each_has_a_value_of_its_own(choices):
    with pytest.raises(ValueError, match="one right choice"):
        choose(*choices)


STEPS = {
    f"{lab_id} {step.title}": step
    for lab_id, entry in LABS.items()
    for part in entry.lab().parts
    for step in part.steps
}


@pytest.mark.parametrize("title", STEPS)
def test_every_step_asks_one_question_and_names_an_exercise_that_exists(title):
    step = STEPS[title]
    assert step.predict is not None
    assert step.ask.count("?") == 1
    if step.predict.exercise:
        level, name = step.predict.exercise.split("/")
        assert name in names(level)


def test_the_right_choice_has_no_place_of_its_own():
    places = [
        step.predict.texts.index(step.predict.right)
        for step in STEPS.values()
        if step.predict and step.predict.texts
    ]
    assert min(places.count(place) for place in range(3)) > len(places) // 6


def told(said, *, value="napt"):
    """The narration of one prediction, and of the end."""
    out, stream = io.StringIO(), Stream()
    stream.listen(Narration(Console(file=out, width=100)))
    stream.emit(
        "prediction", step=3, said=said, seen=WHO.text_of(value), expected=WHO.right,
        right=(said == WHO.text_of(value)) if said else None, belief=WHO.belief(said),
        evidence="napt:lan0: its RST", exercise=WHO.exercise,
    )  # fmt: skip
    stream.emit("end", passed=True, seconds=1.0, learned=[], error="")
    return out.getvalue()


def test_a_belief_is_held_against_what_was_seen():
    wrong = told("the PC itself")
    assert "You said: the PC itself\n  The belief behind it: PCs answer.\n" in wrong
    assert "  Seen: the NAPT\n    napt:lan0: its RST\n" in wrong
    assert "0 of 1 predictions were right\n  Step 3. You believed: PCs answer.\n" in wrong
    assert "The exercise that fits: `make exercise-9c PART=door`" in wrong
    right = told("the NAPT")
    assert "You predicted it: the NAPT\n    napt:lan0: its RST\n" in right
    assert "1 of 1 predictions were right\n" in right
    assert "fits" not in right
    skipped = told("")
    assert "Seen: the NAPT" in skipped
    assert "predictions were" not in skipped
    other = told("the NAPT", value="pc")
    assert "You said: the NAPT\n  Seen: the PC itself\n" in other
    assert "The course expects: the NAPT. This network does otherwise." in other
