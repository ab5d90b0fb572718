"""A part that begins again, the bookmark of a run, and the questions alone: no network is built."""

from __future__ import annotations

import io
import json
from collections import deque
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from napt_lab.labs.course.registry import LABS
from napt_lab.labs.records.bookmark import Bookmark, Bookmarking, read_bookmark
from napt_lab.labs.records.stream import Stream
from napt_lab.labs.report.story import Story
from napt_lab.labs.running import quiz, runner
from napt_lab.labs.stage.narration import Narration
from napt_lab.labs.verdict.results import Results
from napt_lab.labs.view.recording import Recording
from tests.unit.labs.report_run import TOPOLOGY

STEP = {"of": 4, "say": "", "ask": "?", "choices": [], "usage": "", "proves": []}
PREDICTION = {"ask": "?", "choices": [], "beliefs": [], "said": "", "seen": "a", "expected": "a",
              "right": None, "belief": "", "evidence": "seen", "exercise": ""}  # fmt: skip
QUESTIONS = [["step 1", "?", "a letter, a to b", "a", "b"], ["step 2", "", ""]]


class Run(Stream):
    """Tells of a run with parts of two steps each."""

    def part(self, name, first):
        self.emit("part", part=name, title=name, topology="t", path=str(TOPOLOGY), engine="python",
                  drawing=[], capture=f"{name}.pcapng", first=first)  # fmt: skip

    def steps(self, *numbers, passed=True):
        for number in numbers:
            self.emit("step", number=number, title=f"step {number}", **STEP)
            self.emit("working", what="w")
            self.emit("check", claim=f"x.{number}", text="t", passed=passed, broken=False,
                      evidence=["e"])  # fmt: skip
            self.emit("prediction", step=number, **PREDICTION)

    def end(self):
        self.emit("end", passed=True, seconds=1.0, learned=["l"], error="")


def test_of_a_part_that_begins_again_the_last_time_counts(tmp_path):
    run, results, story, recording = Run(), Results(tmp_path), Story(), Recording()
    shown: list[dict[str, object]] = []
    out = io.StringIO()
    live = Recording(shown.append)
    for listener in (results, story, recording, live, Narration(Console(file=out, width=80))):
        run.listen(listener)
    run.emit("lab", lab="x", title="t", intro="")
    run.part("one", 1)
    run.steps(1, 2)
    run.part("two", 3)
    run.steps(3, passed=False)
    run.part("two", 3)
    run.emit("replay", first=3, last=3, of=4)
    run.steps(3)
    run.emit("replayed", first=3, last=3)
    run.steps(4)
    run.end()
    told = results.as_json()
    assert told["parts"] == ["one", "two"]
    assert [step["title"] for step in told["steps"]] == ["step 1", "step 2", "step 3", "step 4"]
    assert all(check["passed"] for step in told["steps"] for check in step["checks"])
    assert [p["step"] for p in told["predictions"]] == [1, 2, 3, 4]
    assert [[step.number for step in part.steps] for part in story.parts] == [[1, 2], [3, 4]]
    assert [r["number"] for r in recording.records if r["kind"] == "step"] == [1, 2, 3, 4]
    assert [r["number"] for r in shown if r["kind"] == "step"] == [1, 2, 3, 3, 4]
    assert recording.records[-1]["claims"] == "4 hold"
    assert "Claims: 4 hold." in out.getvalue()
    assert out.getvalue().count("Step 3 of 4") == 1, "what is done once more is not told"
    assert "Now step 3 …\nThe network is as step 3 left it." in out.getvalue()


def test_a_bookmark_is_kept_until_the_run_has_come_to_its_end(tmp_path):
    def begin(step, *, stopped):
        run = Run()
        mark = Bookmark(["one", "two"], QUESTIONS, pauses=True)
        run.listen(Bookmarking("x", mark, runs=tmp_path))
        run.part("one", 1)
        run.emit("replay", first=1, last=step - 1, of=4)
        run.steps(*range(1, step))
        run.emit("predicted", step=step, said="a")
        run.emit("step", number=step, title="t", **STEP)
        if stopped:
            run.emit("stopped", where="before step 2", unchecked=[])
        run.end()

    assert read_bookmark("x", tmp_path) is None
    begin(2, stopped=True)
    mark = read_bookmark("x", tmp_path)
    assert mark is not None
    assert (mark.parts, mark.pauses, mark.step) == (["one", "two"], True, 2)
    assert (mark.said, mark.found) == ({1: "", 2: "a"}, {1: ["a", "seen"]})
    assert mark.questions == QUESTIONS
    begin(3, stopped=False)
    assert read_bookmark("x", tmp_path) is None
    assert list(tmp_path.iterdir()) == []


MARK = {"parts": ["direct"], "questions": QUESTIONS, "pauses": False, "step": 2,
        "said": {"1": "a"}, "found": {"1": ["a", "seen"]}}  # fmt: skip


def test_a_file_that_no_run_has_written_is_refused(tmp_path):
    file = tmp_path / ".x.json"
    file.write_text(json.dumps(MARK))
    assert read_bookmark("x", tmp_path) is not None
    wrong: list[object] = [[], {}, MARK | {"more": 1}]
    wrong += [MARK | {key: value} for key, value in {
        "parts": "direct", "questions": [["a", 1]], "pauses": 1, "step": "2", "said": {"x": ""},
        "found": {"1": ["a"]},
    }.items()]  # fmt: skip
    wrong += [MARK | {"step": True}, MARK | {"said": {"1": 5}}, MARK | {"found": {"1": 5}}]
    for text in ("", *map(json.dumps, wrong)):
        file.write_text(text)
        with pytest.raises(ValueError, match=r"\.x\.json does not say where .* without RESUME"):
            read_bookmark("x", tmp_path)


def test_a_run_goes_on_only_with_the_same_steps(tmp_path, monkeypatch, capsys):
    """If the lab has changed, a kept answer would count as the answer to another question."""
    began: list[int] = []

    def play(_lab, _parts, _narration, _pause, _door, first, _mark):
        began.append(first)
        return 0

    monkeypatch.setattr(runner, "play", play)
    monkeypatch.setattr(runner, "read_bookmark", partial(read_bookmark, runs=tmp_path))
    same = [step.question for step in LABS["9c"].lab().parts[0].steps]
    assert len(same) == 8
    other = [[*same[0][:-1], "another choice"], *same[1:]]
    for questions, step, said in (
        (same, 2, ""),
        (other, 2, "has other steps or questions now"),
        (same[:-1], 2, "has other steps or questions now"),
        (same, 9, "there is no step 9"),
    ):
        (tmp_path / ".9c.json").write_text(
            json.dumps(MARK | {"questions": questions, "step": step})
        )
        status = runner.run_lab("9c", step=False, part=None, resume=True)
        assert (status, said in capsys.readouterr().err) == (2 if said else 0, True)
    assert began == [2]
    (tmp_path / ".9c.json").write_text(json.dumps(MARK | {"questions": same, "pauses": True}))
    assert runner.run_lab("9c", step=None, part=None, resume=True) == 2
    assert capsys.readouterr().err == (
        "napt-lab: the run was begun with STEP: type `make lab-9c RESUME=1` at a terminal, "
        "or go on without pauses: `make lab-9c RESUME=1 STEP=0`\n"
    )
    assert runner.run_lab("9c", step=False, part=None, resume=True) == 0
    assert began == [2, 2]


def test_a_run_does_not_take_away_the_bookmark_of_another(tmp_path):
    run = Run()
    run.listen(Bookmarking("x", Bookmark(["one"], QUESTIONS, pauses=False), runs=tmp_path))
    run.steps(1)
    (tmp_path / ".x.json").write_text(json.dumps(MARK | {"step": 4}))
    run.end()
    mark = read_bookmark("x", tmp_path)
    assert mark is not None
    assert mark.step == 4


def test_a_run_that_stops_leaves_its_bookmark_though_another_has_come_to_its_end(tmp_path):
    first, second = Run(), Run()
    for run, pauses in ((first, True), (second, False)):
        mark = Bookmark(["one"], QUESTIONS, pauses=pauses)
        run.listen(Bookmarking("x", mark, runs=tmp_path))
    first.steps(1, 2)
    second.steps(1, 2)
    second.end()
    assert read_bookmark("x", tmp_path) is None
    first.emit("stopped", where="during step 2", unchecked=[])
    first.end()
    mark = read_bookmark("x", tmp_path)
    assert mark is not None
    assert (mark.pauses, mark.step, mark.found[1]) == (True, 2, ["a", "seen"])


def test_a_run_that_is_stopped_before_its_first_step_can_go_on_with_that(tmp_path):
    run = Run()
    mark = Bookmark(["one"], QUESTIONS, pauses=False, step=2, said={2: "b"}, found={})
    run.listen(Bookmarking("x", mark, runs=tmp_path))
    run.part("one", 1)
    run.emit("replay", first=1, last=1, of=2)
    run.steps(1)
    run.emit("stopped", where="before step 2", unchecked=[])
    run.end()
    mark = read_bookmark("x", tmp_path)
    assert mark is not None
    assert (mark.step, mark.said[2]) == (2, "b")


@pytest.mark.parametrize(
    ("chosen", "told"), [(["direct", "relayed"], ""), (["direct"], "Only these parts of lab x ran")]
)
def test_only_of_a_choice_of_parts_is_it_said_that_others_did_not_run(
    tmp_path, monkeypatch, chosen, told
):
    class Stopped:
        unbuilt = lost = None
        stopped, begun = True, ("direct",)

        def __init__(self, *_, **__):
            pass

        def run(self):
            return False

    monkeypatch.setattr(runner, "Play", Stopped)
    monkeypatch.setattr(runner, "_keep", lambda *_: True)
    for name in ("RunDirectory", "Bookmarking"):
        monkeypatch.setattr(runner, name, partial(getattr(runner, name), runs=tmp_path))
    lab: Any = SimpleNamespace(id="x", title="t", parts=[part("direct"), part("relayed")])
    out = io.StringIO()
    status = runner.play(lab, list(map(part, chosen)), Narration(Console(file=out)), None)
    assert status == 1
    assert "A run that was stopped counts as failed" in out.getvalue()
    assert (told in out.getvalue()) if told else ("Only these parts" not in out.getvalue())


def part(name):
    unknown: Any = SimpleNamespace(name=name, steps=[])
    return unknown


@pytest.mark.parametrize("typed", [["x", "b", "", "quit"], ["b", ""]])
def test_the_questions_alone(monkeypatch, capsys, typed):
    waiting = deque(typed)

    def read(_prompt):
        if not waiting:
            raise EOFError
        return waiting.popleft()

    monkeypatch.setattr("builtins.input", read)
    (part,) = LABS["9c"].lab().parts
    assert quiz.run_quiz(part.steps, 3) == 0
    shown = capsys.readouterr().out
    assert shown.count("is not an answer: type a letter") == typed.count("x")
    assert "Step 3 of 8" in shown
    assert "You predicted it: at alice's NAPT, which drops it" in shown
    assert "It is: 203.0.113.77: that of bob's NAPT" in shown
    assert "1 of 1 predictions were right" in shown
    assert "Step 6" not in shown
