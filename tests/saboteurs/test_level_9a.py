"""Saboteurs of lab 9a: a public server that does not hold the files, or is not the only way."""

from __future__ import annotations

import pytest

from tests.saboteurs.faults import FILE_DAMAGED_ON_THE_WAY, FILE_SERVER_REPORTS_ITSELF_AS_THE_PEER
from tests.saboteurs.saboteur import Edit, Saboteur, assert_turns_red, run_lab, shared

EXCHANGE, HOLDS = "9a.exchange", "9a.server-holds"

LAB = "labs/level_9a/lab.py"
SEND = "await send(request, self._folder, name, self._idle, _FOR_ALL)"

SABOTEURS = (
    Saboteur(
        # What the server holds is then not what was sent to it.
        "file-is-damaged-on-the-way",
        (FILE_DAMAGED_ON_THE_WAY,),
        red={EXCHANGE: "byte for byte: curl: done", HOLDS: "as alice and bob had it"},
    ),
    Saboteur(
        "server-reports-its-own-address-as-the-peer",
        (FILE_SERVER_REPORTS_ITSELF_AS_THE_PEER,),
        red={EXCHANGE: "from 198.51.100.10:8080"},
    ),
    Saboteur(
        "bob-tries-the-direct-way-as-well",
        (
            Edit(
                LAB,
                "    fetches = {\n",
                '    stage.run("bob", "curl", "-m", "0.5", f"http://{NAPT_A}")\n    fetches = {\n',
            ),
        ),
        red={EXCHANGE: "packets between 24.9.3.7 and 203.0.113.77"},
    ),
    Saboteur(
        "server-forgets-a-file-once-it-was-fetched",
        (
            Edit(
                "servers/files/application.py",
                f"return {SEND}\n",
                f"response = {SEND}\n"
                "            __import__('os').unlink(name, dir_fd=self._folder.descriptor)\n"
                "            return response\n",
            ),
        ),
        red={HOLDS: "byte for byte: sha256sum: sha256sum: files/holiday.jpg: No such file"},
    ),
    Saboteur(
        "pcs-keep-their-copies",
        (Edit(LAB, 'stage.run(pc, "rm", *SENT', 'stage.run(pc, "ls", *SENT'),),
        red={HOLDS: "alice has 2 of the files"},
    ),
)


@pytest.mark.parametrize("saboteur", shared(SABOTEURS), ids=lambda saboteur: saboteur.name)
def test_saboteur_turns_its_claims_red(saboteur, pristine, tmp_path):
    assert_turns_red(saboteur, run_lab("9a", pristine, tmp_path, saboteur))
