"""A prompt at a real terminal that another thread ends, while readline is at work."""

from __future__ import annotations

import pytest

from tests.network.terminal import Terminal

# `asked` is set once a signal has come while a word is completed: readline handles a key then, and
# none may end that.
PROGRAM = """
import readline, signal, threading
from cmd import Cmd
from napt_lab.labs.view import go_on

ending = go_on.PromptEnding()
asked = threading.Event()
answers = []

class At(Cmd):
    prompt = "> "
    def complete(self, text, state):
        if state == 0:
            came = signal.getsignal(signal.SIGUSR1)
            def note(*what):
                came(*what)
                asked.set()
            signal.signal(signal.SIGUSR1, note)
            threading.Thread(target=lambda: answers.append(ending.end("solve"))).start()
            asked.wait()
    def do_work(self, _line):
        tries, go_on.TRIES = go_on.TRIES, 2
        print("ended:", ending.end("reset"))
        go_on.TRIES = tries

with ending.allowed():
    try:
        At().cmdloop()
    except go_on.GoOn as wish:
        print("the wish:", wish)
for thread in threading.enumerate():
    if thread is not threading.main_thread():
        thread.join()
print("answered:", answers)
"""


@pytest.fixture
def terminal(tmp_path):
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    with Terminal([str(program)], {}) as terminal:
        terminal.expect("> ")
        yield terminal
        terminal.expect("the wish: solve")
        terminal.expect("answered: [True]")
        assert terminal.status() == 0


def test_a_wish_that_comes_while_a_key_is_handled_is_not_lost(terminal):
    terminal.type("a\t")


def test_a_command_that_runs_is_not_ended_and_the_page_is_told(terminal):
    terminal.type("work\n")
    terminal.expect("ended: False")
    terminal.expect("> ")
    terminal.type("a\t")
