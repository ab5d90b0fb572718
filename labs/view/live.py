"""A run that goes on, in a browser: its records and packets, and what is typed on the page.

Theory of operation. A thread looks ten times a second at what the stream and the wires have
brought. A record is given on when it is HOLD_SECONDS old: by then a packet has come to the end of
its way, and all can be put in the order of time. The lab never waits for the page.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol

from napt_lab.labs.capture.identity import SAME_SECONDS
from napt_lab.labs.capture.wire import Wire
from napt_lab.labs.prompt.lab_cli import LOOKS
from napt_lab.labs.prompt.rule_words import without_arrow
from napt_lab.labs.records.stream import Record, Stream
from napt_lab.labs.report.capture import Frame, Window
from napt_lab.labs.report.journey import Follower, find_drops
from napt_lab.labs.stage.output_words import output_in_words
from napt_lab.labs.stage.pause import Go, Here, Pause
from napt_lab.labs.stage.play import emit_event
from napt_lab.labs.stage.prediction import NotAnAnswer
from napt_lab.labs.stage.stage import Stage
from napt_lab.labs.view.door import Door
from napt_lab.labs.view.go_on import GoOn, PromptEnding
from napt_lab.labs.view.layout import picture_of
from napt_lab.labs.view.packets import Flows, own_addresses, packet_record
from napt_lab.labs.view.recording import Recording
from napt_lab.labs.view.server import Server
from napt_lab.topologies.network.builder import Network
from napt_lab.topologies.network.napt_control import ControlError
from napt_lab.topologies.network.plan import node_plans
from napt_lab.topologies.network.processes import DeadlinePassed

ROUND_SECONDS = 0.1
SETTLED_SECONDS = 0.2  # after which no ring brings an older packet
HOLD_SECONDS = SETTLED_SECONDS + SAME_SECONDS
LINE_SECONDS = 20.0  # how long a command that is typed on the page may take
CLOSED = "The lab is acting: commands can be typed when it waits, between two steps."


class AtPrompt(Protocol):
    """The prompt at the terminal, which shows the same network (labs/prompt)."""

    def look(self, line: str) -> str:
        """What a command of LOOKS shows."""

    def begins(self, line: str) -> None:
        """A line was typed on the page."""

    def ended(self, status: int) -> None:
        """That line has ended with this exit status."""

    def again(self) -> None:
        """Something was told below the line that is typed."""


Do = Callable[[str], tuple[bool, str]]
"""Does a line that was typed; whether it went well, and what there is to say. May raise GoOn."""


@dataclass
class _Watched:
    """The network that runs now."""

    net: Network
    wire: Wire
    do: Do
    flows: Flows = field(default_factory=Flows)
    frames: list[Frame] = field(default_factory=list)  # not followed yet
    mark: int = 0

    def __post_init__(self) -> None:
        plans = list(node_plans(self.net.topology))
        self.own = own_addresses(self.net.topology)
        self.follower = Follower(
            {f"{p.name}:{port.interface}": port for p in plans for port in p.ports}
        )
        self.window = Window(0, 0)

    def packets(self, until: float, recording: Recording) -> list[Record]:
        """Records of the packets that began before then (seconds since 1970)."""
        new = self.wire.since(self.mark)
        self.mark += len(new)
        self.frames += [Frame(c.where, c.nanoseconds, c.outgoing, c.data) for c in new
                        if not self.window.is_more_of_the_same(c.where, c.data)]  # fmt: skip
        self.frames.sort(key=lambda frame: frame.nanoseconds)
        settled = (until + SAME_SECONDS) * 1e9
        while self.frames and self.frames[0].nanoseconds < settled:
            self.follower.see(self.frames.pop(0))
        journeys = self.follower.take(int(until * 1e9))
        find_drops(journeys, recording.drops)
        return [packet_record(j, recording.began, self.flows.number(j), self.own) for j in journeys]


class Live:
    """`stream.listen(live)`, `with live.meets(net, wire):` while a network runs, `end`, `close`."""

    def __init__(
        self, door: Door, title: str, stream: Stream, prompt: AtPrompt | None = None
    ) -> None:
        """`prompt`: that at the terminal, unless the network is shown with a `do` of its own."""
        self._stream = stream
        self._prompt = prompt
        self._waiting: list[Record] = []  # that are not old enough
        self._new: list[Record] = []
        self._recording = Recording(self._new.append)
        self._watched: _Watched | None = None
        self._lock = threading.Lock()  # of the network that is watched, and of its packets
        self._open = False  # whether commands can be typed
        self._here: Here | None = None  # where a student stands, between two steps
        self._said: dict[str, object] = {}  # the step that the page tells of
        self._stop = threading.Event()
        self._server = Server(door, title, self._act)
        self._thread = threading.Thread(target=self._look, name="live", daemon=True)
        self.prompt_ending = PromptEnding()
        self._server.start()
        self._thread.start()
        self.url = door.url

    def __call__(self, record: Record) -> None:
        """Listen to the stream."""
        if record["event"] == "pause":
            self._open = True
        elif record["event"] in ("working", "end"):
            self._open = False
            if self._watched is not None:
                self._watched.window = Window(0, 0)
        self._recording(record)

    @contextlib.contextmanager
    def meets(self, net: Network, wire: Wire, do: Do | None = None) -> Iterator[None]:
        """Show the packets of a network while it runs; `do` does what is typed on the page."""
        with self._lock:
            self._watched = _Watched(
                net, wire, do or partial(self._do, Stage(net, wire, self._stream))
            )
        try:
            yield
        finally:
            with self._lock:
                self._give_on(time.time() + HOLD_SECONDS)
                self._watched = None

    @contextlib.contextmanager
    def shows(
        self,
        net: Network,
        wire: Wire,
        do: Do | None = None,
        words: Sequence[str] = (),
        **step: object,
    ) -> Iterator[None]:
        """The same where no lab tells of the network: a command can be typed all the time.

        `words`: commands that have a button. `step`: what the page says beside it (number, of,
        title, say); what was done so far stays on the page until that is another.
        """
        topology = net.topology
        self._stream.emit(
            "part",
            title=topology.title,
            topology=topology.name,
            path="",
            capture="",
            first=1,
            picture=picture_of(topology),
        )
        if step != self._said:
            self._said = step
            self._stream.emit("step", **step, ask="", choices=[], usage="")
        net.log.listen(partial(emit_event, self._stream))
        with self.meets(net, wire, do):
            self._stream.emit("pause", step=0, words=list(words))
            yield

    def observe(self, text: str) -> None:
        """Show what was said at the terminal."""
        self._stream.emit("observed", lines=text.splitlines())

    def steps(self, pause: Pause) -> Pause:
        """The pause between two steps, which a button on the page ends as well."""

        def wait(net: Network, here: Here) -> Go | None:
            try:
                with self.prompt_ending.allowed():
                    self._here = here
                    return pause(net, here)
            except GoOn:
                return here.on
            finally:
                self._here = None

        return wait

    def end(self, words: str) -> None:
        """Nothing more comes; the page says why. It is served until `close`."""
        self._stop.set()
        self._thread.join()
        with self._lock:
            self._give_on(float("inf"))
        self._server.end(words)

    def close(self) -> None:
        """End the server."""
        self._server.stop()

    # ── what happens goes to the page ────────────────────────────────────────────────────

    def _look(self) -> None:
        while not self._stop.wait(ROUND_SECONDS):
            with self._lock:
                self._give_on(time.time() - HOLD_SECONDS)

    def _give_on(self, until: float) -> None:
        """Give on all that is older than that (seconds since 1970)."""
        count = len(self._new)
        self._waiting += self._new[:count]
        del self._new[:count]  # others may have been added meanwhile, at the end
        if self._watched is not None:
            self._waiting += self._watched.packets(min(until, time.time()), self._recording)
        self._waiting.sort(key=lambda record: float(record["t"]))
        limit = self._recording.since_began(until)
        ripe = [record for record in self._waiting if record["t"] < limit]
        del self._waiting[: len(ripe)]
        if ripe:
            self._server.publish(ripe)

    # ── what is typed on the page ────────────────────────────────────────────────────────

    def _act(self, what: str, line: str, step: int) -> tuple[bool, str]:
        watched = self._watched
        if watched is None or not self._open:
            return False, CLOSED
        try:
            if what == "do":
                return watched.do(line)
            here = self._here
            if here is None:
                return False, "There are no steps here."
            if here.step != step:  # the page did not know yet when the button was pressed
                return False, f"The lab has gone on: that was for step {step}."
            if what == "next":
                raise GoOn
            here.predict(line)
            self._prompt_again()
            return True, ""
        except GoOn as wish:
            refused = self.prompt_ending.end(str(wish))
            return not refused, refused
        except NotAnAnswer as error:
            return False, str(error)
        except (ControlError, DeadlinePassed, OSError) as error:
            return False, f"That did not work: {error}"

    def _do(self, stage: Stage, line: str) -> tuple[bool, str]:
        """Do a line of the page: a rule, a look, or a command on a node."""
        name, _, rest = line.strip().partition(" ")
        net = stage.net
        if name == "rule":
            return _do_rule(net, without_arrow(rest.split()))
        if name in LOOKS and self._prompt is not None:
            return True, self._prompt.look(line)
        if name not in net.nodes:
            others = f"rule add …, {', '.join(sorted(LOOKS))}"
            nodes = ", ".join(net.nodes)
            return False, f"{name} is not a node. Type a node and a command, or {others}: {nodes}"
        if not rest.strip():
            return False, f"Type a command for {name} after its name."
        if self._prompt is not None:
            self._prompt.begins(line.strip())
        try:
            done = stage.run(name, "sh", "-c", rest.strip(), timeout=LINE_SECONDS)
        finally:
            self._prompt_again()
        if self._prompt is not None:
            self._prompt.ended(done.status)
        return done.status == 0, output_in_words(f"{done.stdout}{done.stderr}").strip()

    def _prompt_again(self) -> None:
        if self._prompt is not None:
            self._prompt.again()


def _do_rule(net: Network, words: list[str]) -> tuple[bool, str]:
    match words:
        case ["add", name, protocol, external, internal] if name in net.nodes and net[name].napt:
            rule = net.napt(name).add(protocol, external, internal)["rule"]
            return True, f"{name} added: {rule['protocol']} {rule['external']} → {rule['internal']}"
        case ["del", name, protocol, external] if name in net.nodes and net[name].napt:
            rule = net.napt(name).remove(protocol, external)["rule"]
            return True, f"{name} removed: {rule['protocol']} {rule['external']}"
    return False, "Type: rule add NAPT tcp|udp EXTERNAL INTERNAL, or rule del NAPT tcp|udp EXTERNAL"
