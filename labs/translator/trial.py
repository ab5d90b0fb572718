"""One part of a lab, played with a student's translator, in a sandbox and a process of its own.

Whatever happens there, it is over at the deadline: the process is killed, and with it the sandbox
and everything in it. What it saw until then comes through a pair of sockets, a record of the stream
a line. Unlike a pipe, a socket cannot be opened through /proc: only the process that was started
here can write marks.
"""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from napt_lab.labs.records.stream import Record, Stream
from napt_lab.labs.stage.play import Play
from napt_lab.labs.stage.steps import Lab, Part
from napt_lab.labs.translator.strangers import in_a_grade
from napt_lab.labs.verdict.exit_status import CANNOT_RUN
from napt_lab.topologies.sandbox import sandbox

TOLD = {"check", "step", "trouble"}  # of the stream's events
BY_PROGRAMS = {"fault", "printed"}
DROPS_TOLD = 50  # of those for which the program has words of its own
FAULT_SECONDS = 3.0  # that a part goes on after an error of the program, if nothing works yet
_READ = 1 << 16


@dataclass(slots=True)
class Trial:
    """A part that runs, and what has come of it so far. `deadline` and `began` are monotonic.

    `base`: it need not go on after an error of the program, if nothing has worked yet.
    """

    lab: str
    part: str
    deadline: float
    began: float
    child: int
    source: socket.socket
    base: bool
    seconds: float = 0.0
    overdue: bool = False
    status: int | None = None
    records: list[Record] = field(default_factory=list)
    _partial: bytes = b""
    _first: bool | None = None  # whether the first check of all has passed
    _fault: str = ""
    _fault_due: float = 0.0

    def read(self) -> bool:
        """Take what has come; False at the end."""
        data = self.source.recv(_READ)
        *lines, self._partial = (self._partial + data).split(b"\n")
        for line in lines:
            record = json.loads(line)
            self.records.append(record)
            if record["event"] == "check" and self._first is None:
                self._first = bool(record["passed"])
            elif record.get("name") == "fault" and not self._fault:
                self._fault = str(record["fields"]["text"])
                self._fault_due = time.monotonic() + FAULT_SECONDS
        return bool(data)

    @property
    def fault(self) -> str:
        """The program's error that ends a base part: nothing has worked before it. Else ""."""
        return "" if self._first or not self.base else self._fault

    @property
    def due(self) -> float:
        """When it ends at the latest: it does not wait for what such an error keeps from coming."""
        return min(self.deadline, self._fault_due) if self.fault else self.deadline

    def end(self) -> None:
        """Kill what still runs."""
        if self.status is None:
            if self.overdue:
                os.kill(self.child, signal.SIGKILL)
            _, status = os.waitpid(self.child, 0)
            self.status = os.waitstatus_to_exitcode(status)
            self.source.close()
            self.seconds = time.monotonic() - self.began


def start(
    lab: Lab, part: Part, translator: Path, folder: Path, deadline: float, *, base: bool = False
) -> Trial:
    """Begin to play `part`; its capture goes to `folder`. `deadline` is a monotonic time."""
    folder.mkdir()
    source, into = socket.socketpair()

    def work() -> int:
        source.close()
        return _play(
            lab, part, translator, folder, lambda line: into.sendall(line.encode() + b"\n")
        )

    child = sandbox.fork_into(work)
    into.close()
    return Trial(lab.id, part.name, deadline, time.monotonic(), child, source, base)


def _play(lab: Lab, part: Part, translator: Path, folder: Path, tell: Callable[[str], None]) -> int:
    drops = set[str]()

    def listen(record: Record) -> None:
        told = record["event"] in TOLD
        if record["event"] == "program":
            told = record["name"] in BY_PROGRAMS
            if record["name"] == "drop" and record["fields"].get("own"):
                record = record | {"fields": {"text": _in_own_words(record["fields"])}}
                told = record["fields"]["text"] not in drops and len(drops) < DROPS_TOLD
                drops.add(record["fields"]["text"])
        if told:
            tell(json.dumps(record, default=str))

    stream = Stream()
    stream.listen(listen)
    part = in_a_grade(lab.id, part)
    alone = Lab(lab.id, lab.title, lab.intro, (part,))
    run = Play(alone, [part], stream, folder, None, translator, persistent=True)
    run.run()
    stream.silence()
    if run.unbuilt is not None:
        print(f"napt-lab: {run.unbuilt.explain()}", file=sys.stderr)
        return CANNOT_RUN
    return 0


def await_one(running: list[Trial]) -> Trial:
    """The first that ends, by itself or at its deadline."""
    while True:
        soonest = min(trial.due for trial in running)
        wait = max(0.0, soonest - time.monotonic())
        ready, _, _ = select.select([trial.source for trial in running], [], [], wait)
        for trial in running:
            if trial.source in ready and not trial.read():
                trial.end()
                return trial
            if time.monotonic() > trial.due:
                trial.overdue = True
                trial.end()
                return trial


def faults(trial: Trial) -> list[dict[str, Any]]:
    """What was wrong with the program, each thing once: node, text, and how often."""
    return _told(trial, "fault")


def printed(trial: Trial) -> list[dict[str, Any]]:
    """What the program printed."""
    return _told(trial, "printed")


def dropped(trial: Trial) -> list[dict[str, Any]]:
    """What it has dropped with words of its own, each once."""
    return _told(trial, "drop")


def _in_own_words(drop: Mapping[str, Any]) -> str:
    reason, meaning = drop["reason"], drop["meaning"]
    words = reason if meaning == reason else f"{reason}: {meaning}"
    return f"{words} ({drop['packet']})"


def _told(trial: Trial, name: str) -> list[dict[str, Any]]:
    counted: dict[str, dict[str, Any]] = {}
    for record in trial.records:
        if record["event"] == "program" and record["name"] == name:
            text = str(record["fields"].get("text", ""))
            entry = counted.setdefault(text, {"node": record["node"], "text": text, "times": 0})
            entry["times"] += 1
    return list(counted.values())
