"""Saboteurs of lab 9d: for each claim, the faults that would make it untrue.

Rows are as saboteur.py describes them. A run takes ten seconds, so each fault breaks one claim
only, and those of different claims share a run.
"""

from __future__ import annotations

import pytest

from tests.saboteurs.faults import FILE_DAMAGED_ON_THE_WAY
from tests.saboteurs.saboteur import Edit, Saboteur, assert_holds, assert_turns_red, run_lab, shared

ASK, DIRECT, ONLY_OWN = "9d.ask", "9d.direct", "9d.only-own"
OUTSIDE, LIFETIME = "9d.outside", "9d.lifetime"
CLAIMS = {ASK, DIRECT, ONLY_OWN, OUTSIDE, LIFETIME}

LAB = "labs/level_9d/lab.py"
LEASES = "nat_node/port_control/leases.py"
LISTENER = "nat_node/port_control/listener.py"
SERVER = "nat_node/port_control/server.py"
ROUTING = "nat_node/system/routing.py"

IMPATIENT = (
    Edit("labs/level_9d/checks.py", '"-m", "5"', '"-m", "2"'),
    Edit("labs/stage/evidence.py", "WAIT = 5.0", "WAIT = 1.0"),
    Edit("labs/stage/stage.py", "deadline: float = 3.0", "deadline: float = 1.0"),
)

WRONG_NONCE = "            if lease.nonce is not None and lease.nonce != wish.nonce:\n"

SABOTEURS = (
    # ── 9d.ask: asked for and answered once, and the table says the same ───────────────────────
    Saboteur(
        "nat-pmp-makes-a-rule-for-the-other-protocol",
        (Edit("nat_node/port_control/nat_pmp.py", "{1: UDP, 2: TCP}", "{1: TCP, 2: UDP}"),),
        red={ASK: "tcp 24.9.3.7:9000 → 10.0.0.7:9000"},
    ),
    Saboteur(
        "every-answer-is-sent-twice",
        (
            Edit(
                LISTENER,
                "                self._send(answer, sender)\n",
                "                self._send(answer, sender)\n" * 2,
            ),
        ),
        red={ASK: "2 answers to one request"},
    ),
    # ── 9d.direct: end to end, whole, no server in between ─────────────────────────────────────
    Saboteur(
        "server-holds-a-copy-and-gives-it",
        (
            Edit(
                LAB,
                '    fetched = stage.run("bob", *fetch_file(NAPT_A))\n',
                '    copy = stage.net["files"].home / "files" / "holiday.jpg"\n'
                '    mine = stage.net["alice"].home / "shared" / "holiday.jpg"\n'
                "    copy.write_bytes(mine.read_bytes())\n"
                '    fetched = stage.run("bob", *fetch_file(FILES))\n',
            ),
            *IMPATIENT,
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
        (Edit(LEASES, WRONG_NONCE, "            if False:\n"),),
        red={ONLY_OWN: "under alice's address, but without her nonce"},
    ),
    Saboteur(
        "refusal-is-told-but-the-rule-goes",
        (
            Edit(
                LEASES,
                WRONG_NONCE,
                WRONG_NONCE + '                self._end(lease, "deleted", now)\n',
            ),
        ),
        red={ONLY_OWN: "0 explicit rules in napt_a's table"},
    ),
    # ── 9d.outside: not heard, not believed ────────────────────────────────────────────────────
    Saboteur(
        "server-listens-on-all-sides",
        (
            Edit(
                ROUTING,
                '            f"rule add pref 11 iif {inside}',
                '            f"rule add pref 10 iif {outside} ipproto udp lookup local",\n'
                '            f"rule add pref 11 iif {inside}',
            ),
            Edit(
                LISTENER,
                "    option(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, interface.encode())\n",
                "",
            ),
            Edit(LISTENER, "listener.bind((address, PORT))", 'listener.bind(("", PORT))'),
            Edit(SERVER, "if not self._settings.is_inside(source) or not", "if not"),
            *IMPATIENT,
        ),
        red={OUTSIDE: "no answer has left napt_a on the outside"},
    ),
    Saboteur(
        "inside-addresses-are-believed-outside",
        (
            Edit(
                "nat_node/core/translator.py",
                "return self.settings.is_not_routable(packet.source)",
                "return False",
            ),
        ),
        red={OUTSIDE: "reason no-rule"},
    ),
    # ── 9d.lifetime: gone in time, kept by renewal ─────────────────────────────────────────────
    Saboteur(
        "leases-never-end",
        (Edit(LEASES, 'self._end(lease, "expired", now)', "pass"), *IMPATIENT),
        red={LIFETIME: "waiting for `rule-ended` from napt_a"},
    ),
    Saboteur(
        "renewal-is-granted-but-not-done",
        (
            Edit(
                LEASES,
                "        lease.lifetime, lease.deadline = wish.lifetime, now + wish.lifetime\n",
                "",
            ),
        ),
        red={LIFETIME: "0 explicit rules in napt_a's table"},
    ),
)


@pytest.mark.parametrize("saboteur", shared(SABOTEURS), ids=lambda saboteur: saboteur.name)
def test_saboteur_turns_its_claims_red(saboteur, pristine, tmp_path):
    assert_turns_red(saboteur, run_lab("9d", pristine, tmp_path, saboteur))


def test_without_sabotage_all_claims_hold(pristine, tmp_path):
    assert_holds(CLAIMS, run_lab("9d", pristine, tmp_path))
