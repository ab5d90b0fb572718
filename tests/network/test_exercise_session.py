"""One exercise from its task to the next, by somebody at a terminal."""

from __future__ import annotations

import json

import pytest

from tests.network.terminal import Terminal

CURL = "bob curl -sS -m {} -o holiday.jpg http://24.9.3.7:8000/holiday.jpg"


@pytest.fixture
def state(tmp_path):
    return tmp_path / "napt-lab"


def test_a_student_solves_an_exercise(tmp_path, state):
    """The test's own process needs no sandbox: the program makes its own."""
    with Terminal(
        ["-m", "napt_lab.labs", "exercise", "9c"],
        {"XDG_STATE_HOME": str(tmp_path), "TERM": "xterm", "COLUMNS": "100"},
    ) as terminal:
        terminal.expect("Exercise 9c/door (1 of 5)")
        terminal.expect("door> ")
        terminal.type("an unfinished line")
        terminal.expect("an unfinished line")  # readline is deaf to Ctrl-C while it reads a burst
        terminal.interrupt("Ctrl-D or quit leaves")
        terminal.type(f"{CURL.format(0.5)}\n")
        terminal.expect("bob: exit status 28")
        terminal.type("bob nosuch --word &\n")
        terminal.expect("bob cannot run 'nosuch': no such file or directory")
        terminal.type("bob file-server --port abc &\n")
        terminal.expect("file-server on bob ended, exit status 2: file-server: error")
        terminal.type("bob timeout 0.5 sleep 99 &\n")
        terminal.expect("timeout goes on in the background on bob")
        terminal.type("bob sleep 1\n")
        terminal.expect("timeout on bob ended, exit status 124: it said nothing")
        terminal.type("solution\n")
        terminal.expect("did you mean solve?")
        terminal.type("hint\n")
        terminal.expect("1. Let bob try")
        terminal.type("rule add napt_a tcp 8000 -> 10.0.0.7:8000\n")
        terminal.expect("napt_a added: tcp 24.9.3.7:8000 → 10.0.0.7:8000")
        terminal.type("rule del napt_a tcp 8000\n")
        terminal.expect("napt_a removed: tcp 24.9.3.7:8000")
        terminal.type("ru\t add napt_a t\t2\t8000 10.0.0.7\t8000\n")
        terminal.expect("napt_a added: tcp 24.9.3.7:8000 → 10.0.0.7:8000")
        terminal.type("check\n")
        terminal.expect("Your rule is right, but it came after bob's SYN")
        terminal.expect("2 of 4 points.")
        terminal.type("check\n")  # what the check itself dialed does not count
        terminal.expect("2 of 4 points.")
        terminal.type(f"packets napt_b while {CURL.format(5)}\n")
        terminal.expect("(was 10.0.0.9:")
        terminal.expect("door> ")
        terminal.type("check\n")
        terminal.expect("4 of 4 points. Solved!")
        terminal.expect("What it shows: An explicit rule in the NAPT of the side that is dialed")
        terminal.type("packets\n")
        terminal.expect("until Enter.")
        terminal.interrupt("door> ")
        terminal.type("next\n")
        terminal.expect("Exercise 9c/both-ways (2 of 5)")
        terminal.expect("both-ways> ")
        terminal.type("solve\n")
        terminal.expect("That was the solution.")
        terminal.expect("both-ways> ")
        terminal.type("transcript\n")
        terminal.expect("  solve\n  (a fresh network)")
        terminal.expect("both-ways> ")
        terminal.type("progress\n")
        terminal.expect("○ both-ways")
        terminal.expect("solution shown")
        terminal.expect("both-ways> ")
        terminal.type("\x04")  # Ctrl-D
        assert terminal.status() == 0
    assert json.loads((state / "progress.json").read_text()) == {
        "9c/door": {"points": 4, "of": 4, "hints": 1, "shown": False},
        "9c/both-ways": {"points": 0, "of": 4, "hints": 0, "shown": True},
    }
    lines = (state / "history").read_text().splitlines()
    assert "rule add napt_a tcp 24.9.3.7:8000 10.0.0.7:8000" in lines
