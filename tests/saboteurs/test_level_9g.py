"""Saboteurs of lab 9g: for each claim, the faults that would make it untrue.

Rows are as saboteur.py describes them.
"""

from __future__ import annotations

import pytest

from tests.saboteurs.saboteur import (
    Saboteur,
    Setting,
    assert_turns_red,
    run_lab,
    shared,
)

CANDIDATES, BEST = "9g.candidates", "9g.best"
TOPOLOGY = "level-9g.yaml"

SABOTEURS = (
    # Nothing comes in at the endpoint that it tells everyone, so the direct ways fail as well.
    Saboteur(
        "stun-server-lies",
        (Setting(TOPOLOGY, "internet.stun.runs", [{"stun": {"always": "24.9.3.7:4000"}}]),),
        red={
            CANDIDATES: "stun:eth0: no question from there",
            BEST: "the file's way is relayed; it should be direct",
        },
    ),
)


@pytest.mark.parametrize("saboteur", shared(SABOTEURS), ids=lambda saboteur: saboteur.name)
def test_saboteur_turns_its_claims_red(saboteur, pristine, tmp_path):
    assert_turns_red(saboteur, run_lab("9g", pristine, tmp_path, saboteur))
