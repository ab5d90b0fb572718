"""The questions of a lab's steps, without its network: `make lab-9c QUIZ=1`."""

from __future__ import annotations

from collections.abc import Sequence

from napt_lab.labs.records.stream import Stream
from napt_lab.labs.stage.narration import Narration
from napt_lab.labs.stage.prediction import NotAnAnswer, Prediction, outcome
from napt_lab.labs.stage.steps import Step
from napt_lab.labs.verdict.exit_status import PASSED

QUIT = {"q", "quit", "exit"}


def run_quiz(steps: Sequence[Step], first: int) -> int:
    """Ask them from the step number `first` on, until the last one or `quit`; the exit status."""
    stream, narration = Stream(), Narration()
    stream.listen(narration)
    narration.console.print("Enter leaves a question out; quit ends.", style="dim")
    for number, step in enumerate(steps[first - 1 :], start=first):
        if step.predict is None:
            continue
        stream.emit("step", number=number, of=len(steps), **step.told())
        try:
            said = _ask(narration, step.predict)
        except EOFError:
            break
        stream.emit("prediction", **outcome(number, step.ask, step.predict, said))
    stream.emit("quizzed")
    return PASSED


def _ask(narration: Narration, asked: Prediction) -> str:
    """An answer that can be given; "" for none. EOFError to end."""
    while typed := input(f"{asked.usage}> ").strip():
        if typed.lower() in QUIT:
            raise EOFError
        try:
            return asked.read(typed)
        except NotAnAnswer as error:
            narration.console.print(str(error), style="dim", markup=False)
    return ""
