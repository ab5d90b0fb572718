"""Saboteurs of lab 9b: a relay that keeps something, lets strangers in, or is not needed."""

from __future__ import annotations

from typing import Any

import pytest

from tests.saboteurs.common import BOB_TRIES_THE_DIRECT_WAY, FILE_DAMAGED_ON_THE_WAY, STAGE
from tests.saboteurs.planted import labs, servers
from tests.saboteurs.saboteur import Patch, Saboteur, assert_turns_red, run_lab, shared

RELAY, TURN, NOTHING_HELD = "9b.relay", "9b.turn", "9b.nothing-held"


def keeping(how: Any) -> tuple[Patch, ...]:
    """A relay that looks at the bytes that it passes on, and keeps them."""
    return (Patch("napt_lab.servers.shared.splice:os", servers.keeping, how.__name__),)


SABOTEURS = (
    Saboteur(
        "file-is-damaged-on-the-way",  # … by the NAPTs, whatever the way
        (FILE_DAMAGED_ON_THE_WAY,),
        red={RELAY: "both files arrive, byte for byte", TURN: "gets the file, byte for byte"},
        part="meeting",
    ),
    Saboteur(
        "bob-tries-the-direct-way-as-well",
        (Patch(f"{STAGE}.start", labs.first, "bob", "sh", BOB_TRIES_THE_DIRECT_WAY),),
        red={RELAY: "napt_a:wan0: 1 SYN in"},
        part="meeting",
    ),
    Saboteur(
        "strangers-need-no-permission",
        (Patch("napt_lab.servers.turn.connect:accepted", servers.permitting_every_peer),),
        red={TURN: "waiting for `connection-refused` from relay"},
        part="meeting",
    ),
    Saboteur(
        "relay-writes-to-disk",
        keeping(servers.in_a_file),
        red={NOTHING_HELD: "in its folder:"},
        part="held",
    ),
    Saboteur(
        "relay-writes-to-a-file-without-a-name",
        keeping(servers.in_a_nameless_file),
        red={NOTHING_HELD: "2 files open"},  # the plain relay's, and the TURN server's
        part="held",
    ),
    Saboteur(
        "relay-keeps-all-in-a-file-in-memory",
        keeping(servers.in_a_file_in_memory),
        red={NOTHING_HELD: "bytes more (bob's own copy is not counted)"},
        part="held",
    ),
    Saboteur(
        "relay-keeps-all-in-memory",
        keeping(servers.in_memory),
        red={NOTHING_HELD: "its memory does not grow with the film"},
        part="held",
    ),
)


@pytest.mark.parametrize("saboteur", shared(SABOTEURS), ids=lambda saboteur: saboteur.name)
def test_saboteur_turns_its_claims_red(saboteur, pristine, tmp_path):
    assert_turns_red(saboteur, run_lab("9b", pristine, tmp_path, saboteur))
