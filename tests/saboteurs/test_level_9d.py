"""Saboteurs of lab 9d: for each claim, the faults that would make it untrue.

Rows are as saboteur.py describes them. A run takes ten seconds, so each fault breaks one claim
only, and those of different claims share a run.
"""

from __future__ import annotations

import pytest

from tests.saboteurs.common import FILE_DAMAGED_ON_THE_WAY, TRANSLATOR, impatient
from tests.saboteurs.planted import anything, labs, translator
from tests.saboteurs.saboteur import (
    Patch,
    Saboteur,
    assert_holds,
    assert_turns_red,
    run_lab,
    shared,
)

ASK, DIRECT, ONLY_OWN = "9d.ask", "9d.direct", "9d.only-own"
OUTSIDE, LIFETIME = "9d.outside", "9d.lifetime"
CLAIMS = {ASK, DIRECT, ONLY_OWN, OUTSIDE, LIFETIME}

PORT_CONTROL = "napt_lab.nat_node.port_control"
LEASES = f"{PORT_CONTROL}.leases:Leases"
TCP, UDP = 6, 17

SABOTEURS = (
    # ── 9d.ask: asked for and answered once, and the table says the same ───────────────────────
    Saboteur(
        "nat-pmp-makes-a-rule-for-the-other-protocol",
        (Patch(f"{PORT_CONTROL}.nat_pmp:PROTOCOLS", translator.numbered, [1, TCP], [2, UDP]),),
        red={ASK: "tcp 24.9.3.7:9000 → 10.0.0.7:9000"},
    ),
    Saboteur(
        "every-answer-is-sent-twice",
        (Patch(f"{PORT_CONTROL}.listener:Listener._send", anything.twice),),
        red={ASK: "2 answers to one request"},
    ),
    # ── 9d.direct: end to end, whole, no server in between ─────────────────────────────────────
    Saboteur(
        "server-holds-a-copy-and-gives-it",
        (
            Patch(
                "napt_lab.labs.level_9d.lab:asking",
                labs.in_step,
                "direct",
                labs.with_a_copy_at_the_file_server.__name__,
            ),
            *impatient(2),
        ),
        red={DIRECT: "bytes of data from 24.9.3.7"},
    ),
    Saboteur(
        "file-is-damaged-on-the-way",
        (FILE_DAMAGED_ON_THE_WAY,),
        red={DIRECT: "SHA-256"},
    ),
    # ── 9d.only-own: the sender's own address, and the nonce ───────────────────────────────────
    Saboteur(
        "nonce-is-not-looked-at",
        (Patch(f"{LEASES}.release", translator.any_nonce),),
        red={ONLY_OWN: "with alice's address, but not her nonce"},
    ),
    Saboteur(
        "refusal-is-told-but-the-rule-goes",
        (Patch(f"{LEASES}.release", translator.refusing_and_obeying),),
        red={ONLY_OWN: "0 explicit rules in napt_a's table"},
    ),
    # ── 9d.outside: not heard, not believed ────────────────────────────────────────────────────
    Saboteur(
        "server-listens-on-all-sides",
        (
            Patch("napt_lab.nat_node.system.routing:_ip", translator.hearing_udp_from_outside),
            Patch(f"{PORT_CONTROL}.listener:bind", translator.bound_to_no_side),
            Patch(f"{PORT_CONTROL}.server:PortControl.answer", translator.taking_all_for_insiders),
            *impatient(2),
        ),
        red={OUTSIDE: "napt_a has sent no answer to the outside"},
    ),
    Saboteur(
        "inside-addresses-are-believed-outside",
        (Patch(f"{TRANSLATOR}._is_forged", anything.nothing),),
        red={OUTSIDE: ": no-rule; the reason should be spoofed-source"},
    ),
    # ── 9d.lifetime: gone in time, kept by renewal ─────────────────────────────────────────────
    Saboteur(
        "leases-never-end",
        (
            Patch(f"{LEASES}.expire", anything.nothing),
            Patch(f"{LEASES}.next_deadline", anything.nothing),
            *impatient(2),
        ),
        red={LIFETIME: "waiting for `rule-ended` from napt_a"},
    ),
    Saboteur(
        "renewal-is-granted-but-not-done",
        (Patch(f"{LEASES}._renew", translator.granting_no_time),),
        red={LIFETIME: "0 explicit rules in napt_a's table"},
    ),
    Saboteur(
        "a-restart-goes-unnoticed",
        (Patch("napt_lab.servers.pcp.keeping:Epoch.goes_on", anything.giving, True),),
        red={LIFETIME: "waiting for `renewed` from alice"},
    ),
)


@pytest.mark.parametrize("saboteur", shared(SABOTEURS), ids=lambda saboteur: saboteur.name)
def test_saboteur_turns_its_claims_red(saboteur, pristine, tmp_path):
    assert_turns_red(saboteur, run_lab("9d", pristine, tmp_path, saboteur))


def test_without_sabotage_all_claims_hold(pristine, tmp_path):
    run = run_lab("9d", pristine, tmp_path)
    assert_holds(CLAIMS, run)
    assert run.unforeseen == ()
