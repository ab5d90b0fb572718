"""The prompt between two steps: an answer to the step's question, on, back, or to another step."""

from __future__ import annotations

import readline

from rich.console import Console

from napt_lab.labs.prompt.background import Background
from napt_lab.labs.prompt.examples import EXAMPLES
from napt_lab.labs.prompt.lab_cli import LabCLI
from napt_lab.labs.prompt.why import Why
from napt_lab.labs.stage.pause import Go, Here
from napt_lab.labs.stage.prediction import NotAnAnswer
from napt_lab.topologies.network.builder import Network

IN_STEP = "Enter: next step · ? for help · quit"
AT_END = "That was the last step. Enter: finish · ? for help"


class SteppingCLI(LabCLI):
    """Reads commands until one of them says where to go on, which is then in `go`."""

    alone = LabCLI.alone | {"next", "back", "repeat"}
    examples = (
        ("next", "the next step (so does Enter)"),
        ("repeat", "the last step once more, on a fresh network"),
        ("back", "stand before the last step again"),
        ("goto 4", "stand before step 4: the steps before it are done on a fresh network"),
        *EXAMPLES,
    )

    def __init__(
        self, net: Network, console: Console, here: Here, why: Why, background: Background
    ) -> None:
        hint = AT_END if here.is_last else IN_STEP
        if here.usage:
            hint = f"Predict: {here.usage} · {hint}"
        super().__init__(net, console, hint, why, background)
        self.go = here.on
        self._here = here

    def prompt_again(self) -> None:
        """Another thread has written below the line that is typed: show that once more."""
        if self._waits:
            self.stdout.write(f"{self.prompt}{readline.get_line_buffer()}")
            self.stdout.flush()

    def emptyline(self) -> bool:
        return self.do_next([])

    def default(self, name: str) -> None:
        typed = f"{name} {self.rest}".strip()
        is_answer = len(typed) == 1 or typed[0].isdigit() or typed[0] in "+-"
        if name in self.net.nodes or not self._here.usage:
            super().default(name)
            return
        if not is_answer:  # it may have been meant as one
            super().default(name)
            self.say(f"The step's question wants {self._here.usage}.")
            return
        try:
            self._here.predict(typed)
        except NotAnAnswer as error:
            self.say(str(error))

    def do_next(self, _words: list[str]) -> bool:
        """next: go on with the next step (so does Enter)"""
        return self._leave(self._here.on)

    def do_back(self, _words: list[str]) -> bool:
        """back: stand before the last step again, on a fresh network"""
        return self._to(self._here.step - 1, at_once=False)

    def do_repeat(self, _words: list[str]) -> bool:
        """repeat: the last step once more, on a fresh network"""
        return self._to(self._here.step - 1, at_once=True)

    def do_goto(self, words: list[str]) -> bool:
        """goto STEP: stand before this step, on a fresh network"""
        if len(words) != 1 or not words[0].isdecimal():
            self.say(f"Type the number of a step after it, 1 to {self._here.of}, as in: goto 4")
            return False
        return self._to(int(words[0]), at_once=False)

    def _to(self, step: int, *, at_once: bool) -> bool:
        if not 1 <= step <= self._here.of:
            self.say(f"There is no step {step}; there are 1 to {self._here.of}.")
            return False
        return self._leave(Go(step, at_once))

    def _leave(self, go: Go) -> bool:
        self.go = go
        self.goes_on = True
        return True
