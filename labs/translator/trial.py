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
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from napt_lab.labs.records.stream import Record, Stream
from napt_lab.labs.stage.play import Play
from napt_lab.labs.stage.steps import Lab, Part
from napt_lab.labs.verdict.exit_status import CANNOT_RUN
from napt_lab.topologies.sandbox import sandbox

TOLD = {"check", "step", "trouble"}  # of the stream's events
BY_PROGRAMS = {"fault", "printed"}
_READ = 1 << 16


@dataclass(slots=True)
class Trial:
    """A part that runs, and what has come of it so far. `deadline` and `began` are monotonic."""

    lab: str
    part: str
    deadline: float
    began: float
    child: int
    source: socket.socket
    seconds: float = 0.0
    overdue: bool = False
    status: int | None = None
    records: list[Record] = field(default_factory=list)
    _partial: bytes = b""

    def read(self) -> bool:
        """Take what has come; False at the end."""
        data = self.source.recv(_READ)
        *lines, self._partial = (self._partial + data).split(b"\n")
        self.records += [json.loads(line) for line in lines]
        return bool(data)

    def end(self) -> None:
        """Kill what still runs."""
        if self.status is None:
            if self.overdue:
                os.kill(self.child, signal.SIGKILL)
            _, status = os.waitpid(self.child, 0)
            self.status = os.waitstatus_to_exitcode(status)
            self.source.close()
            self.seconds = time.monotonic() - self.began


def start(lab: Lab, part: Part, translator: Path, folder: Path, deadline: float) -> Trial:
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
    return Trial(lab.id, part.name, deadline, time.monotonic(), child, source)


def _play(lab: Lab, part: Part, translator: Path, folder: Path, tell: Callable[[str], None]) -> int:
    def listen(record: Record) -> None:
        by_program = record["event"] == "program" and record["name"] in BY_PROGRAMS
        if record["event"] in TOLD or by_program:
            tell(json.dumps(record, default=str))

    stream = Stream()
    stream.listen(listen)
    alone = Lab(lab.id, lab.title, lab.intro, (part,))
    run = Play(alone, [part], stream, folder, None, translator, persistent=True)
    run.run()
    stream.silence()
    if run.unbuilt is not None:
        print(f"napt-lab: this machine cannot build the network: {run.unbuilt}", file=sys.stderr)
        return CANNOT_RUN
    return 0


def await_one(running: list[Trial]) -> Trial:
    """The first that ends, by itself or at its deadline."""
    while True:
        soonest = min(trial.deadline for trial in running)
        wait = max(0.0, soonest - time.monotonic())
        ready, _, _ = select.select([trial.source for trial in running], [], [], wait)
        for trial in running:
            if trial.source in ready and not trial.read():
                trial.end()
                return trial
            if time.monotonic() > trial.deadline:
                trial.overdue = True
                trial.end()
                return trial


def faults(trial: Trial) -> list[dict[str, Any]]:
    """What was wrong with the program, each thing once: node, text, and how often."""
    return _told(trial, "fault")


def printed(trial: Trial) -> list[dict[str, Any]]:
    """What the program printed."""
    return _told(trial, "printed")


def _told(trial: Trial, name: str) -> list[dict[str, Any]]:
    counted: dict[str, dict[str, Any]] = {}
    for record in trial.records:
        if record["event"] == "program" and record["name"] == name:
            text = str(record["fields"].get("text", ""))
            entry = counted.setdefault(text, {"node": record["node"], "text": text, "times": 0})
            entry["times"] += 1
    return list(counted.values())
