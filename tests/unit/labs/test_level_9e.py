"""Level 9e's part of all pairs: what it says if a pair could not be tried, and its grid."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from napt_lab.labs.level_9e import pairs
from napt_lab.labs.matrix.cell import Cell, Result
from napt_lab.labs.matrix.napt_types import chosen
from napt_lab.labs.matrix.prediction import Method, Way
from napt_lab.labs.stage.steps import Claim

SYMMETRIC, OPEN = chosen("symmetric,full-cone", None)[0]


def play(monkeypatch, *results):
    """The answers and the checks of the step."""
    answers: list[Any] = []
    checks: list[dict[str, Any]] = []
    stream: Any = SimpleNamespace(emit=lambda _, **fields: checks.append(fields))
    stage: Any = SimpleNamespace(
        net=None,
        wire=None,
        see=lambda *_: None,
        answer=lambda *answer: answers.append(answer),
        claim=lambda *words: Claim(stream, *words),
    )
    monkeypatch.setattr(pairs, "Ground", lambda *_: None)
    monkeypatch.setattr(pairs, "try_cells", lambda *_: list(results))
    pairs.all_pairs(stage)
    return answers, checks


def result(a, b, way, *evidence, trouble=""):
    return Result(Cell(Method.UDP, a, b), way, evidence, 0.0, trouble)


FAILS = result(SYMMETRIC, SYMMETRIC, Way.FAILS, "napt_b dropped it: filtered")


def test_a_pair_that_could_not_be_tried_leaves_the_question_open(monkeypatch):
    lost = result(OPEN, SYMMETRIC, None, trouble="the control failed")
    answers, (predicted, dropped) = play(monkeypatch, FAILS, lost)
    assert answers == []
    assert predicted["broken"]
    assert predicted["evidence"][-1].endswith("full-cone with symmetric: the control failed")
    assert dropped["passed"]


def test_the_answer_is_how_many_pairs_fail(monkeypatch):
    direct = result(OPEN, SYMMETRIC, Way.DIRECT)
    answers, checks = play(monkeypatch, FAILS, direct)
    assert answers == [(1, "symmetric with symmetric")]
    assert all(check["passed"] for check in checks)


@pytest.mark.parametrize("seen", [Way.FAILS, None])
def test_the_columns_of_the_grid_stand_below_their_names(seen):
    rows = [(a, b) for a in (SYMMETRIC, OPEN) for b in (SYMMETRIC, OPEN)]
    assert pairs.grid([result(a, b, seen if a is b else Way.DIRECT) for a, b in rows]) == [
        "           symmetric  full",
        f"symmetric  {str(seen or '?').ljust(9)}  direct",
        f"full       direct     {seen or '?'}",
    ]
