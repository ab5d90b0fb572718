"""Playing a lab: build the network, play the steps in order, report every claim.

If a run ends early (an exception, Ctrl-C, `quit` at the prompt), each claim that was not checked
is reported as unchecked, and the capture is written as far as it goes.

A student may go back, or begin in the middle. Then the part's network is built anew, and the steps
before are carried out on it, with all their checks but without a pause (the event `replay`). What
was known of this part's steps, and of later ones, is void from then on: a step that begins again
stands for itself alone.
"""

from __future__ import annotations

import contextlib
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from napt_lab.labs.capture.wire import Wire
from napt_lab.labs.records.bookmark import Bookmark
from napt_lab.labs.records.stream import Record, Stream
from napt_lab.labs.stage.drawing import draw
from napt_lab.labs.stage.own_changes import OwnChanges
from napt_lab.labs.stage.pause import Go, Here, Pause
from napt_lab.labs.stage.prediction import NotAnAnswer, Prediction, Value, outcome
from napt_lab.labs.stage.stage import Stage
from napt_lab.labs.stage.steps import Lab, Part, emit_check, why_broken
from napt_lab.topologies.network.build_error import BuildError, ProgramLost
from napt_lab.topologies.network.builder import Network
from napt_lab.topologies.network.napt_control import ControlError
from napt_lab.topologies.network.nursery import from_template
from napt_lab.topologies.network.processes import Event
from napt_lab.topologies.sandbox import sandbox
from napt_lab.topologies.spec.loader import load

RULES_TOLD = 100  # of a table, before and after each step
RULE_TOLD = (
    "id", "protocol", "internal", "external", "remote", "explicit", "made_by", "created",
    "packets_out", "packets_in",
)  # fmt: skip


Meeting = Callable[[Network, Wire], contextlib.AbstractContextManager[None]]


class Quit(Exception):
    """The student typed `quit`."""


class Play:
    """One run of a lab."""

    def __init__(
        self,
        lab: Lab,
        parts: Sequence[Part],
        stream: Stream,
        folder: Path,
        pause: Pause | None,
        translator: Path | None = None,
        persistent: bool = False,
        meet: Meeting = lambda _net, _wire: contextlib.nullcontext(),
        first: int = 1,
        mark: Bookmark | None = None,
    ) -> None:
        """Captures go to `folder`; `pause` is called before each step acts, and at the end.

        `meet` gets each network, and what it returns is entered while that network runs. The run
        begins with the step number `first`. `mark`: what was predicted in a run with which it
        goes on.

        `translator` is a file that translates in our place, on every NAPT. A `persistent` run
        goes on with the next step when one has been broken off.
        """
        self._persistent = persistent
        self._translator = translator
        self._lab = lab
        self._parts = parts
        self._stream = stream
        self._folder = folder
        self._pause = pause
        self._meet = meet
        self._steps = [step for part in parts for step in part.steps]
        self._at = first  # the number of the step that is played, or comes next
        self._said = dict(mark.said) if mark else {}
        self._remembered = dict(mark.found) if mark else {}
        self._found: tuple[Value, str] | None = None  # what the present step answers, and why
        self._checked: set[str] = set()  # claims checked in the present step
        self._acting = False  # whether a step has begun to act
        self._failed: set[int] = set()  # steps
        self.stopped = False  # whether the run was ended early
        self.begun: list[str] = []  # the parts of which steps were played
        self.unbuilt: BuildError | None = None  # why there was no network
        self.lost: ProgramLost | None = None  # which programs of the network have ended
        self.captures: list[Path] = []  # one for each part that was played
        self.unsaved: OSError | None = None  # why a capture is missing
        self._own = OwnChanges()
        stream.listen(self._own)
        stream.listen(self._note)

    def run(self) -> bool:
        """Play all steps; True if every check of every claim passed."""
        began = time.monotonic()
        self._stream.emit("lab", lab=self._lab.id, title=self._lab.title, intro=self._lab.intro)
        for number, step in enumerate(self._steps, start=1):
            if step.predict is not None and number in self._remembered:
                said, found = self._said.get(number, ""), self._remembered[number]
                told = outcome(number, step.ask, step.predict, said, *found)
                self._stream.emit("remembered", **told)
        go = Go(self._at, at_once=self._pause is None)
        several = len(self._parts) > 1
        try:
            with from_template() if several else contextlib.nullcontext():
                while go.step <= len(self._steps):
                    go = self._play_part(go)
        except Quit:
            self._stop()
        except Exception as error:  # noqa: BLE001  # a lab's step raises anything; reported
            self.unbuilt = error if isinstance(error, BuildError) else None
            self.lost = error if isinstance(error, ProgramLost) else None
            self._stream.emit("trouble", text=str(error), trace=traceback.format_exc())
            self._give_up(f"{type(error).__name__}: {error}")
        except BaseException:  # Ctrl-C, or a signal
            self._stop()
            raise
        finally:
            seconds = time.monotonic() - began
            broken_by = self.unbuilt or self.lost
            self._stream.emit(
                "end",
                passed=not self._failed,
                seconds=round(seconds, 3),
                learned=list(self._lab.learned),
                error="" if broken_by is None else str(broken_by),
            )
        return not self._failed

    def _play_part(self, go: Go) -> Go:
        """Build the network of the part that has this step, and play from there; where to go on."""
        part, first = self._part_of(go.step)
        self._at = first
        self._failed = {number for number in self._failed if number < first}
        if part.name not in self.begun:
            self.begun.append(part.name)
        topology = load(part.topology_path)
        topology = replace(topology, offload=part.offload or topology.offload)
        if self._translator is not None:
            topology = topology.translated_by(self._translator)
        self._stream.emit(
            "part",
            part=part.name,
            title=part.title,
            topology=topology.name,
            path=str(topology.path),
            engine=topology.engine(),
            drawing=draw(topology),
            capture=self._capture_name(part),
            first=first,
        )
        began = time.monotonic()
        self._stream.emit("working", what="building the network")
        sandbox.forget_nodes()
        network = Network(topology)
        network.log.listen(partial(emit_event, self._stream))  # also what programs say at once
        with (
            network as net,
            Wire(net, nodes=part.watch) as wire,
            self._meet(net, wire),
        ):
            self._stream.emit("network", seconds=round(time.monotonic() - began, 3))
            try:
                return self._play_steps(part, first, go, Stage(net, wire, self._stream))
            finally:
                self._save(wire, part)

    def _part_of(self, number: int) -> tuple[Part, int]:
        """The part that has the step of this number, and the number of the part's first step."""
        first = 1
        for part in self._parts:
            if number < first + len(part.steps):
                return part, first
            first += len(part.steps)
        raise IndexError(number)

    def _play_steps(self, part: Part, first: int, go: Go, stage: Stage) -> Go:
        if first < go.step:
            self._stream.emit("replay", first=first, last=go.step - 1, of=len(self._steps))
            for number in range(first, go.step):
                self._announce(number)
                self._act(stage)
            self._stream.emit("replayed", first=first, last=go.step - 1)
        for number in range(go.step, first + len(part.steps)):
            self._announce(number)
            if not go.at_once and (wish := self._wait(stage)) != Go(number):
                return wish
            self._act(stage)
            go = Go(number + 1, at_once=self._pause is None)
        if self._pause is not None:
            if self._at > len(self._steps):
                return self._wait(stage)
            if part.then:
                self._stream.emit("break", text=part.then)
        return go

    def _wait(self, stage: Stage) -> Go:
        """The pause before a step, or after the last one. Quit, if a step is left undone."""
        assert self._pause is not None
        of, last = len(self._steps), self._at > len(self._steps)
        asked = None if last else self._steps[self._at - 1].predict
        usage = asked.usage if asked else ""
        here = Here(self._at, of, usage, partial(self._predict, self._at))
        self._stream.emit("pause", step=self._at)
        go = self._pause(stage.net, here)
        if go is None and not last:
            raise Quit
        return go or Go(self._at)

    def _predict(self, step: int, typed: str) -> None:
        """Keep an answer to the question of the step that comes; also from another thread."""
        if self._acting or step != self._at:
            raise NotAnAnswer(f"step {step} does not wait for an answer any more")
        asked = self._steps[step - 1].predict if step <= len(self._steps) else None
        if asked is None:
            raise NotAnAnswer("nothing is asked here")
        self._said[step] = asked.read(typed)
        self._stream.emit("predicted", step=step, said=self._said[step])

    def _act(self, stage: Stage) -> None:
        step = self._steps[self._at - 1]
        self._checked.clear()
        self._found = None
        self._acting = True
        self._stream.emit("working", what=step.title)
        broken_off = ""
        self._tell_tables(stage.net, "before")
        try:
            step.action(stage)
        except Exception as error:
            if not self._persistent:
                raise
            self._stream.emit("trouble", text=str(error), trace=traceback.format_exc())
            broken_off = why_broken(error)
        finally:
            self._tell_tables(stage.net, "after")
            # An exception goes on to `run`, which reports what this step did not check.
            if self._at in self._failed:
                if lines := self._own.lines():
                    stage.see(*lines)
                self._show_tables(stage.net)
        for claim in step.proves:
            if broken_off or claim not in self._checked:
                self._unchecked(claim, broken_off or "the step ended without a check of it")
        if step.predict is not None:
            self._judge(step.ask, step.predict)
        self._at += 1
        self._acting = False

    def _judge(self, ask: str, asked: Prediction) -> None:
        """Hold what was predicted against what the step has found."""
        value, evidence = self._found or (None, "the step did not come to it")
        seen = "" if value is None else asked.text_of(value)
        said = self._said.get(self._at, "")
        told = outcome(self._at, ask, asked, said, seen, evidence)
        self._stream.emit("prediction", **told)

    def _announce(self, number: int, *, left_out: bool = False) -> None:
        """Say what comes; a step that is `left_out` gets the number 0."""
        step = self._steps[number - 1]
        told = 0 if left_out else number
        self._stream.emit("step", number=told, of=len(self._steps), **step.told())

    def _stop(self) -> None:
        """The run was ended early: say where, and which claims are unchecked."""
        self.stopped = True
        to_come = self._steps[self._at - 1 :]
        if not to_come:
            return
        where = f"{'during' if self._acting else 'before'} step {self._at}"
        promised = [claim for step in to_come for claim in step.proves]
        self._stream.emit("stopped", where=where, unchecked=list(dict.fromkeys(promised)))
        self._give_up(f"the run was stopped {where}")

    def _give_up(self, why: str) -> None:
        """Report the claims of this step and of all later steps as unchecked."""
        self._failed.add(self._at)
        first = self._at
        for number, step in enumerate(self._steps[first - 1 :], start=first):
            if number != first:
                self._checked.clear()
                self._announce(number, left_out=True)
            for claim in step.proves:
                if claim not in self._checked:
                    self._unchecked(claim, why)

    def _unchecked(self, claim: str, why: str) -> None:
        emit_check(
            self._stream,
            claim,
            "this claim is checked",
            passed=False,
            evidence=[f"it was not: {why}"],
            broken=True,
        )

    def _note(self, record: Record) -> None:
        match record["event"]:
            case "check":
                self._checked.add(record["claim"])
                if not record["passed"]:
                    self._failed.add(self._at)
            case "answer":
                self._found = record["value"], record["evidence"]

    def _show_tables(self, net: Network) -> None:
        for node in net:
            if node.napt is None:
                continue
            try:
                self._stream.emit(
                    "table", node=node.name, rules=node.napt.rules(), stats=node.napt.stats()
                )
            except ControlError as error:
                self._stream.emit("trouble", text=str(error), trace="")

    def _tell_tables(self, net: Network, when: str) -> None:
        """The beginning of each NAPT's table, `before` or `after` a step."""
        tables: list[Record] = []
        for node in net:
            if node.napt is None:
                continue
            try:
                answer = node.napt.ask({"do": "rules", "limit": RULES_TOLD})
                drops = node.napt.stats()["drops"]
            except ControlError as error:
                tables.append({"node": node.name, "error": str(error)})
                continue
            rules = [{key: rule[key] for key in RULE_TOLD} for rule in answer["rules"]]
            table = {"node": node.name, "total": answer["total"], "rules": rules, "drops": drops}
            if answer["total"] > len(rules):
                with contextlib.suppress(ControlError):  # a student's translator has none
                    table["ports"] = node.napt.ask({"do": "ports"})["ports"]
            tables.append(table)
        self._stream.emit("tables", when=when, tables=tables)

    def _save(self, wire: Wire, part: Part) -> None:
        path = self._folder / self._capture_name(part)
        try:
            wire.save(path)
            if path not in self.captures:  # a part may begin again
                self.captures.append(path)
        except OSError as error:  # no claim rests on the file
            self.unsaved = error

    def _capture_name(self, part: Part) -> str:
        return "capture.pcapng" if len(self._lab.parts) == 1 else f"capture-{part.name}.pcapng"


def emit_event(stream: Stream, event: Event) -> None:
    """What a program reported, on the run's stream."""
    stream.emit(
        "program",
        time=event.time,
        node=event.node,
        program=event.program,
        name=event.name,
        fields=dict(event.fields),
    )
