"""Lab 9f, played in silence."""

from __future__ import annotations

import pytest

from napt_lab.labs.level_9f.lab import LAB
from tests.network.lab_run import assert_all_hold, play

pytestmark = pytest.mark.network(timeout=90)


def test_all_claims_hold(tmp_path):
    results, _ = play(LAB, tmp_path)
    assert_all_hold(results, {"9f.crossing", "9f.refusal-kills"})
