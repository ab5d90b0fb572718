"""A person at an exercise: its network, a prompt on it, and what to do when the prompt ends.

What needs a fresh network (reset, solve, set, next) ends the prompt; the network goes, the next one
comes, in about a second. Of what was typed, nothing counts on the new one, but the transcript has
it; what was reached is kept.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from rich.console import Console
from rich.rule import Rule
from rich.text import Text

from napt_lab.labs.exercises.answers import Line, parse_line
from napt_lab.labs.exercises.attempt import Attempt, fresh_network
from napt_lab.labs.exercises.exercise import Exercise, Setting
from napt_lab.labs.exercises.exercise_cli import CarriedOver, ExerciseCLI, Leave, buttons, show_task
from napt_lab.labs.exercises.progress import Result, read_progress
from napt_lab.labs.prompt.interrupts import Interrupts
from napt_lab.labs.prompt.why import Why
from napt_lab.labs.records.stream import Stream
from napt_lab.labs.running.open_page import open_page
from napt_lab.labs.stage.drawing import draw
from napt_lab.labs.stage.narration import Narration
from napt_lab.labs.stage.rule_lines import count
from napt_lab.labs.verdict.exit_status import PASSED
from napt_lab.labs.verdict.run_errors import NETWORK_ERRORS, tell_network_error
from napt_lab.labs.view.door import Door
from napt_lab.labs.view.go_on import GoOn

if TYPE_CHECKING:
    from napt_lab.labs.view.live import Live


@dataclass
class _Turn:
    """What the next network is for."""

    exercise: Exercise
    lines: Sequence[Line] = ()  # done before the prompt: `set`, or a solution
    kept: CarriedOver = field(default_factory=CarriedOver)
    again: bool = False  # the task has been read


def run_session(exercises: Sequence[Exercise], name: str | None, door: Door | None = None) -> int:
    """Exercises of one level until the student leaves. Returns the exit status.

    `door`: where a browser sees them.
    """
    console = Narration().console
    live = open_page(door, f"Exercises of level {exercises[0].level}", Stream(), console)
    turn: _Turn | None = _Turn(_first(exercises, name))
    interrupts = Interrupts()
    try:
        while turn is not None:
            turn = _play(turn, exercises, console, interrupts, live)
    except NETWORK_ERRORS as error:
        return tell_network_error(error)
    finally:
        interrupts.release()
        if live is not None:
            live.end("The exercise has ended, and with it the network.")
            live.close()
    return PASSED


def _first(exercises: Sequence[Exercise], name: str | None) -> Exercise:
    """The one that was named, or the first that is not solved yet."""
    progress = read_progress()
    for exercise in exercises:
        known = progress.get(exercise.known_as)
        if exercise.name == name or (name is None and not (known and known.solved)):
            return exercise
    return exercises[0]


def _play(
    turn: _Turn,
    exercises: Sequence[Exercise],
    console: Console,
    interrupts: Interrupts,
    live: Live | None,
) -> _Turn | None:
    """One network, from its building to the end of the prompt on it.

    Ctrl-C ends the building of the first one only. Later it leads to the prompt, as at a command.
    """
    exercise = turn.exercise
    if not turn.again:
        _present(exercise, len(exercises), console)
    sets = [line for line in turn.lines if line.words[0] == "set"]
    settings = tuple(Setting(line.words[1], line.words[2], line.words[3]) for line in sets)
    topology = exercise.topology(settings)
    if not turn.again:
        for line in draw(topology):
            console.print(Text(f"  {line}", style="cyan"), soft_wrap=True)
        console.print()
    with (
        fresh_network(topology) as (net, wire),
        contextlib.closing(Why(net)) as why,
        contextlib.ExitStack() as stack,
    ):
        cli = ExerciseCLI(console, Attempt(exercise, net, wire), why, turn.kept, exercises)
        if live is not None:
            step = {"number": exercise.number, "of": len(exercises), "title": exercise.title}
            shown = live.shows(
                net, wire, cli.from_page, buttons(exercise), say=exercise.task, **step
            )
            stack.enter_context(shown)
        if turn.again:
            cli.say("A fresh network is up.")
        try:
            if interrupts.release():
                cli.perform(sets)  # the network was built so
                cli.interrupted()
            elif (said := cli.perform(turn.lines)) and live is not None:
                live.observe(said)
        except KeyboardInterrupt:
            cli.interrupted()
        _read(cli, contextlib.nullcontext if live is None else live.prompt_ending.allowed)
        interrupts.hold()
    lines = [] if cli.leaving is Leave.RESET else sets
    match cli.leaving:
        case Leave.NEXT:
            return _after(exercise, exercises, console)
        case Leave.SOLVE:
            lines = [parse_line(text) for text in exercise.solution]
        case Leave.SET:
            key = cli.setting.words[1:3]
            lines = [*(line for line in sets if line.words[1:3] != key), cli.setting]
        case Leave.QUIT:
            return None
    turn.kept.transcript.append("(a fresh network)")
    return _Turn(exercise, lines, turn.kept, again=True)


def _read(cli: ExerciseCLI, by_button: Callable[[], AbstractContextManager[None]]) -> None:
    """The prompt, until it is left: by what is typed, or by a button on the page."""
    while True:
        try:
            with by_button():
                cli.read()
        except GoOn as wish:
            if not cli.onecmd(str(wish)):
                continue
        return


def _after(exercise: Exercise, exercises: Sequence[Exercise], console: Console) -> _Turn | None:
    if exercise.number < len(exercises):
        return _Turn(exercises[exercise.number])
    console.print(f"That was the last one: {_score(exercises)}.")
    return None


def _score(exercises: Sequence[Exercise]) -> str:
    progress = read_progress()
    known = [progress.get(exercise.known_as, Result()) for exercise in exercises]
    score = f"{sum(result.solved for result in known)} of {len(exercises)} solved"
    shown = sum(result.shown for result in known)
    return f"{score} ({count(shown, 'solution')} shown)" if shown else score


def _present(exercise: Exercise, of: int, console: Console) -> None:
    title = f"Exercise {exercise.known_as} ({exercise.number} of {of}): {exercise.title}"
    console.print(Rule(Text(title, style="bold"), align="left"))
    show_task(console, exercise.task)
