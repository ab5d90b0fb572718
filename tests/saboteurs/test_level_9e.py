"""Saboteurs of lab 9e: for each claim, the faults that would make it untrue.

Rows are as saboteur.py describes them.
"""

from __future__ import annotations

import pytest

from tests.saboteurs.common import TABLE
from tests.saboteurs.planted import anything, labs, servers, translator
from tests.saboteurs.saboteur import Patch, Saboteur, assert_turns_red, run_lab, shared

WHO, SAME, FIRST = "9e.who", "9e.same-for-all", "9e.first-packet-dies"
PUNCH, KEEP_ALIVE, SYMMETRIC = "9e.punch", "9e.keep-alive", "9e.symmetric"
MATRIX = "9e.matrix"
HOLE = "napt_lab.servers.p2p.hole"

SABOTEURS = (
    Saboteur(
        "the-server-lies-to-its-first-client",
        (Patch("napt_lab.servers.stun.binding:BindingServer._answer", servers.lying_once),),
        red={WHO: "the source of the request at the server"},
    ),
    Saboteur(
        "napt-a-maps-as-before",
        (
            Patch(
                "napt_lab.labs.shared_steps.peers:happen",
                labs.leaving_out,
                "set napt_a mapping=address-and-port-dependent",
            ),
        ),
        red={SAME: "1 external endpoint"},
    ),
    # All three rest on NAPTs that ask who may send to a port: nothing dies, and nothing fails.
    Saboteur(
        "napts-let-everyone-in",
        (Patch(f"{TABLE}.admits", translator.everyone),),
        red={
            FIRST: "waiting for `drop` from napt_b",
            SYMMETRIC: "exit status 0",
            MATRIX: "port-restricted-cone with symmetric: direct; predicted: fails",
        },
    ),
    Saboteur(
        "the-file-also-goes-to-the-relay",
        (Patch(f"{HOLE}:use", servers.also_to_the_relay),),
        red={PUNCH: "relay:eth0: "},
    ),
    Saboteur(
        "no-keep-alive-is-sent",
        (
            Patch(f"{HOLE}:Hole.keep_alive", servers.never),
            Patch("napt_lab.labs.shared_steps.peers:OPEN_SECONDS", anything.instead, 8.0),
        ),
        red={KEEP_ALIVE: "waiting for `done` from bob"},
    ),
)


@pytest.mark.parametrize("saboteur", shared(SABOTEURS), ids=lambda saboteur: saboteur.name)
def test_saboteur_turns_its_claims_red(saboteur, pristine, tmp_path):
    run = run_lab("9e", pristine, tmp_path, saboteur)
    assert_turns_red(saboteur, run)
    # What the relay was given is also the answer to the step's question.
    assert any("pass the relay" in ask for ask in run.unforeseen) is (PUNCH in saboteur.red)
