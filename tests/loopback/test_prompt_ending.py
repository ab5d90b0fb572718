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
        terminal.expect("answered: ['']")
        assert terminal.status() == 0


def test_a_wish_that_comes_while_a_key_is_handled_is_not_lost(terminal):
    terminal.type("a\t")


def test_a_command_that_runs_is_not_ended_and_the_page_is_told(terminal):
    terminal.type("work\n")
    terminal.expect("ended: A command runs at the terminal")
    terminal.expect("> ")
    terminal.type("a\t")


TWO_AT_ONCE = """
import readline, threading
from cmd import Cmd
from napt_lab.labs.view import go_on

class At(Cmd):
    prompt = "> "

ending = go_on.PromptEnding()
together = threading.Barrier(3)
answers = []

def press(wish):
    together.wait()
    answers.append(ending.end(wish))

for _ in range(60):
    answers.clear()
    pressed = [threading.Thread(target=press, args=(wish,)) for wish in ("a", "b")]
    for each in pressed:
        each.start()
    threading.Timer(0.01, together.wait).start()
    try:
        with ending.allowed():
            At().cmdloop()
    except go_on.GoOn:
        pass
    for each in pressed:
        each.join()
    ended, refused = sorted(answers)
    assert (ended, refused in (go_on.ANOTHER, go_on.BUSY)) == ("", True), answers
print("all well")
"""


def test_of_two_buttons_at_the_same_moment_one_ends_the_prompt(tmp_path):
    program = tmp_path / "program.py"
    program.write_text(TWO_AT_ONCE)
    with Terminal([str(program)], {}) as terminal:
        terminal.expect("all well")
        assert terminal.status() == 0
