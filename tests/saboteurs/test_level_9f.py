"""Saboteurs of lab 9f: for each claim, the faults that would make it untrue.

Rows are as saboteur.py describes them.
"""

from __future__ import annotations

import pytest

from tests.saboteurs.planted import servers
from tests.saboteurs.saboteur import Patch, Saboteur, Setting, assert_turns_red, run_lab, shared

CROSSING, REFUSAL = "9f.crossing", "9f.refusal-kills"

SABOTEURS = (
    Saboteur(
        "the-second-one-dials-late",
        (Patch("napt_lab.servers.p2p.options:parse", servers.never_at_once),),
        red={CROSSING: "it should be SYN out, SYN in, SYN-ACK out, SYN-ACK in"},
    ),
    Saboteur(
        "no-napt-refuses-at-once",
        (Setting("level-9f.yaml", "sites.d.gateway.refuse-after", "6s"),),
        red={REFUSAL: "alice: exit status 0"},
    ),
)


@pytest.mark.parametrize("saboteur", shared(SABOTEURS), ids=lambda saboteur: saboteur.name)
def test_saboteur_turns_its_claims_red(saboteur, pristine, tmp_path):
    assert_turns_red(saboteur, run_lab("9f", pristine, tmp_path, saboteur))
