"""Lab 9e, played in silence."""

from __future__ import annotations

import pytest

from napt_lab.labs.level_9e.lab import LAB
from tests.network.lab_run import assert_all_hold, play

pytestmark = pytest.mark.network(timeout=90)

CLAIMS = {
    "9e.who", "9e.same-for-all", "9e.first-packet-dies", "9e.punch", "9e.keep-alive",
    "9e.symmetric", "9e.matrix",
}  # fmt: skip


def test_all_claims_hold(tmp_path):
    results, _ = play(LAB, tmp_path)
    assert_all_hold(results, CLAIMS)
