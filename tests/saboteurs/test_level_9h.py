"""Saboteurs of lab 9h: for each claim, the faults that would make it untrue.

Rows are as saboteur.py describes them.
"""

from __future__ import annotations

import pytest

from tests.saboteurs.planted import labs
from tests.saboteurs.saboteur import (
    Patch,
    Saboteur,
    Setting,
    assert_turns_red,
    run_lab,
    shared,
)

TWO_RULES, NOT_ENOUGH = "9h.two-rules", "9h.rule-not-enough"
PUNCH, SHARE = "9h.punch", "9h.share"
TOPOLOGY = "level-9h.yaml"
CGN = "sites.carrier.gateway"

SABOTEURS = (
    Saboteur(
        "carrier-forgets-the-rule-of-a-closed-connection-at-once",
        (
            Setting(TOPOLOGY, f"{CGN}.closing-hold", "0s"),
            # curl ends a moment before the last ACK has passed cgn.
            Patch("napt_lab.labs.level_9h.checks:require_two_rules", labs.once_the_rule_has_ended),
        ),
        red={TWO_RULES: "cgn: no rule for 24.9.3.7:"},
    ),
    Saboteur(
        "carrier-has-a-rule-already",
        (Setting(TOPOLOGY, f"{CGN}.rules", ["tcp 8080 -> 100.64.0.7:8080"]),),
        red={NOT_ENOUGH: "cgn:lan0: 1 SYN; it should be 0"},
    ),
    Saboteur(
        "carrier-does-not-hairpin",
        (Setting(TOPOLOGY, f"{CGN}.hairpinning", False),),
        red={PUNCH: "was not heard, or did not hear us"},
    ),
    Saboteur(
        "carrier-gives-one-home-all-of-its-ports",
        (Setting(TOPOLOGY, f"{CGN}.ports-per-subscriber", 200),),
        red={SHARE: "alice's new connection is opened all the same: alice: curl: curl: (7)"},
    ),
)


@pytest.mark.parametrize("saboteur", shared(SABOTEURS), ids=lambda saboteur: saboteur.name)
def test_saboteur_turns_its_claims_red(saboteur, pristine, tmp_path):
    assert_turns_red(saboteur, run_lab("9h", pristine, tmp_path, saboteur))
