"""One try at an exercise: a network that runs, and the lines that are done on it."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from napt_lab.labs.capture.wire import Wire
from napt_lab.labs.exercises.answers import Line
from napt_lab.labs.exercises.exercise import Exercise
from napt_lab.labs.exercises.facts import Since, gather, place
from napt_lab.labs.exercises.patterns import Pattern
from napt_lab.labs.prompt.background import AT_ONCE_SECONDS, IN_PYTHON
from napt_lab.labs.prompt.failed import CANNOT_RUN, NOT_FOUND
from napt_lab.labs.stage.output_words import output_in_words
from napt_lab.servers.shared.events import in_words
from napt_lab.topologies.network.builder import Network
from napt_lab.topologies.network.napt_control import ControlError
from napt_lab.topologies.network.processes import (
    DeadlinePassed,
    Event,
    Process,
    ProgramEnded,
)
from napt_lab.topologies.sandbox import sandbox
from napt_lab.topologies.spec.model import Topology

LINE_SECONDS = 20.0  # how long a command in the foreground may take
BEGUN_SECONDS = 5.0  # … and one in the background until it says that it serves
USAGE_SECONDS = 1.0  # … of ours, until it has read its arguments
ECHO_SECONDS = 0.3  # until all programs have reported what a probe did to them
RELAYED = "$relayed"
_ENDPOINT = re.compile(r"[0-9.]{7,15}:[0-9]{1,5}")

#: What a program that goes on in the background says once it can be used.
BEGUN = {
    "turn-client": {"permission"}, "dial": {"connected"}, "ice": {"candidates"},
    "punch": {"punching", "mapped"}, "tcp-punch": {"dialing", "mapped"}, "pcp": {"granted"},
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Reply:
    """What a line led to, in words; `well` is whether it did what it should.

    `status` is the exit status of a command that has ended, as shells have it.
    """

    text: str
    well: bool = True
    status: int | None = None


@contextlib.contextmanager
def fresh_network(topology: Topology) -> Iterator[tuple[Network, Wire]]:
    """A network and its wires; no node finds files of a network that was before."""
    sandbox.forget_nodes()
    with Network(topology) as net, Wire(net) as wire:
        yield net, wire


class Attempt:
    """What a student has done so far on `net`, whose `wire` watches all of it."""

    def __init__(self, exercise: Exercise, net: Network, wire: Wire) -> None:
        self.exercise = exercise
        self.net = net
        self.wire = wire
        self._done: list[str] = []
        self._background: list[tuple[str, str, Process]] = []  # its line, its name
        self._news: list[str] = []
        self._begin()

    def _begin(self) -> None:
        """The files that the exercise wants are there; what was before does not count."""
        for where, size in self.exercise.files.items():
            path = place(self.net, where)
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(os.urandom(size))
        self._since = Since(self.wire.mark(), self.net.log.mark())

    @contextlib.contextmanager
    def probing(self) -> Iterator[None]:
        """What happens meanwhile does not count as done by the student."""
        began = time.time()
        try:
            yield
        finally:
            self._since.left_out.append((began, time.time() + ECHO_SECONDS))

    @property
    def waits(self) -> bool:
        """Whether a program in the background is still to end by itself, such as a `curl … &`."""
        return any(name not in BEGUN and process.running for _, name, process in self._background)

    @property
    def touched(self) -> bool:
        """Whether anything was done."""
        return bool(self._done)

    def note(self, line: str) -> None:
        """A line is about to be done, by `do` or by the caller."""
        if self._since.left_out:  # or what it does would be taken for what a probe did
            time.sleep(max(0.0, self._since.left_out[-1][1] - time.time()))
        if not line.startswith("rule "):
            self._since.command = time.time()
        self._done.append(f"typed {line}")

    def do(self, line: Line) -> Reply:
        """Do one line, and wait for its end unless it goes on in the background."""
        self.note(line.text)
        try:
            reply = self._do(line)
        except (ControlError, DeadlinePassed, ProgramEnded) as error:
            reply = Reply(str(error), well=False)
        except OSError as error:  # the program cannot be run
            status = NOT_FOUND if isinstance(error, FileNotFoundError) else CANNOT_RUN
            reply = Reply(error.strerror or str(error), well=False, status=status)
        if reply.well and line.words[0] == "rule":
            told = f"told rule add {line.words[2]} "
            self._done = [fact for fact in self._done if not fact.startswith(told)]
        if not reply.well:
            self._done.append(f"told {line.text}: {' '.join(reply.text.split())}")
        return reply

    def _do(self, line: Line) -> Reply:
        match line.words:
            case ("rule", "add", napt, protocol, external, internal):
                rule = self.net.napt(napt).add(protocol, external, internal)["rule"]
                return Reply(f"{napt} added: {protocol} {rule['external']} → {rule['internal']}")
            case ("rule", "del", napt, protocol, external):
                rule = self.net.napt(napt).remove(protocol, external)["rule"]
                return Reply(f"{napt} removed: {protocol} {rule['external']}")
            case ("set", gateway, key, value):  # the network was built so
                self._done.append(f"set {gateway} {key} {value}")
                return Reply(f"{gateway}: {key} is {value}")
            case (node, *command):
                words = self.filled_in(command)
                if line.background:
                    return self._start(line, node, words[:-1])
                completed = self.net[node].run(words, timeout=LINE_SECONDS)
                said = output_in_words(completed.stdout + completed.stderr).strip()
                if completed.status == 0:
                    return Reply(said, status=0)
                ended = f"{said}\nexit status {completed.status}".strip()
                return Reply(ended, well=False, status=completed.status)
        raise ValueError(line.text)  # parse_line lets no such line through

    def news(self) -> list[str]:
        """Which programs in the background have failed since this was asked last."""
        self._look_after_background()
        news, self._news = self._news, []
        return news

    def _look_after_background(self) -> None:
        ended = [one for one in self._background if not one[2].running]
        for one in ended:
            self._background.remove(one)
            line, name, process = one
            if process.wait(1.0).status != 0:
                self._news.append(_end(name, process))
                self._done.append(f"told {line}: {self._news[-1]}")

    def _start(self, line: Line, node: str, words: Sequence[str]) -> Reply:
        name = words[0]
        since = self.net.log.mark()
        reports = name in BEGUN
        process = (
            self.net[node].start_program(words, name=name)
            if reports
            else self.net[node].start(words)
        )

        def is_its(event: Event) -> bool:
            return (event.node, event.program) == (node, name)

        def over() -> str | None:
            return None if process.running else "ended"

        if reports:
            with contextlib.suppress(DeadlinePassed, ProgramEnded):
                self.net.log.wait_for(
                    lambda e: is_its(e) and e.name in BEGUN[name],
                    deadline=BEGUN_SECONDS,
                    what=f"{name} on {node}",
                    since=since,
                    give_up=over,
                )
        starts_slowly = name in IN_PYTHON and not reports
        at_once = process.ends_within(USAGE_SECONDS if starts_slowly else AT_ONCE_SECONDS)
        said = [in_words(event.fields) for event in self.net.log.since(since) if is_its(event)]
        if at_once:
            status = process.wait(1.0).status
            return Reply("\n".join([*said, _end(name, process)]), status == 0, status)
        self._background.append((line.text, name, process))
        return Reply("\n".join([*said, f"{name} goes on in the background on {node}"]))

    def filled_in(self, words: Sequence[str]) -> list[str]:
        """`$relayed` stands for the last relayed address that a TURN client was given."""
        if not any(RELAYED in word for word in words):
            return list(words)
        events = self.net.log.since(self._since.log)
        relayed = [str(e.fields["relayed"]) for e in events if e.name == "allocated"]
        if not relayed or not _ENDPOINT.fullmatch(relayed[-1]):
            raise ControlError(f"there is no relayed address yet that {RELAYED} could stand for")
        return [word.replace(RELAYED, relayed[-1]) for word in words]

    def facts(self, asked: Iterable[Pattern]) -> list[str]:
        """What has become of it so far, as far as these patterns ask about it (facts.py)."""
        self._look_after_background()
        return self._done + gather(self.net, self.wire, self._since, asked)


def _end(name: str, process: Process) -> str:
    """How a program in the background ended."""
    completed = process.wait(1.0)
    last = (completed.stderr.strip() or "it said nothing").splitlines()[-1]
    how = f"exit status {completed.status}"
    if completed.status < 0:
        how = signal.strsignal(-completed.status) or f"signal {-completed.status}"
    return f"{name} on {process.node} ended" + (f", {how}: {last}" if completed.status else "")
