"""Exercises on real packets: the solution, nothing at all, and the usual mistakes."""

from __future__ import annotations

import pytest

from napt_lab.labs.exercises.exercise import FOLDER, Mistake, load
from napt_lab.labs.exercises.rehearsal import rehearse, run_rehearsal

# Not read before they are played: every worker would read them all.
EXERCISES = sorted(FOLDER.glob("*.yaml"))

RULE = "rule add napt_a tcp 24.9.3.7:8080 10.0.0."
#: Answers that are like one of the usual mistakes, for what was refused before is no longer true.
MENDED = {
    (f"{RULE}9:8080", f"{RULE}7:8080"): (f"{RULE}7:8080",),
    (f"{RULE}7:8080", f"{RULE}9:8080"): (f"{RULE}7:8080",),
}


@pytest.mark.network(timeout=120)
@pytest.mark.parametrize("path", EXERCISES, ids=lambda path: path.stem)
def test_solution_nothing_and_mistakes(path):
    exercise = load(path)
    more: list[tuple[tuple[str, ...], Mistake]] = []
    if exercise.id == "9c/door":
        by_answer = {mistake.answer: mistake for mistake in exercise.mistakes}
        more = [(answer, by_answer[like]) for answer, like in MENDED.items()]
    if exercise.id == "9b/relay":  # advice is about the last word, not about one of before
        differ, _, refused, _ = exercise.mistakes
        more = [((*refused.answer, *differ.answer), differ)]
    done = list(rehearse(exercise, more))
    assert len(done) == 2 + len(exercise.mistakes) + len(more)
    assert [each for each in done if each.problem] == []
    assert all(each.marks.got == each.marks.of for each in done if each.marks.full)


@pytest.mark.network(timeout=60)
def test_an_unsound_exercise_is_told(tmp_path, capsys):
    text = (FOLDER / "8-1-proxy.yaml").read_text()
    file = tmp_path / "mine.yaml"
    file.write_text(text.replace("has pc:page.html", "has pc:other.html"))
    assert run_rehearsal([load(file)]) == 1
    said = capsys.readouterr().out
    assert "✗ the solution: it does not get full marks" in said
    assert "✓ nothing done" in said
    file.write_text(text.replace("has pc:page.html", "not has pc:other.html"))
    assert run_rehearsal([load.__wrapped__(file)]) == 1
    (told,) = [line for line in capsys.readouterr().out.splitlines() if "✗ nothing done" in line]
    assert "because this holds from the start: " in told
    assert told.endswith(" (write `points: 0` there)")
