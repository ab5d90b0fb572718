"""A class is marked on real networks: right, half right, hostile; and a process that dies."""

from __future__ import annotations

import csv
import os
import signal

import pytest

from napt_lab.labs.classroom import mark_many
from napt_lab.labs.classroom.assignment import for_class
from napt_lab.labs.classroom.mark_many import Outputs
from napt_lab.labs.classroom.submissions import handed_in
from napt_lab.labs.classroom.workers import Piece, side_by_side
from napt_lab.labs.exercises.exercise import load, series
from napt_lab.labs.exercises.variant import Student

DOOR, *_ = series("9c")
RIGHT = "".join(f"  - {line}\n" for line in DOOR.solution)
HANDED_IN = {
    "right.yaml": f"door:\n{RIGHT}",
    "half.yaml": f"door:\n{RIGHT}  - bob rm -rf /\nhairpin: [never closed\n",
    "rule-only.yaml": f"door:\n{RIGHT.splitlines()[0]}\n",
    "empty.yaml": "",
    "rubbish.yaml": "{[}]",
    "hostile.yaml": "door:\n  - bob sh -c 'curl http://marks/'\n  - alice curl file:///etc/passwd\n",
}


@pytest.mark.network(timeout=120)
def test_each_submission_gets_its_own_marks(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(mark_many, "RUNS", tmp_path / "runs")
    folder = tmp_path / "submissions"
    folder.mkdir()
    for name, text in HANDED_IN.items():
        (folder / name).write_text(text)
    submissions, _ = handed_in(folder, {"ada": "Ada"})

    def run():
        return mark_many.mark_many(
            "9c/door",
            submissions,
            for_class([DOOR], submissions, None),
            Outputs(tmp_path / "m.csv"),
        )

    assert run() == 0
    with (tmp_path / "m.csv").open(encoding="utf-8-sig", newline="") as file:
        rows = {row["id"]: row for row in csv.DictReader(file)}
    points = {who: row["9c/door"] for who, row in rows.items()}
    assert points == {
        "right": "4", "half": "4", "rule-only": "2", "empty": "0", "rubbish": "0", "hostile": "0",
        "ada": "0",
    }  # fmt: skip
    assert "'rm' cannot be run from a file of answers" in rows["half"]["messages"]
    assert "Now bob has to fetch the photograph" in rows["rule-only"]["messages"]
    assert "no line of your answer can be done" in rows["hostile"]["messages"]
    assert "nothing was handed in" in rows["ada"]["messages"]
    assert "7/7" in capsys.readouterr().out
    assert run() == 0
    assert "7 of them marked before" in capsys.readouterr().out


@pytest.mark.network(timeout=120)
def test_the_answers_of_a_neighbor_are_worth_nothing_and_told(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(mark_many, "RUNS", tmp_path / "runs")
    secret = b"a secret of some length"
    folder = tmp_path / "submissions"
    folder.mkdir()
    for who, written_for in (("mia", "mia"), ("noah", "mia"), ("ada", None)):
        student = Student.of(written_for, secret) if written_for else None
        lines = load(DOOR.path, student).solution
        text = "door:\n" + "".join(f"  - {line}\n" for line in lines)
        (folder / f"{who}.yaml").write_text(text)
    submissions, _ = handed_in(folder, {})
    wanted = for_class([DOOR], submissions, secret)
    assert mark_many.mark_many("9c/door", submissions, wanted, Outputs(tmp_path / "m.csv")) == 0
    with (tmp_path / "m.csv").open(encoding="utf-8-sig", newline="") as file:
        points = {row["id"]: row["points"] for row in csv.DictReader(file)}
    assert points == {"mia": "4", "noah": "0", "ada": "0"}
    said = capsys.readouterr().out
    assert "noah: these answers fit the variant of mia: 3 of their addresses" in said
    assert "ada: these answers fit the exercises as they are written" in said


@pytest.mark.network(timeout=60)
def test_a_process_that_dies_is_tried_once_more_and_is_an_error_then():
    def unlucky(alone):
        if not alone:
            os.kill(os.getpid(), signal.SIGKILL)
        return "at last"

    def waits(alone):
        signal.pause()
        return ""

    pieces = [
        Piece("unlucky", unlucky, 60.0),
        Piece("waits", waits, 1.0),
        Piece("raises", lambda alone: [][0], 60.0),
        Piece("fails", lambda alone: "failed" * (not alone), 60.0),
    ]
    ended = {p.name: rest for p, *rest in side_by_side(pieces, 2, lambda text: text == "failed")}
    assert ended == {
        "unlucky": ["at last", ""],
        "waits": ["", "it was not done after 1 s"],
        "raises": ["", "its process ended with status 1"],
        "fails": ["", ""],
    }
