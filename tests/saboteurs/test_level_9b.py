"""Saboteurs of lab 9b: a relay that keeps something, lets strangers in, or is not needed."""

from __future__ import annotations

import pytest

from tests.saboteurs.faults import FILE_DAMAGED_ON_THE_WAY
from tests.saboteurs.saboteur import Edit, Saboteur, assert_turns_red, run_lab, shared

RELAY, TURN, NOTHING_HELD = "9b.relay", "9b.turn", "9b.nothing-held"

LAB = "labs/level_9b/lab.py"


def keeping(setting_up: str, keep: str) -> tuple[Edit, ...]:
    """A relay that looks at the bytes that it passes on, and does `keep` with `data`."""
    return (
        Edit(
            "servers/shared/splice.py",
            "                filled = os.splice(self.source.fileno(), inlet, PIPE_BYTES)\n",
            "                data = self.source.recv(PIPE_BYTES, socket.MSG_PEEK)\n"
            f"                {keep}\n"
            "                filled = os.splice(self.source.fileno(), inlet, len(data) or 1)\n",
        ),
        Edit(
            "servers/shared/splice.py",
            "PIPE_BYTES = 65_536\n",
            f"PIPE_BYTES = 65_536\n{setting_up}\n",
        ),
    )


MAPPED_FILE = """
import mmap

kept = 0


def keep(data: bytes) -> None:
    global kept
    page = kept // mmap.PAGESIZE * mmap.PAGESIZE
    with open(f"/dev/shm/kept-by-{os.getpid()}", "r+b" if kept else "w+b") as file:
        file.truncate(kept + len(data))
        with mmap.mmap(file.fileno(), kept + len(data) - page, offset=page) as memory:
            memory[kept - page :] = data
    kept += len(data)
"""

SABOTEURS = (
    Saboteur(
        "file-is-damaged-on-the-way",  # … by the NAPTs, whatever the way
        (FILE_DAMAGED_ON_THE_WAY,),
        red={RELAY: "both files arrive, byte for byte", TURN: "gets the file, byte for byte"},
        part="meeting",
    ),
    Saboteur(
        "bob-tries-the-direct-way-as-well",
        (
            Edit(
                LAB,
                '    second = stage.start("bob",',
                '    stage.run("bob", "curl", "-m", "0.5", f"http://{NAPT_A}")\n'
                '    second = stage.start("bob",',
            ),
        ),
        red={RELAY: "napt_a:wan0: 1 SYN in"},
        part="meeting",
    ),
    Saboteur(
        "strangers-need-no-permission",
        (
            Edit(
                "servers/turn/connect.py",
                "if peer[0] not in allocation.permissions:",
                "if False:",
            ),
        ),
        red={TURN: "waiting for `connection-refused` from relay"},
        part="meeting",
    ),
    Saboteur(
        "relay-writes-to-disk",
        keeping("", 'open("kept", "ab").write(data)'),
        red={NOTHING_HELD: "in its folder:"},
        part="held",
    ),
    Saboteur(
        "relay-writes-to-a-file-without-a-name",
        keeping("import tempfile\nKEPT = tempfile.TemporaryFile()", "KEPT.write(data)"),
        red={NOTHING_HELD: "2 files open"},  # the plain relay's, and the TURN server's
        part="held",
    ),
    Saboteur(
        # Neither in its folder, nor written by write(2), nor open for more than a moment.
        "relay-keeps-all-in-a-file-in-memory",
        keeping(MAPPED_FILE, "keep(data) if data else None"),
        red={NOTHING_HELD: "bytes more, without bob's copy"},
        part="held",
    ),
    Saboteur(
        "relay-keeps-all-in-memory",
        keeping("KEPT = bytearray()", "KEPT.extend(data)"),
        red={NOTHING_HELD: "its memory does not grow with the film"},
        part="held",
    ),
)


@pytest.mark.parametrize("saboteur", shared(SABOTEURS), ids=lambda saboteur: saboteur.name)
def test_saboteur_turns_its_claims_red(saboteur, pristine, tmp_path):
    assert_turns_red(saboteur, run_lab("9b", pristine, tmp_path, saboteur))
