"""The screen of `check`: each assertion with its verdict and its evidence.

Assertions are shown in the order of the file, each as soon as it and all before it are known. On a
terminal, a line says how many are known so far.
"""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.padding import Padding
from rich.rule import Rule
from rich.text import Text

from napt_lab.labs.check.outcome import Outcome
from napt_lab.labs.check.reports import Checked
from napt_lab.labs.check.run import STOPPED
from napt_lab.labs.stage.progress_line import ProgressLine
from napt_lab.labs.verdict.verdicts import Verdict, counted
from napt_lab.topologies.spec.assertions import Expectation
from napt_lab.topologies.spec.model import Topology

WIDTH = 100


class Telling:
    """Prints one topology after the other; a listener of run_checks."""

    def __init__(self, *, on_stderr: bool) -> None:
        self._console = Console(stderr=on_stderr, highlight=False, soft_wrap=False)
        self._console.width = min(WIDTH, self._console.width)
        self.progress = ProgressLine(self._console)
        self._expected: Sequence[Expectation] = ()
        self._known: dict[int, Outcome] = {}  # by the id of the expectation
        self._told = 0

    def begin(self, topology: Topology) -> None:
        """The next topology is built."""
        title = f"{topology.path}: {topology.title}" if topology.title else str(topology.path)
        self._console.print(Rule(Text(title, "bold"), align="left"))
        self._expected, self._known, self._told = topology.expectations(), {}, 0
        self.progress.begin(Text("building the network", "dim"))

    def __call__(self, outcome: Outcome) -> None:
        """One more is known."""
        self._known[id(outcome.expectation)] = outcome
        while self._told < len(self._expected):
            following = self._known.get(id(self._expected[self._told]))
            if following is None:
                break
            self._told += 1
            self._tell(following)
            self._console.file.flush()  # so that a log shows it at once
        done, of = len(self._known), len(self._expected)
        self.progress.update(Text(f"{done} of {of} are known", "dim"))

    def end(self, checked: Checked) -> None:
        """Everything about this topology is known."""
        self.progress.end()
        style = "bold green" if checked.passed else "bold red"
        total = Text(f"{counted(outcome.verdict for outcome in checked.outcomes)}.", style)
        self._console.print(total.append(f" {checked.seconds:.1f} s.", "not bold dim"))

    def stop(self, checked: Sequence[Checked]) -> None:
        """The user stopped it: how much is known about all topologies, and how much is not."""
        self.progress.end()
        outcomes = [outcome for one in checked for outcome in one.outcomes]
        known = [outcome.verdict for outcome in outcomes if outcome.evidence != (STOPPED,)]
        left = sum(len(one.topology.expectations()) for one in checked) - len(known)
        total = f"{counted(known)}, {left}" if known else f"{left}"
        self._console.print(Text(f"You stopped the check: {total} not checked.", "bold yellow"))

    def _tell(self, outcome: Outcome) -> None:
        verdict, expectation = outcome.verdict, outcome.expectation
        passed = verdict is Verdict.PASSED
        sign = f"{verdict.sign} ", f"bold {verdict.color}"
        head = Text.assemble(sign, (expectation.text, "bold"))
        place = f"line {expectation.line}, {outcome.seconds:.2f} s"
        if len(head) + len(place) + 2 <= self._console.width:
            self._console.print(head.append(f"  {place}", "not bold dim"))
        else:
            self._console.print(head)
            self._indented(Text(place, "dim"))
        *evidence, last = outcome.evidence or ("",)
        for line in evidence:
            self._indented(Text(line, "dim"))
        self._indented(Text(last, "dim" if passed else verdict.color))
        if expectation.message and not passed:
            self._indented(Text(expectation.message, "yellow"))

    def _indented(self, text: Text) -> None:
        if not self._console.is_terminal:  # a search in a log finds a line as a whole
            self._console.print(Text("    ").append_text(text), soft_wrap=True)
            return
        self._console.print(Padding(text, (0, 0, 0, 4), expand=False))
