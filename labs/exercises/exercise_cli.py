"""The prompt of an exercise: that of the labs, with check, hint, solve, set, reset and next."""

from __future__ import annotations

import contextlib
import shlex
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum, auto

from rich.console import Console
from rich.padding import Padding
from rich.text import Text

from napt_lab.labs.capture.wire import CaptureIncomplete
from napt_lab.labs.exercises.answers import Line, only_looks, parse_line
from napt_lab.labs.exercises.attempt import RELAYED, Attempt, Reply
from napt_lab.labs.exercises.exercise import Exercise, Setting
from napt_lab.labs.exercises.marking import Marks, mark
from napt_lab.labs.exercises.progress import Result, read_progress, save_result
from napt_lab.labs.prompt.background import unquoted, without_ampersand
from napt_lab.labs.prompt.examples import EXAMPLES
from napt_lab.labs.prompt.lab_cli import LabCLI
from napt_lab.labs.prompt.rule_words import without_arrow
from napt_lab.labs.prompt.why import Why
from napt_lab.labs.stage.rule_lines import count
from napt_lab.labs.verdict.verdicts import Verdict
from napt_lab.labs.view.go_on import GoOn
from napt_lab.topologies.spec.errors import TopologyError
from napt_lab.topologies.spec.napt_settings import SETTINGS

OWN_VARIANT = "This is your own variant, so its solution is for you to find. hint helps."
HINT = "check · hint · task · reset · solve · next · ? for help · quit"
ALONE = {"check", "hint", "task", "progress", "transcript"}
FROM_PAGE = ALONE | {"why"}
ENDS = {"reset", "solve", "next"}
LINES_KEPT = 1000
_SHELLS_OWN = set("|&;<>()*~")
_IN_QUOTES_TOO = set("`$")


class Leave(Enum):
    """Why the prompt ended."""

    QUIT = auto()
    NEXT = auto()
    RESET = auto()
    SOLVE = auto()
    SET = auto()


@dataclass(slots=True)
class CarriedOver:
    """What outlives the networks of one exercise."""

    hints: int = 0  # that were given so far
    transcript: deque[str] = field(default_factory=lambda: deque(maxlen=LINES_KEPT))


class ExerciseCLI(LabCLI):
    """A prompt that knows what is to be achieved."""

    alone = LabCLI.alone | ALONE | ENDS
    examples = (
        ("task", "what is to be done, once more"),
        ("check", "what holds so far, and its points"),
        ("hint", "show one more hint"),
        ("reset", "the network as it was in the beginning"),
        ("solve", "see the solution done, on a fresh network"),
        ("next", "the next exercise"),
        ("progress", "what you have solved"),
        ("transcript", "what you have done, also before a reset"),
        ("set GATEWAY KEY VALUE", "another setting, on a fresh network, where the task allows it"),
        *EXAMPLES,
    )

    def __init__(
        self,
        console: Console,
        attempt: Attempt,
        why: Why,
        kept: CarriedOver,
        exercises: Sequence[Exercise],
    ) -> None:
        super().__init__(attempt.net, console, HINT, why)
        self.prompt = f"{attempt.exercise.id}> "
        self.kept = kept
        self.leaving = Leave.QUIT
        self.setting = Line("", ())
        self._attempt = attempt
        self._exercises = exercises
        self._exercise = attempt.exercise
        self._shown = False
        gateways = [site.gateway.name for site in attempt.net.topology.sites]
        self._words.following["set"] = gateways if self._exercise.may_set else []

    def perform(self, lines: Sequence[Line]) -> str:
        """Do some lines as if they were typed, and show them; what was said of a solution."""
        self._shown = any(line.words[0] != "set" for line in lines)
        for line in lines:
            self.console.print(Text.assemble((self.prompt, "dim"), (line.text, "bold")))
            self._do(line)
        self.tell_news()
        if not self._shown:
            return ""
        self.console.record = True
        self.do_check([])
        said = self.console.export_text()
        self.console.record = False
        return said

    def from_page(self, text: str) -> tuple[bool, str]:
        """Do a line of the page in the browser; whether it went well, and what there is to say."""
        if text.strip() == "solve" and self._exercise.student is not None:
            return False, OWN_VARIANT
        if text.strip() in ENDS:
            raise GoOn(text.strip())
        if text.strip() in FROM_PAGE:
            with self.console.capture() as said:
                self.onecmd(text.strip())
            return True, Text.from_ansi(said.get()).plain
        try:
            line = parse_line(text)
        except ValueError as error:
            return False, str(error)
        if line.words[0] not in {*self.net.nodes, "rule"} or len(line.words) < 2:
            return (
                False,
                f"Here: a node and a command, rule …, {', '.join(sorted(FROM_PAGE | ENDS))}.",
            )
        self.kept.transcript.append(line.text)
        self._why.begins(line.text)
        try:
            reply = self._reply(line)
        except ValueError as error:
            return False, f"That cannot be done: {error}"
        return reply.well, reply.text

    def news(self) -> list[str]:
        return [*super().news(), *self._attempt.news()]

    # ── what is typed ──────────────────────────────────────────────────────────────────

    def default(self, name: str) -> None:
        """A node's name and a command: one that goes on in the background is the attempt's."""
        self.rest = self.under_new_name(self.rest)
        words = _in_background(self.rest)
        if words and name in self.net.nodes:
            self._do(Line(self._line, (name, *words)))
            return
        self._attempt.note(self._line)
        [self.rest] = self._attempt.filled_in([self.rest])
        super().default(name)

    def onecmd(self, line: str) -> bool:
        self._line = " ".join(line.split())
        if self._line not in ("", "EOF") and not only_looks(self._line):
            self.kept.transcript.append(self._line)
        return super().onecmd(line)

    def do_rule(self, words: list[str]) -> None:
        words = without_arrow(words)
        whole = {"add": 5, "del": 4}
        if words and whole.get(words[0]) == len(words) and words[1] in self._napts():
            self._do(Line(self._line, ("rule", *words)))
        else:
            super().do_rule(words)

    def do_shell(self, words: list[str]) -> None:
        self._attempt.note(self._line)
        super().do_shell(words)

    def do_packets(self, words: list[str]) -> None:
        if "while" in words:
            self._attempt.note(" ".join(words[words.index("while") + 1 :]))
        super().do_packets(words)

    def _do(self, line: Line) -> None:
        if line.words[0] in self.net.nodes:
            self._why.begins(line.text)
        reply = self._reply(line)
        for text in reply.text.splitlines():
            self.show(Text(text) if reply.well else Text(text, style="red"))

    def _reply(self, line: Line) -> Reply:
        reply = self._attempt.do(line)
        if reply.status is not None:
            self._why.ended(reply.status)
        return reply

    # ── the exercise ───────────────────────────────────────────────────────────────────

    def do_task(self, _words: list[str]) -> None:
        """task: what is to be done"""
        show_task(self.console, self._exercise.task)

    def do_check(self, _words: list[str]) -> None:
        """check: what holds so far, and its points"""
        try:
            marks = mark(self._attempt)
        except CaptureIncomplete as error:
            self.say(
                f"Nothing can be checked, for the capture has lost packets ({error}): type reset."
            )
            return
        self._tell(marks)
        result = Result(marks.got, marks.of, self.kept.hints, self._shown)
        try:
            save_result(self._exercise.known_as, result)
        except OSError as error:
            self.say(f"Your progress cannot be saved: {error}")

    def _tell(self, marks: Marks) -> None:
        for made in marks.marks:
            points = f" ({count(made.points, 'point')})" if made.points else ""
            sign = (f"{made.verdict.sign} ", f"bold {made.verdict.color}")
            self.console.print(Text.assemble(sign, made.text, (points, "dim")))
            if made.verdict is not Verdict.PASSED:
                for text in (made.message, *made.evidence[-1:]):
                    if text:
                        self.console.print(Text(f"  {text}", style="dim"))
        for advice in marks.advice:
            self.console.print(Text.assemble(("→ ", "bold yellow"), (advice, "yellow")))
        score = f"{marks.got} of {count(marks.of, 'point')}."
        if not marks.full:
            self.show(Text(score, style="bold"))
        elif self._shown:
            self.show(Text(f"{score} That was the solution. Now do it yourself (reset), or next."))
        else:
            self.show(Text(f"{score} Solved!", style="bold green"))
            if self._exercise.learned:
                self.console.print(Text(f"What it shows: {self._exercise.learned}"))
            self.say("next goes on with the next exercise.")

    def do_hint(self, _words: list[str]) -> None:
        """hint: show one more hint"""
        hints = self._exercise.hints
        self.kept.hints = min(self.kept.hints + 1, len(hints))
        for number, hint in enumerate(hints[: self.kept.hints], start=1):
            style = "dim" if number < self.kept.hints else "yellow"
            self.console.print(Text(f"{number}. {hint}", style=style))
        if self.kept.hints == len(hints):
            own = self._exercise.student is not None
            self.say("There are no more hints" + ("." if own else "; solve shows the solution."))

    def do_reset(self, _words: list[str]) -> bool:
        """reset: the network as it was in the beginning"""
        self.leaving = Leave.RESET
        return True

    def do_solve(self, _words: list[str]) -> bool:
        """solve: the solution, done on a fresh network"""
        if self._exercise.student is not None:
            self.say(OWN_VARIANT)
            return False
        self.leaving = Leave.SOLVE
        return True

    def do_next(self, _words: list[str]) -> bool:
        """next: the next exercise"""
        self.leaving = Leave.NEXT
        return True

    def do_transcript(self, _words: list[str]) -> None:
        """transcript: what you have done in this exercise, also before a reset"""
        for line in self.kept.transcript:
            self.show(f"  {line}")

    def do_progress(self, _words: list[str]) -> None:
        """progress: what you have solved"""
        progress = read_progress()
        for exercise in self._exercises:
            known = progress.get(exercise.known_as)
            if known is None:
                words = "not tried yet"
            else:
                words = f"{known.points} of {count(known.of, 'point')}"
                words += f", {count(known.hints, 'hint')}" if known.hints else ""
                words += ", solution shown" if known.shown else ""
            solved, shown = (known.solved, known.shown) if known else (False, False)
            sign = Verdict.PASSED.sign if solved else "○" if shown else " "
            self.show(f"  {sign} {exercise.name:14} {exercise.title}: {words}")

    def do_set(self, words: list[str]) -> bool:
        """set GATEWAY KEY VALUE: build the network anew with another setting"""
        allowed = self._exercise.may_set
        if not allowed:
            self.say("In this exercise no setting can be changed.")
        elif len(words) != 3:
            self.say(f"Type it as in: set GATEWAY {allowed[0]} VALUE; allowed:")
            for setting in SETTINGS:
                if setting.key in allowed:
                    self.say(f"  {setting.key}: {setting.allowed}")
        else:
            try:
                self._exercise.topology((Setting(words[0], words[1], words[2]),))
            except TopologyError as error:
                for problem in error.problems:
                    self.say(problem.partition(": ")[2])
                return False
            self.setting = Line(self._line, ("set", *words))
            self.leaving = Leave.SET
            self.say("The network is built anew: rules and files of before are gone.")
            return True
        return False


def buttons(exercise: Exercise) -> list[str]:
    """The commands that have a button on the page: not `solve` for a variant of a student."""
    solve = ["solve"] if exercise.student is None else []
    return ["why", "check", "hint", "reset", *solve, "next"]


def _in_background(line: str) -> list[str]:
    """The words of `PROGRAM … &`; none if a shell has more to do than that."""
    program = without_ampersand(line)
    if program is None or set(unquoted(program)) & _SHELLS_OWN:
        return []
    if set(program.replace(RELAYED, "")) & _IN_QUOTES_TOO:
        return []
    with contextlib.suppress(ValueError):  # a quote without its end: the shell tells
        return [*shlex.split(program), "&"]
    return []


def show_task(console: Console, task: str) -> None:
    """Paragraphs are wrapped; indented lines, which are to be typed, keep their line breaks.

    A line that is too long for the terminal is broken between words.
    """
    console.print()
    for paragraph in task.split("\n\n"):
        if paragraph.startswith(" "):
            for line in paragraph.splitlines():
                text = Text(line.strip(), style="bold")
                console.print(Padding(text, (0, 0, 0, len(line) - len(line.lstrip()))))
        else:
            console.print(Text(" ".join(paragraph.split())))
        console.print()
