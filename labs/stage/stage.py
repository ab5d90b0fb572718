"""What a step gets to act with: the network, the wires, and ways to show what happens."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence

from napt_lab.labs.capture.wire import Wire
from napt_lab.labs.records.stream import Stream
from napt_lab.labs.stage.output_words import output_in_words
from napt_lab.labs.stage.prediction import Value
from napt_lab.labs.stage.steps import Claim
from napt_lab.topologies.network.builder import Network
from napt_lab.topologies.network.processes import (
    Completed,
    Event,
    EventLog,
    NodeProgram,
    Process,
)

SHOWN_OUTPUT = 2000  # characters of a command's output that go into the story
TYPED_SECONDS = 10.0  # how long a typed command may take


def as_typed(argv: Sequence[str]) -> str:
    """A command as a person types it at a prompt, where a shell does each line."""
    if list(argv[:2]) == ["sh", "-c"]:
        return " ".join(argv[2:])
    return shlex.join(argv)


class Typed:
    """A command that was typed on a node and still runs."""

    def __init__(self, stream: Stream, process: Process) -> None:
        self._stream = stream
        self._process = process

    def finish(self, timeout: float = TYPED_SECONDS) -> Completed:
        """Wait for its end and show what it printed; DeadlinePassed after `timeout` seconds."""
        completed = self._process.wait(timeout)
        self._stream.emit(
            "output",
            node=self._process.node,
            command=as_typed(completed.argv),
            status=completed.status,
            seconds=completed.seconds,
            stdout=output_in_words(completed.stdout)[-SHOWN_OUTPUT:],
            stderr=output_in_words(completed.stderr)[-SHOWN_OUTPUT:],
        )
        return completed


class Stage:
    """What a step's action gets."""

    def __init__(self, net: Network, wire: Wire, stream: Stream) -> None:
        self.net = net
        self.wire = wire
        self._stream = stream

    @property
    def log(self) -> EventLog:
        """What the programs of the network reported."""
        return self.net.log

    def start(self, node: str, *argv: str) -> Typed:
        """Type a command on a node; `finish` waits for its end."""
        self._stream.emit("command", node=node, command=as_typed(argv))
        return Typed(self._stream, self.net[node].start(argv))

    def run(self, node: str, *argv: str, timeout: float = TYPED_SECONDS) -> Completed:
        """Type a command on a node and wait for its end."""
        return self.start(node, *argv).finish(timeout)

    def serve(self, node: str, *argv: str, name: str) -> NodeProgram:
        """Start a node program, whose events go to the log under `name`, in the background."""
        self._stream.emit("command", node=node, command=f"{shlex.join(argv)} &")
        return self.net[node].start_program(argv, name=name)

    def see(self, *lines: str) -> None:
        """Show what can be observed now."""
        self._stream.emit("observed", lines=list(lines))

    def answer(self, value: Value, evidence: str) -> None:
        """Say what the step's question has turned out to be: what was found, and where it was seen.

        `value` must come from the network: it decides which prediction was right.
        """
        self._stream.emit("answer", value=value, evidence=evidence)

    def progress(self, what: str, done: int, of: int) -> None:
        """Say how far something that takes seconds has come."""
        self._stream.emit("progress", what=what, done=done, of=of)

    def claim(self, claim: str, text: str) -> Claim:
        """Check something that `claim` needs; `text` says it as a sentence."""
        return Claim(self._stream, claim, text, self.net.machine_fault)

    def wait_for_event(
        self,
        node: str,
        name: str,
        predicate: Callable[[Event], bool] = lambda _: True,
        *,
        since: int = 0,
        deadline: float = 3.0,
    ) -> Event:
        """The first event `name` from a program on `node` after `since` (a mark of the log)."""
        return self.log.wait_for(
            lambda event: event.node == node and event.name == name and predicate(event),
            deadline=deadline,
            what=f"`{name}` from {node}",
            since=since,
        )
