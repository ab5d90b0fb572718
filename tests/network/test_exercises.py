"""Exercises on real packets: the solution, nothing at all, and the usual mistakes."""

from __future__ import annotations

import pytest

from napt_lab.labs.exercises.exercise import FOLDER, Mistake, cases, load
from napt_lab.labs.exercises.rehearsal import RehearsalNetwork, rehearse, run_rehearsal
from napt_lab.labs.verdict.verdicts import Verdict

# Not read before they are played: every worker would read them all.
EXERCISES = sorted(FOLDER.glob("*.yaml"))


RULE = "rule add napt_a tcp 24.9.3.7:8000 10.0.0."
#: Answers that are like one of the usual mistakes, for what was refused before is no longer true.
MENDED = {
    (f"{RULE}9:8000", f"{RULE}7:8000"): (f"{RULE}7:8000",),
    (f"{RULE}7:8000", f"{RULE}9:8000"): (f"{RULE}7:8000",),
}


@pytest.mark.network(timeout=120)
@pytest.mark.parametrize("path", EXERCISES, ids=lambda path: path.stem)
def test_solution_nothing_and_mistakes(path):
    for exercise in cases(load(path)):
        _rehearse(exercise)


def _rehearse(exercise):
    more: list[tuple[tuple[str, ...], Mistake]] = []
    if exercise.id == "9c/door":
        by_answer = {mistake.answer: mistake for mistake in exercise.mistakes}
        more = [(answer, by_answer[like]) for answer, like in MENDED.items()]
    if exercise.id == "9b/relay":  # advice is about the last word, not about one of before
        differ, _, refused, _ = exercise.mistakes
        more = [((*refused.answer, *differ.answer), differ)]
    if exercise.id in {"9a/exchange", "9a/stranger"}:  # … nor about what was dropped before
        dropped, later, *_ = exercise.mistakes
        more = [((*dropped.answer, *later.answer), later)]
    if exercise.id == "9c/hairpin":
        dropped, _, later = exercise.mistakes
        more = [((*dropped.answer, later.answer[-1]), later)]
    done = list(rehearse(exercise, more))
    assert len(done) == 2 + len(exercise.mistakes) + len(more)
    assert [each for each in done if each.problem] == []
    assert all(each.marks.got == each.marks.of for each in done if each.marks.full)


@pytest.mark.network(timeout=120)
@pytest.mark.parametrize(
    "extra",
    [
        "rule add napt_a tcp 24.9.3.7:9999 10.0.0.8:8000",  # to another PC
        "rule add napt_a tcp 24.9.3.7:9999 10.0.0.7:22",  # to the same PC
        "rule add napt_a udp 24.9.3.7:8000 10.0.0.7:8000",
    ],
)
def test_one_rule_too_many_costs_points_and_is_told(extra):
    exercise = load(FOLDER / "9c-5-repair.yaml")
    with RehearsalNetwork(exercise) as network:
        right = network.marks(exercise.solution)
        assert right.full
        assert right.got == right.of
        marks = network.marks((*exercise.solution, extra))
    (missed,) = [mark for mark in marks.marks if mark.verdict is not Verdict.PASSED]
    assert missed.text == "napt_a has one rule for alice's server, and no other"
    assert "the right rule and no other" in missed.message
    assert marks.got == marks.of - missed.points < marks.of


@pytest.mark.network(timeout=60)
def test_an_unsound_exercise_is_told(tmp_path, capsys):
    text = (FOLDER / "8-1-proxy.yaml").read_text()
    file = tmp_path / "mine.yaml"
    file.write_text(text.replace("has pc:page.html", "has pc:other.html"))
    assert run_rehearsal([load(file)]) == 1
    said = capsys.readouterr().out
    assert "✗ the solution: it does not get full marks" in said
    assert "✓ nothing done" in said
    file = tmp_path / "another.yaml"
    file.write_text(text.replace("has pc:page.html", "not has pc:other.html"))
    assert run_rehearsal([load(file)]) == 1
    (told,) = [line for line in capsys.readouterr().out.splitlines() if "✗ nothing done" in line]
    assert "because this holds from the start: " in told
    assert told.endswith(" (write `points: 0` there)")
    file = tmp_path / "alike.yaml"
    mistakes = text.index("mistakes:")
    file.write_text(f"{text[:mistakes]}vary: [24.9.3.7]\n".replace("vary: [151", "# [151"))
    assert run_rehearsal([load(file)]) == 1
    said = capsys.readouterr().out
    assert said.count("✓ a student's variant") == 2
    assert said.count("✗ another variant's solution: it gets 3 of 3 points") == 2
