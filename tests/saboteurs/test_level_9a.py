"""Saboteurs of lab 9a: a public server that does not hold the files, or is not the only way."""

from __future__ import annotations

import pytest

from tests.saboteurs.common import (
    BOB_TRIES_THE_DIRECT_WAY,
    FILE_DAMAGED_ON_THE_WAY,
    SERVERS_TAKE_THEMSELVES_FOR_THE_CLIENT,
    STAGE,
)
from tests.saboteurs.planted import labs, servers
from tests.saboteurs.saboteur import Patch, Saboteur, assert_turns_red, run_lab, shared

EXCHANGE, HOLDS = "9a.exchange", "9a.server-holds"

SABOTEURS = (
    Saboteur(
        # What the server holds is then not what was sent to it.
        "file-is-damaged-on-the-way",
        (FILE_DAMAGED_ON_THE_WAY,),
        red={EXCHANGE: "byte for byte: bob: curl: done", HOLDS: "as alice and bob had it"},
    ),
    Saboteur(
        "server-reports-its-own-address-as-the-peer",
        (SERVERS_TAKE_THEMSELVES_FOR_THE_CLIENT,),
        red={EXCHANGE: "from 198.51.100.10:8080"},
    ),
    Saboteur(
        "bob-tries-the-direct-way-as-well",
        (Patch(f"{STAGE}.start", labs.first, "bob", "curl", BOB_TRIES_THE_DIRECT_WAY),),
        red={EXCHANGE: "packets between 24.9.3.7 and 203.0.113.77"},
    ),
    Saboteur(
        "server-forgets-a-file-once-it-was-fetched",
        (Patch("napt_lab.servers.files.sending:send", servers.forgetting_what_it_gave),),
        red={HOLDS: "byte for byte: files: sha256sum: sha256sum: files/holiday.jpg: No such file"},
    ),
    Saboteur(
        "pcs-keep-their-copies",
        (Patch(f"{STAGE}.start", labs.other_words, "alice", "rm", {"rm": "ls"}),),
        red={HOLDS: "alice has 2 of the files"},
    ),
)


@pytest.mark.parametrize("saboteur", shared(SABOTEURS), ids=lambda saboteur: saboteur.name)
def test_saboteur_turns_its_claims_red(saboteur, pristine, tmp_path):
    assert_turns_red(saboteur, run_lab("9a", pristine, tmp_path, saboteur))
