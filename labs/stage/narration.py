"""Tells a run on the terminal, as it goes on.

Listens to the stream and prints. In a pipe: the same words, no colors; what is
indented (evidence, output) has each line whole.
"""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.padding import Padding
from rich.rule import Rule
from rich.text import Text

from napt_lab.labs.records.stream import Record
from napt_lab.labs.stage.code_in_text import pieces
from napt_lab.labs.stage.prediction import LETTERS, exercise_command
from napt_lab.labs.stage.progress_line import ProgressLine
from napt_lab.labs.stage.rule_lines import rule_lines
from napt_lab.labs.verdict.claims import CLAIMS
from napt_lab.labs.verdict.verdicts import Verdict, counted, verdict_of, worst_of_each

WIDTH = 100  # longer lines are hard to read
OUTPUT_LINES = 6  # of a command's output
RULES_SHOWN = 12
BAR_WIDTH = 40
TALK = {"command", "output", "observed"}  # of steps that are carried out once more, not told


class Narration:
    """Prints every event that a person wants to see."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console(highlight=False, soft_wrap=False)
        if self.console.width > WIDTH:
            self.console.width = WIDTH
        self.progress = ProgressLine(self.console)
        self._checks: list[tuple[int, str, Verdict]] = []  # its step and claim
        self._predictions: dict[int, Record] = {}  # by the step
        self._part = ""
        self._step = 0
        self._replays = False  # whether steps are carried out without a word
        self._stopped: Record | None = None  # if the run was ended early
        self._last = ""  # the event before, to set groups apart

    def __call__(self, record: Record) -> None:
        """Listen to the stream."""
        tell = getattr(self, f"_tell_{record['event']}", None)
        if tell is not None and not (self._replays and record["event"] in TALK):
            tell(record)
            if record["event"] not in ("working", "progress"):
                self._last = record["event"]

    # ── the run ────────────────────────────────────────────────────────────────────────

    def _tell_lab(self, record: Record) -> None:
        self.console.print(Rule(f"[bold]Level {record['lab']}"))
        self.console.print(Text(record["title"], style="bold"))
        self._say(record["intro"])

    def _tell_part(self, record: Record) -> None:
        self._checks = [check for check in self._checks if check[0] < record["first"]]
        if record["part"] == self._part:
            return  # it was shown
        self._part = record["part"]
        if record["title"]:
            self.console.print(Rule(record["title"], align="left"))
        self.console.print()
        for line in record["drawing"]:
            self._print(Text("  " + line, style="cyan"), wrap=False)
        self.console.print()

    def _tell_working(self, record: Record) -> None:
        what = f"step {self._step}: {record['what']}" if self._replays else record["what"]
        self.progress.begin(Text(what, style="dim"))

    def _tell_replay(self, record: Record) -> None:
        self.progress.end()
        self._print(Text(f"Now {_steps(record)} …", style="dim"))
        self._replays = True

    def _tell_replayed(self, record: Record) -> None:
        self.progress.end()
        self._replays = False
        self._print(Text(f"The network is as {_steps(record)} left it.", style="dim"))

    def _tell_progress(self, record: Record) -> None:
        full = BAR_WIDTH * record["done"] // max(1, record["of"])
        bar = ("━" * full, "green"), ("─" * (BAR_WIDTH - full), "dim")
        count = f" {record['done']:,} of {record['of']:,} "
        self.progress.update(Text.assemble(*bar, count, (record["what"], "dim")))

    def _tell_network(self, record: Record) -> None:
        self.progress.end()
        self._print(Text(f"The network is up after {record['seconds']:.2f} s.", style="dim"))

    def _tell_end(self, record: Record) -> None:
        self.progress.end()
        self.console.print()
        self.console.print(Rule())
        claims = worst_of_each((claim, verdict) for _, claim, verdict in self._checks)
        unchecked = self._take_out_unfinished(claims)
        for claim, verdict in claims.items():
            self._print(Text.assemble(_sign(verdict), (claim, "bold")))
            if claim in CLAIMS:
                self._print(Text(CLAIMS[claim], style="dim"), indent=4)
        told = counted(claims.values())
        text = f"Claims: {told}." if told else "No claim was checked completely."
        style = "bold green" if record["passed"] else "bold red"
        self._print(Text.assemble((text, style), (f" {record['seconds']:.1f} s.", "dim")))
        if self._stopped is None and record["learned"]:
            self.console.print()
            self._print(Text("What this level has shown", style="bold"))
            for number, sentence in enumerate(record["learned"], start=1):
                self._print(self._with_code(f"{number}. {sentence}"), indent=2)
        self._tell_beliefs()
        if self._stopped is not None:
            rest = f" Not checked: {', '.join(unchecked)}." if unchecked else ""
            self._print(Text(f"You stopped {self._stopped['where']}.{rest}", "yellow"))

    def _take_out_unfinished(self, claims: dict[str, Verdict]) -> list[str]:
        """What a run that was stopped has not checked; a claim that has failed is not of them.

        Claims that have held so far, but whose last step was not played, are taken out.
        """
        told: list[str] = []
        for claim in self._stopped["unchecked"] if self._stopped is not None else ():
            if claim not in claims:
                told.append(claim)
            elif claims[claim] is Verdict.PASSED:
                told.append(f"{claim} (the rest of it)")
                del claims[claim]
        return told

    def _tell_beliefs(self) -> None:
        """What was predicted in the whole run: how much of it was right, and what the rest was."""
        said = [record for record in self._predictions.values() if record["right"] is not None]
        if not said:
            return
        wrong = [record for record in said if not record["right"]]
        self.console.print()
        right = f"{len(said) - len(wrong)} of {len(said)} predictions were right"
        self._print(Text(right, style="bold"))
        for record in wrong:
            believed = record["belief"] or record["said"]
            self._print(
                self._with_code(f"Step {record['step']}. You believed: {believed}"), indent=2
            )
            self._print(self._with_code(f"{_label(record)}{record['seen']}"), indent=4)
        exercises = dict.fromkeys(record["exercise"] for record in wrong if record["exercise"])
        if exercises:
            words = " or ".join(f"`{exercise_command(name)}`" for name in exercises)
            self._print(self._with_code(f"The exercise that fits: {words}"), indent=2)

    def _tell_stopped(self, record: Record) -> None:
        self._stopped = record

    def _tell_pause(self, _record: Record) -> None:
        self.progress.end()

    def _tell_break(self, record: Record) -> None:
        self.progress.end()
        self.console.print()
        self._say(record["text"])

    # ── a step ─────────────────────────────────────────────────────────────────────────

    def _tell_step(self, record: Record) -> None:
        self.progress.end()
        self._step = record["number"]
        if not self._step or self._replays:
            return  # it is not played, or not told
        self.console.print()
        title = Text(f"Step {record['number']} of {record['of']}: {record['title']}", style="bold")
        self.console.print(Rule(title, align="left"))
        self._say(record["say"])
        if record["ask"]:
            predict = Text("Predict: ", "bold yellow")
            self._print(predict.append_text(self._with_code(record["ask"], "yellow")))
        for letter, choice in zip(LETTERS, record["choices"], strict=False):
            self._tell_labeled(f"{letter}  ", choice)
        self.console.print()

    def _tell_labeled(self, label: str, text: str) -> None:
        self._print(Text.assemble((label, "bold yellow"), self._with_code(text)), indent=2)

    def _tell_predicted(self, record: Record) -> None:
        self._print(
            self._with_code(f"You predict: {record['said']}. Enter shows what happens.", "dim")
        )

    def _tell_remembered(self, record: Record) -> None:
        self._predictions[record["step"]] = record

    def _tell_quizzed(self, _record: Record) -> None:
        self._tell_beliefs()

    def _tell_prediction(self, record: Record) -> None:
        self._predictions[record["step"]] = record
        if self._replays:
            return
        self.console.print()
        if record["right"]:
            self._tell_labeled("You predicted it: ", record["said"])
        else:
            if record["said"]:
                self._tell_labeled("You said: ", record["said"])
            if record["belief"]:
                self._tell_labeled("The belief behind it: ", record["belief"])
            self._tell_labeled(_label(record), record["seen"])
        if record["evidence"]:
            self._print(Text(record["evidence"], style="dim"), indent=4)
        if record["seen"] != record["expected"]:
            words = f"The course expects: {record['expected']}. This network does otherwise."
            self._print(self._with_code(words), indent=4)

    def _tell_command(self, record: Record) -> None:
        if self._last not in ("command", "step"):
            self.console.print()
        line = Text.assemble((f"{record['node']}$ ", "bold cyan"), (record["command"], "bold"))
        self._print(line, indent=2)

    def _tell_output(self, record: Record) -> None:
        words, status = record["command"].split(), record["status"]
        program = words[0] if words[0][0].isalnum() else "command"  # not: (echo …; cat …) | nc …
        ended = "done" if status == 0 else f"exit status {status}"
        self._print(
            Text(
                f"{_possessive(record['node'])} {program}: {ended} after {record['seconds']:.2f} s",
                "dim",
            ),
            indent=2,
        )
        lines = (record["stdout"] + "\n" + record["stderr"]).splitlines()
        for line in [line for line in lines if line.strip()][-OUTPUT_LINES:]:
            self._print(Text(line), indent=4)

    def _tell_observed(self, record: Record) -> None:
        if self._last == "check":  # it is no evidence of that check
            self.console.print()
        for line in record["lines"]:
            self._print(Text(line, style="dim"), indent=4)

    def _tell_check(self, record: Record) -> None:
        if self._stopped is not None:
            return  # told in one line at the end
        if self._last in ("command", "observed"):
            self.console.print()
        claim, passed = record["claim"], record["passed"]
        verdict = verdict_of(passed=passed, broken=record["broken"])
        self._checks.append((self._step, claim, verdict))
        if self._replays and passed:
            return
        text = Text.assemble(_sign(verdict), (f"{claim} ", "bold"), record["text"])
        self._print(text, indent=2)
        for line in record["evidence"][:-1]:
            self._print(Text(line, style="dim"), indent=4)
        for line in record["evidence"][-1:]:  # the requirement that failed is the last one
            self._print(Text(line, style="dim" if passed else "red"), indent=4)

    # ── when something went wrong ──────────────────────────────────────────────────────

    def _tell_table(self, record: Record) -> None:
        self.console.print()
        self._print(Text(f"{_possessive(record['node'])} table", style="bold"), indent=2)
        rules = record["rules"]
        for line in rule_lines(rules[:RULES_SHOWN], len(rules)):
            self._print(Text(line), indent=2)
        drops: dict[str, Any] = record["stats"].get("drops", {})
        told = ", ".join(f"{count} × {reason}" for reason, count in drops.items()) or "none"
        self._print(Text(f"dropped packets: {told}"), indent=2)

    def _tell_trouble(self, record: Record) -> None:
        self.progress.end()
        self._print(Text(record["text"], style="bold red"))

    # ── printing ───────────────────────────────────────────────────────────────────────

    def _say(self, text: str) -> None:
        if text:
            self._print(self._with_code(text))

    def _with_code(self, text: str, style: str = "") -> Text:
        """What stands between backticks is bold; in a pipe nothing is, and they stay."""
        if not self.console.is_terminal:
            return Text(text, style)
        styled = ((piece, f"bold {style}" if code else style) for piece, code in pieces(text))
        return Text.assemble(*styled)

    def _print(self, text: Text, *, indent: int = 0, wrap: bool = True) -> None:
        if indent and not self.console.is_terminal:  # a search in a log finds a line as a whole
            text, indent, wrap = Text(" " * indent).append_text(text), 0, False
        self.console.print(
            Padding(text, (0, 0, 0, indent), expand=False) if indent else text,
            no_wrap=not wrap,
            crop=wrap,
            overflow="fold" if wrap else "ignore",
        )


def _sign(verdict: Verdict) -> tuple[str, str]:
    return f"{verdict.sign} ", f"bold {verdict.color}"


def _label(record: Record) -> str:
    return "Seen: " if record["evidence"] else "It is: "  # in a quiz nothing is seen


def _steps(record: Record) -> str:
    first, last = record["first"], record["last"]
    return f"step {first}" if first == last else f"steps {first} to {last}"


def _possessive(name: str) -> str:
    return f"{name}'" if name.endswith("s") else f"{name}'s"
