"""Grading a translator by the labs' own checks: the reference, the skeleton, and one with mistakes.

The grader makes sandboxes of its own, within the test's.
"""

from __future__ import annotations

import json
import time
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from napt_lab.labs.course.registry import LABS
from napt_lab.labs.records.rundir import RunDirectory
from napt_lab.labs.translator import grade, score, trial
from napt_lab.labs.translator.claims import EARNED, earned_in

ROOT = Path(__file__).parents[2]
REFERENCE = ROOT / "nat_node" / "one_page.py"
SKELETON = ROOT / "labs" / "translator" / "skeleton.py"


@pytest.fixture(autouse=True)
def own_folder(monkeypatch, tmp_path):
    monkeypatch.setattr(grade, "RunDirectory", lambda lab: RunDirectory(lab, tmp_path / "runs"))


@pytest.mark.network(timeout=120)
def test_the_reference_has_full_marks(tmp_path, capsys):
    """But for the 65,536, which take a minute: test_student_reference.py has a small pool."""
    assert (
        grade.grade_translator(REFERENCE, earned_in("9c"), tmp_path / "g.json", tmp_path / "g.xml")
        == 0
    )
    result = json.loads((tmp_path / "g.json").read_text())
    assert (result["score"], result["of"], result["faults"]) == (5, 5, [])
    assert result["engine"] == "translator one_page.py"
    suite = ET.parse(tmp_path / "g.xml").getroot()[0]
    assert (suite.get("tests"), suite.get("failures")) == ("5", "0")
    assert "Score: 5 of 5 claims." in capsys.readouterr().out
    for part in ("upload", "inbound", "rules", "idle"):
        assert_held(part, tmp_path)


def assert_held(part, folder):
    """All claims of a part of level 8 hold for the reference."""
    lab = LABS["8"].lab()
    (played,) = (p for p in lab.parts if p.name == part)
    ended = trial.await_one(
        [trial.start(lab, played, REFERENCE, folder / part, time.monotonic() + 60)]
    )
    marks = [score.mark(earned, ended) for earned in EARNED if earned.part == part]
    assert [mark.why for mark in marks] == [() for _ in marks]
    assert marks


@pytest.mark.network(timeout=120)
def test_the_skeleton_has_none_and_is_told_what_to_do_first(tmp_path, capsys):
    assert grade.grade_translator(SKELETON, earned_in("8"), tmp_path / "g.json", None) == 1
    result = json.loads((tmp_path / "g.json").read_text())
    assert (result["score"], result["of"], result["faults"]) == (0, 7, [])
    by_claim = {claim["claim"]: claim for claim in result["claims"]}
    assert "not-written: what shall become of" in by_claim["8.inbound"]["evidence"][-1]
    assert "8.napt must hold first" in by_claim["8.gc-idle"]["evidence"][-1]
    said = capsys.readouterr().out
    assert "do: outbound: write (napt.external, a port) into packet.source" in said
    assert "read: RFC 3022" in said


@pytest.mark.network(timeout=60)
@pytest.mark.parametrize(
    ("name", "source", "words"),
    [
        ("mine.py", "def translate(packet, now)\n", "mine.py:1: SyntaxError: expected ':'"),
        ("mine.py", "import nothing_of_this_name", "there is no function translate(packet, now)"),
        ("folder", None, "folder:1: is not a file"),
    ],
)
def test_what_cannot_be_graded(tmp_path, capfd, name, source, words):
    if source is None:
        (tmp_path / name).mkdir()
    else:
        (tmp_path / name).write_text(source)
    assert grade.grade_translator(tmp_path / name, EARNED, None, None) == 2
    assert words in capfd.readouterr().err


@pytest.mark.network(timeout=60)
def test_a_part_is_over_at_its_deadline(tmp_path):
    lab = LABS["9c"].lab()
    deadline = time.monotonic() + 1.0
    ended = trial.await_one([trial.start(lab, lab.parts[0], REFERENCE, tmp_path / "p", deadline)])
    assert ended.overdue
    assert ended.seconds < 20  # on a machine that has much else to do
    (mark,) = [score.mark(earned, ended) for earned in EARNED if earned.claim == "9c.both-ways"]
    assert not mark.held
    assert mark.why[-1].startswith("not done after ")
