"""A student answers, does a step once more, skips one, and goes on after the terminal is gone."""

from __future__ import annotations

import json
import os
import signal

from tests import installed
from tests.network.terminal import Terminal


def test_a_run_goes_back_and_forth_and_goes_on_after_kill_9(tmp_path):
    """The test's own process needs no sandbox: the program makes its own."""
    installed.lay_out(tmp_path)
    environment = installed.environment(tmp_path) | {"XDG_STATE_HOME": str(tmp_path)}
    lab = ["-P", "-m", "napt_lab.labs", "lab", "9a"]
    runs = tmp_path / "runs"
    with Terminal([*lab, "--step"], environment, tmp_path) as terminal:
        terminal.expect("Predict: a letter, a to c · Enter: next step")
        terminal.type("d\n")
        terminal.expect("'d' is not an answer: type a letter, a to c")
        terminal.type("c\n")
        terminal.expect("You predict: both PCs, each from inside its home")
        terminal.type("\n")
        terminal.expect("You predicted it: both PCs, each from inside its home")
        terminal.expect("Step 2 of 3")
        terminal.expect("next step")
        terminal.type("goto 4\n")
        terminal.expect("There is no step 4; there are 1 to 3.")
        terminal.type("repeat\n")
        again = terminal.expect("You predicted it: both PCs, each from inside its home")
        assert "Step 1 of 3" in again
        terminal.expect("Step 2 of 3")
        terminal.expect("next step")
        terminal.type("goto 3\n")
        terminal.expect("Now steps 1 to 2 …")
        assert "$ curl" not in terminal.expect("The network is as steps 1 to 2 left it.")
        terminal.expect("Step 3 of 3")
        terminal.expect("next step")
        os.kill(terminal.pid, signal.SIGKILL)
        terminal.status()
    assert json.loads((runs / ".9a.json").read_text())["step"] == 3
    assert not (runs / "9a").exists()
    with Terminal([*lab, "--resume"], environment, tmp_path) as terminal:
        terminal.expect("The network is as steps 1 to 2 left it.")
        terminal.expect("Step 3 of 3")
        terminal.expect("next step")
        terminal.type("a\n\n")
        terminal.expect("The belief behind it: A file that its owner deletes is gone.")
        terminal.expect("That was the last step.")
        terminal.type("\n")
        terminal.expect("1 of 2 predictions were right")
        terminal.expect("The exercise that fits: napt-lab exercise 9a/stranger")
        assert terminal.status() == 0
    assert not (runs / ".9a.json").exists()
    results = json.loads((runs / "9a" / "results.json").read_text())
    assert [step["title"] for step in results["steps"]] == [
        "Both upload", "Each fetches the other's file", "What stays behind",
    ]  # fmt: skip
    assert results["passed"]
    assert [(p["step"], p["right"]) for p in results["predictions"]] == [
        (1, True), (2, None), (3, False),
    ]  # fmt: skip
