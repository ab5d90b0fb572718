"""The pytest plugin at a terminal: debuggers, and tests that ask."""

from __future__ import annotations

import pytest

from tests.network import their_project
from tests.network.terminal import Terminal

# Shorter than a person needs for an answer: a debugger stops the time.
TESTS = """
import pytest, time
pytestmark = [pytest.mark.usefixtures("napt_lab"), pytest.mark.napt_lab(timeout=1)]

def test_stops():
    number = 41
    breakpoint()
    number += 1
    assert number == 42

def test_fails():
    found = "seen"
    assert not found

def test_after():
    pass
"""
ASKS = """
import time
def test_asks(napt_lab):
    assert input("your name? ") == "alice"
def test_waits(napt_lab):
    print("waiting", flush=True)
    for _ in range(6000):  # a signal that comes just before a sleep is noticed after it
        time.sleep(0.01)
"""


@pytest.fixture
def pytest_at_terminal(tmp_path):
    def start(source, *arguments):
        their_project.write(tmp_path, {"test_theirs.py": source})
        options = ["-c", str(tmp_path / "pytest.ini"), *arguments, str(tmp_path)]
        return Terminal([*their_project.PYTEST, *options], {"TERM": "dumb"})

    return start


def ask(terminal, question, answer):
    terminal.type(f"{question}\n")
    terminal.expect(answer)
    terminal.expect("(Pdb) ")


def test_a_debugger_has_the_terminal_and_all_the_time(pytest_at_terminal):
    with pytest_at_terminal(TESTS, "--pdb") as terminal:
        terminal.expect("(Pdb) ")
        ask(terminal, "import time; time.sleep(1.5); number", "\n41\n")
        terminal.interrupt("(Pdb) ")  # Ctrl-C is for the debugger
        terminal.type("continue\n")
        terminal.expect("entering PDB")
        terminal.expect("(Pdb) ")
        ask(terminal, "found", "'seen'")
        terminal.type("continue\n")
        terminal.expect("1 failed, 2 passed")
        assert terminal.status() == 1


def test_leaving_the_debugger_ends_the_session(pytest_at_terminal):
    with pytest_at_terminal(TESTS) as terminal:
        terminal.expect("(Pdb) ")
        terminal.type("quit\n")
        terminal.expect("Exit: Quitting debugger")
        assert terminal.status() == 2


def test_a_test_may_ask_and_is_interrupted(pytest_at_terminal):
    with pytest_at_terminal(ASKS, "-s") as terminal:
        terminal.expect("your name? ")
        terminal.type("alice\n")
        terminal.expect("waiting")
        terminal.type("\x03")
        terminal.expect("KeyboardInterrupt")
        terminal.expect("1 passed")
        assert terminal.status() == 2
