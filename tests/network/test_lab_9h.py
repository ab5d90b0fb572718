"""Lab 9h, played in silence."""

from __future__ import annotations

import re

import pytest

from napt_lab.labs.level_9h.lab import LAB
from tests.network.lab_run import assert_all_hold, evidence, play

pytestmark = pytest.mark.network(timeout=90)


def test_all_claims_hold(tmp_path):
    results, _ = play(LAB, tmp_path)
    assert_all_hold(results, {"9h.two-rules", "9h.rule-not-enough", "9h.punch", "9h.share"})
    ways = evidence(results, "9h.punch")
    assert "alice → napt_a → cgn → internet → napt_e → erin" in ways
    assert "alice → napt_a → cgn → napt_b → bob" in ways
    said = re.search(
        r"cgn: 100 ports of 100\.64\.0\.8(?:, (\d+) of them from the steps before)?; "
        r"bob: (\d+) connections, \d+ failed",
        evidence(results, "9h.share"),
    )
    assert said, evidence(results, "9h.share")
    # A new connection may have the very port at home for which there is a rule.
    assert 100 - int(said[1] or 0) <= int(said[2]) <= 100
