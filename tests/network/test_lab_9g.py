"""Lab 9g, played in silence."""

from __future__ import annotations

import pytest

from napt_lab.labs.level_9g.lab import LAB
from tests.network.lab_run import assert_all_hold, evidence, play

pytestmark = pytest.mark.network(timeout=90)


def test_all_claims_hold(tmp_path):
    results, _ = play(LAB, tmp_path)
    assert_all_hold(results, {"9g.candidates", "9g.best"})
    ways = evidence(results, "9g.best")
    for way in ("alice → anna", "carol → napt_c → cgn → napt_d → dave", "turn → napt_b → bob"):
        assert way in ways
