"""Playing a lab: build the network, play the steps in order, report every claim.

If a run ends early (an exception, Ctrl-C, `quit` at the prompt), each claim that was not checked
is reported as unchecked, and the capture is written as far as it goes.
"""

from __future__ import annotations

import contextlib
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Protocol

from napt_lab.labs.capture.wire import Wire
from napt_lab.labs.records.stream import Record, Stream
from napt_lab.labs.stage.drawing import draw
from napt_lab.labs.stage.stage import Stage
from napt_lab.labs.stage.steps import Lab, Part, Step, emit_check
from napt_lab.topologies.network.build_error import BuildError, ProgramLost
from napt_lab.topologies.network.builder import Network
from napt_lab.topologies.network.napt_control import ControlError
from napt_lab.topologies.network.processes import Event
from napt_lab.topologies.spec.loader import load

RULES_TOLD = 100  # of a table, before and after each step
RULE_TOLD = (
    "id", "protocol", "internal", "external", "remote", "explicit", "made_by", "created",
    "packets_out", "packets_in",
)  # fmt: skip


class Pause(Protocol):
    """What a student may do before a step, and after the `last` one; False is "quit"."""

    def __call__(self, net: Network, *, last: bool) -> bool: ...


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
    ) -> None:
        """Captures go to `folder`; `pause` is called before each step acts, and at the end.

        `meet` gets each network, and what it returns is entered while that network runs.

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
        self._to_come = [step for part in parts for step in part.steps]
        self._count = len(self._to_come)
        self._checked: set[str] = set()  # claims checked in the present step
        self._acting = False  # whether a step has begun to act
        self._failed = False
        self.stopped = False  # whether the run was ended early
        self.unbuilt: BuildError | None = None  # why there was no network
        self.lost: ProgramLost | None = None  # which programs of the network have ended
        self.captures: list[Path] = []  # one for each part that was played
        self.unsaved: OSError | None = None  # why a capture is missing
        stream.listen(self._note)

    def run(self) -> bool:
        """Play all steps; True if every check of every claim passed."""
        began = time.monotonic()
        self._stream.emit("lab", lab=self._lab.id, title=self._lab.title, intro=self._lab.intro)
        try:
            for part in self._parts:
                self._play_part(part)
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

    def _play_part(self, part: Part) -> None:
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
        )
        began = time.monotonic()
        self._stream.emit("working", what="building the network")
        network = Network(topology)
        network.log.listen(partial(emit_event, self._stream))  # also what programs say at once
        with (
            network as net,
            Wire(net, nodes=part.watch) as wire,
            self._meet(net, wire),
        ):
            self._stream.emit("network", seconds=round(time.monotonic() - began, 3))
            stage = Stage(net, wire, self._stream)
            try:
                for step in part.steps:
                    self._play_step(step, stage)
                if self._pause is not None and self._to_come and part.then:
                    self._stream.emit("break", text=part.then)
                if self._pause is not None and not self._to_come:
                    self._stream.emit("pause")
                    self._pause(net, last=True)
            finally:
                self._save(wire, part)

    def _play_step(self, step: Step, stage: Stage) -> None:
        number = self._count - len(self._to_come) + 1
        self._announce(step, number)
        self._checked.clear()
        if self._pause is not None:
            self._stream.emit("pause")
            if not self._pause(stage.net, last=False):
                raise Quit
        self._acting = True
        failed_before, self._failed = self._failed, False
        self._stream.emit("working", what=step.title)
        broken_off = ""
        self._tell_tables(stage.net, "before")
        try:
            step.action(stage)
        except Exception as error:
            if not self._persistent:
                raise
            self._stream.emit("trouble", text=str(error), trace=traceback.format_exc())
            broken_off = f"{type(error).__name__}: {error}"
        finally:
            self._tell_tables(stage.net, "after")
            # An exception goes on to `run`, which reports what this step did not check.
            if self._failed:
                self._show_tables(stage.net)
            self._failed = self._failed or failed_before
        for claim in step.proves:
            if broken_off or claim not in self._checked:
                self._unchecked(claim, broken_off or "the step ended without a check of it")
        self._to_come.pop(0)
        self._acting = False

    def _announce(self, step: Step, number: int) -> None:
        """Say what comes; number 0 is a step that will not be played."""
        self._stream.emit(
            "step",
            number=number,
            of=self._count,
            title=step.title,
            say=step.say,
            ask=step.ask,
            proves=list(step.proves),
        )

    def _stop(self) -> None:
        """The run was ended early: say where, and which claims are unchecked."""
        self.stopped = True
        if not self._to_come:
            return
        number = self._count - len(self._to_come) + 1
        where = f"{'during' if self._acting else 'before'} step {number}"
        promised = [claim for step in self._to_come for claim in step.proves]
        self._stream.emit("stopped", where=where, unchecked=list(dict.fromkeys(promised)))
        self._give_up(f"the run was stopped {where}")

    def _give_up(self, why: str) -> None:
        """Report the claims of this step and of all later steps as unchecked."""
        self._failed = True
        for step in self._to_come:
            if step is not self._to_come[0]:
                self._checked.clear()
                self._announce(step, number=0)
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
        if record["event"] == "check":
            self._checked.add(record["claim"])
            self._failed = self._failed or not record["passed"]

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
