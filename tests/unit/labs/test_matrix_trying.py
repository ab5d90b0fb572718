"""Which cells are tried again by ICE, which goes by the clock, and what is said of it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from napt_lab.labs.check.ice import Connected
from napt_lab.labs.matrix import trying
from napt_lab.labs.matrix.cell import Cell
from napt_lab.labs.matrix.napt_types import chosen
from napt_lab.labs.matrix.prediction import Method, Way
from napt_lab.topologies.spec.assertions import Via

HOME, SYMMETRIC, HOTEL = chosen("home,symmetric,hotel", None)[0]
DIRECT, RELAYED = Cell(Method.ICE, HOME, HOME), Cell(Method.ICE, SYMMETRIC, HOTEL)
BY_RELAY, NO_WAY = Connected(Via.RELAYED, ()), Connected(None, (), "timed out")
UNTOLD = Connected(None, (), trouble="not seen at both ends")


@pytest.fixture
def tried(monkeypatch):
    """Gives `attempt(answers)`, which tries cells; each has its answers, the last one for good."""

    def attempt(answers):
        asked: list[list[tuple[str, str]]] = []
        ground: Any = None

        def connect(_ground, pairs):
            asked.append(sorted(pairs))
            return {pair: left[pair].pop(0) if left[pair][1:] else left[pair][0] for pair in pairs}

        left = {names(cell): list(each) for cell, each in answers.items()}
        monkeypatch.setattr(trying, "connect_by_ice", connect)
        field: Any = SimpleNamespace(hosts=names)
        found = trying._connect_some(ground, field, list(answers), lambda _: None)
        return found, asked

    return attempt


def names(cell):
    return cell.a.name, cell.b.name


def test_only_cells_that_found_less_than_predicted_are_tried_again(tried):
    found, asked = tried({DIRECT: [BY_RELAY, Connected(Via.DIRECT, ())], RELAYED: [BY_RELAY]})
    assert asked == [[names(DIRECT), names(RELAYED)], [names(DIRECT)]]
    assert [result.observed for result in found] == [Way.DIRECT, Way.RELAYED]
    assert list(found[0].evidence) == ["another try: relayed"]


def test_a_better_way_than_predicted_is_no_reason_to_try_again(tried):
    (result,), asked = tried({RELAYED: [Connected(Via.DIRECT, ())]})
    assert (result.observed, len(asked)) == (Way.DIRECT, 1)


def test_one_pair_that_cannot_be_told_does_not_spoil_the_others(tried):
    found, asked = tried({DIRECT: [UNTOLD], RELAYED: [NO_WAY, BY_RELAY]})
    untold, relayed = found
    assert (untold.observed, untold.trouble) == (None, "not seen at both ends")
    assert relayed.observed is Way.RELAYED
    assert [len(pairs) for pairs in asked] == [2, 2, 1]


def test_what_fails_every_time_has_failed(tried):
    (result,), asked = tried({RELAYED: [NO_WAY]})
    assert (result.observed, len(asked)) == (Way.FAILS, trying.TRIES)
    assert list(result.evidence) == ["timed out", "another try: fails", "another try: fails"]


def test_a_trouble_takes_back_nothing_that_was_seen(tried):
    (result,), asked = tried({DIRECT: [BY_RELAY, UNTOLD, NO_WAY]})
    assert (result.observed, len(asked)) == (Way.FAILS, 3)
    told = "another try: not seen at both ends"
    assert list(result.evidence) == ["timed out", told, "another try: relayed"]
    (result,), _ = tried({DIRECT: [BY_RELAY, UNTOLD]})
    assert (result.observed, list(result.evidence)) == (Way.RELAYED, [told, told])
