"""A terminal follows into the sandbox, and what is typed there reaches the work."""

from __future__ import annotations

import signal

import pytest

from tests.network.sandbox_host import BUILDING
from tests.network.terminal import Terminal

pytestmark = pytest.mark.network(timeout=60)

TALKING = (
    BUILDING
    + """
import os
print("prompt", flush=True)
for line in sys.stdin:
    if line == "shell\\n":  # with job control, which moves the terminal to another process group
        subprocess.run(["bash", "--norc", "-i"])
    print("heard", line.strip(), flush=True)
"""
)


@pytest.fixture
def terminal():
    """A shell's place at a terminal: the program leads the terminal's foreground group."""
    with Terminal(["-c", TALKING], {}) as terminal:
        yield terminal


def test_the_terminal_follows_into_the_sandbox(terminal):
    terminal.expect("prompt")
    terminal.type("one\n")
    terminal.expect("heard one")
    terminal.type("shell\n")
    terminal.type("echo pid-$$; exit\n")
    terminal.expect("heard shell")  # the shell has given the terminal back
    terminal.type("two\n")
    terminal.expect("heard two")
    terminal.type("\x04")  # Ctrl-D
    assert terminal.status() == 0


def test_ctrl_c_ends_the_work(terminal):
    terminal.expect("prompt")
    terminal.interrupt("KeyboardInterrupt")
    assert terminal.status() == 128 + signal.SIGINT
