r"""The loop that joins a student's translator to the devices, the control socket and the clock.

As python_engine.py, but each packet goes to the worker and its answer comes back. The kernel
hands packets over in pieces that a wire would carry, with their checksums finished. What the
worker prints and what is wrong with it go to standard output, as events:

    {"event": "fault", "text": "mine.py:12, in translate\n …"}
    {"event": "printed", "text": "…"}

What the worker says is not believed but checked: a student's file can write into its end of the
channel. A worker that was lost is started again, without its rules. After LOSSES of
them (or as many calls that took too long) it is left alone, and every packet is dropped.
"""

from __future__ import annotations

import json
import os
import select
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from napt_lab.nat_node.control.control_protocol import Described, Rule
from napt_lab.nat_node.control.server import Control, bind
from napt_lab.nat_node.core.behavior import Endpoint, show, show_address
from napt_lab.nat_node.core.events import describe
from napt_lab.nat_node.core.packet import PROTOCOL_NAMES, Malformed, Packet, give_back_hop
from napt_lab.nat_node.core.settings import HOSTS, Settings, changed
from napt_lab.nat_node.core.verdict import Drop
from napt_lab.nat_node.engines.student import channel, listing
from napt_lab.nat_node.engines.student.channel import Frame
from napt_lab.nat_node.engines.student.faults import LoadError
from napt_lab.nat_node.engines.student.process import WorkerLost, WorkerProcess
from napt_lab.nat_node.engines.student.wall import WallError
from napt_lab.nat_node.fast_path.flow_cache import VNET_HEADER
from napt_lab.nat_node.system.announce import announce
from napt_lab.nat_node.system.queue_drops import QueueDrops
from napt_lab.nat_node.system.routing import NAT_IN, NAT_OUT, Interfaces, set_up
from napt_lab.nat_node.system.tun import FRAME_SIZE, PLAIN, open_tun

BATCH = 64  # packets taken from one device before the others get their turn
TICK_SECONDS = 0.1
TICK_SHARE = 5  # the time between two, in times of what one takes
LOSSES = 3
OVERLOAD_SECONDS = 1.0  # between a full batch and a look whether packets were lost
STOPPED = "translator-stopped"
MOST_WORDS = 1000  # of what a translator prints and does wrong
LONGEST_TEXT = 8000  # characters
_DROP = ("reason", "meaning", "packet", "side")
_SHORTEST = 20  # bytes of an IPv4 header


class StudentNode:
    """A running NAPT with a student's translator in it. Raises LoadError, ValueError, OSError."""

    def __init__(
        self,
        settings: Settings,
        interfaces: Interfaces,
        control: Path,
        rules: Iterable[Rule],
        file: Path,
    ) -> None:
        self._settings = settings
        self._file = file
        self._path = control
        self._drops: Counter[str] = Counter()
        self._control: Control | None = None
        self._watched = self._watching = False
        self._losses = 0
        self._stopped = self._last_fault = ""
        self._words = 0
        self._rules = list(rules)
        self._reply: dict[str, Any] = {}
        self._worker = WorkerProcess(settings, file)
        self._ticks = False
        self._start_worker()
        self._inside, self._outside = open_tun(NAT_IN, whole=True), open_tun(NAT_OUT, whole=True)
        set_up(interfaces)
        self._queue_drops = QueueDrops(NAT_IN, NAT_OUT)
        self._overload_at: float | None = None  # when to look whether packets were lost
        self._buffer = bytearray(FRAME_SIZE)
        self._poll = select.epoll()
        for descriptor in (self._inside, self._outside):
            self._poll.register(descriptor, select.EPOLLIN)
        self._control = Control(bind(control), self._poll, self, self._subscribed)

    def run(self) -> NoReturn:
        """Translate until SIGTERM."""
        signal.signal(signal.SIGTERM, _stop)
        signal.signal(signal.SIGINT, _stop)
        assert self._control is not None
        external = show_address(self._settings.external)
        announce("ready", external=external, translator=str(self._file))
        try:
            next_tick = time.monotonic()
            while True:
                due = [next_tick] if self._ticks else []
                due += [] if self._overload_at is None else [self._overload_at]
                wait = max(0.0, min(due) - time.monotonic()) if due else -1.0
                for descriptor, events in self._poll.poll(wait):
                    if descriptor in (self._inside, self._outside):
                        self._drain(descriptor)
                    elif self._control.handles(descriptor):
                        self._control.handle(descriptor, events)
                if self._overload_at is not None and time.monotonic() >= self._overload_at:
                    self._count_overload()
                if self._ticks and time.monotonic() >= next_tick:
                    began = time.monotonic()
                    self._ask([channel.frame(channel.TICK, _times())])
                    now = time.monotonic()  # a large table is not to take all of the time
                    next_tick = now + max(TICK_SECONDS, TICK_SHARE * (now - began))
        finally:
            self._path.unlink(missing_ok=True)
            self._worker.end()

    # -- packets ------------------------------------------------------------------------------

    def _drain(self, descriptor: int) -> None:
        """Take a batch of packets from one device to the worker, and do what it answers."""
        batch: list[bytes] = []
        while len(batch) < BATCH:
            try:
                length = os.readv(descriptor, [self._buffer])
            except BlockingIOError:
                break
            batch.append(bytes(memoryview(self._buffer)[VNET_HEADER:length]))
        inside, now = descriptor == self._inside, time.monotonic()
        if len(batch) == BATCH and self._overload_at is None:  # the queue may have been full
            self._overload_at = now + OVERLOAD_SECONDS
        stamped = [channel.stamp_packet(inside, now, data) for data in batch]
        answered = self._ask([channel.frame(channel.PACKET, one) for one in stamped], descriptor)
        for data in batch[answered:]:
            self._drop(STOPPED, self._stopped or "it has just been lost", data, inside)

    def _write(self, descriptor: int, body: bytes) -> None:
        data = bytearray(body)
        try:
            if len(data) < _SHORTEST:
                raise OSError("shorter than an IPv4 header")
            give_back_hop(data)
            os.write(descriptor, PLAIN + data)
        except OSError:
            self._drops[Drop.REFUSED_BY_KERNEL.label] += 1

    def _drop(self, reason: str, meaning: str, data: bytes, inside: bool) -> None:
        try:
            packet = describe(Packet(bytearray(data)))
        except Malformed as error:
            packet = str(error)
        side = "inside" if inside else "outside"
        self._tell_drop({"reason": reason, "meaning": meaning, "packet": packet, "side": side})

    def _count_overload(self) -> None:
        """Count the packets that were lost because we read too slowly, and tell of them."""
        self._overload_at = None
        for name, lost in self._queue_drops.new().items():
            if lost:
                reason, text = Drop.OVERLOAD, f"{lost:,} packets in the queue of {name}"
                side = "inside" if name == NAT_IN else "outside"
                self._tell_drop(
                    {
                        "reason": reason.label,
                        "meaning": reason.meaning,
                        "packet": text,
                        "side": side,
                    },
                    lost,
                )

    def _tell_drop(self, fields: dict[str, Any], packets: int = 1) -> None:
        self._drops[fields["reason"]] += packets
        self._broadcast({"event": "drop", "time": time.time(), **fields})

    # -- the worker ---------------------------------------------------------------------------

    def _start_worker(self) -> None:
        """A fresh worker, told of everything that does not come from packets."""
        functions, said = self._worker.start()
        for frame in said:
            self._take(frame)
        self._ticks = "expire" in functions
        self._watching = False
        for protocol, external, internal in self._rules:
            try:
                self.add_rule(protocol, external, internal)
            except ValueError as error:
                raise LoadError(
                    f"the rule for port {external[1]} of the topology: {error}"
                ) from None

    def _ask(self, questions: Sequence[bytes], descriptor: int | None = None) -> int:
        """Put questions to the worker and do what it answers; how many it has answered."""
        answered = 0
        if self._worker.pid:
            if self._watching != self._watched:
                self._watching = self._watched
                questions = [channel.frame(channel.WATCH, bytes([self._watched])), *questions]
                answered = -1
            try:
                for frame in self._worker.ask(questions):
                    answered += frame[0] == channel.DONE
                    self._take(frame, descriptor)
                    if self._losses >= LOSSES:
                        self._give_up()
                        break
            except WorkerLost as lost:
                self._lose(str(lost))
            except channel.NONSENSE:
                self._worker.end()
                self._lose(f"{self._file.name}: it writes into the channel to its NAPT")
        return max(0, answered)

    def _take(self, frame: Frame, descriptor: int | None = None) -> None:
        """Do what one frame says. channel.NONSENSE if our worker would not have sent it."""
        kind, body = frame
        if kind == channel.SEND and descriptor is not None:
            self._write(descriptor, body)
        elif kind == channel.DROP:
            drop = channel.read(body)
            own = drop["own"] is True
            self._tell_drop({key: _text(drop[key]) for key in _DROP} | {"own": own})
        elif kind == channel.EVENT:
            self._broadcast(listing.checked_news(channel.read(body)))
        elif kind == channel.ANSWER:
            self._reply = listing.checked_answer(channel.read(body))
        elif kind in (channel.PRINTED, channel.FAULT) and self._words < MOST_WORDS:
            self._words += 1
            said = channel.read(body)
            if kind == channel.PRINTED:
                announce("printed", text=_text(said["text"]))
            else:
                self._fault(_text(said["text"]))
                self._losses += said.get("overrun") is True

    def _lose(self, why: str) -> None:
        self._losses += 1
        self._fault(why)
        if self._losses >= LOSSES:
            self._give_up()
            return
        try:
            self._start_worker()
            announce("fault", text=f"{self._file.name}: started again; the rules it had are lost")
        except (LoadError, WallError) as error:
            self._fault(str(error))
            self._give_up()

    def _give_up(self) -> None:
        self._worker.end()
        self._ticks = False
        self._stopped = f"stopped for good: {self._last_fault}"
        announce(
            "fault", text=f"{self._file.name}: {self._stopped}; from now on every packet is dropped"
        )

    def _fault(self, text: str) -> None:
        lines = text.splitlines()
        self._last_fault = f"{lines[-3]}: {lines[-1]}" if len(lines) >= 3 else text
        announce("fault", text=text)

    # -- control ------------------------------------------------------------------------------

    def _subscribed(self, anyone: bool) -> None:
        self._watched = anyone  # told with the next question: this may be in the midst of one

    def _broadcast(self, event: dict[str, Any]) -> None:
        if self._control is not None:
            self._control.broadcast(event)

    def list_rules(self, limit: int) -> tuple[int, list[Described]]:
        """How many rules the translator has, and at most `limit` of them. Raises ValueError."""
        answer = self._request({"do": "rules", "limit": limit})
        return answer["total"], answer["rules"]

    def list_ports(self) -> dict[str, str]:
        """Ask the translator, which refuses. Raises ValueError."""
        ports: dict[str, str] = self._request({"do": "ports"})["ports"]
        return ports

    def add_rule(self, protocol: int, external: Endpoint, internal: Endpoint) -> Described:
        """Have the translator add an explicit rule. Raises ValueError."""
        address, hosts = internal[0], self._settings.hosts
        if not self._settings.is_inside(address) or (hosts and address not in hosts):
            raise ValueError(f"there is no host {show(internal)} on the inside")
        return self._about_rule("add", protocol, external, internal=show(internal))

    def remove_rule(self, protocol: int, external: Endpoint) -> Described:
        """Have the translator remove an explicit rule. Raises ValueError."""
        return self._about_rule("remove", protocol, external)

    def flush(self) -> int:
        """Have the translator end all sessions. Raises ValueError: it cannot."""
        return int(self._request({"do": "flush"})["ended"])

    def change(self, changes: dict[str, str]) -> None:
        """Know of hosts that came later; for all else ask the translator, which refuses.

        Raises ValueError.
        """
        if changes.keys() == {HOSTS}:
            self._settings = changed(self._settings, changes)
        else:
            self._request({"do": "set", "settings": changes})

    def stats(self) -> dict[str, Any]:
        """Counts of the translator's rules and drops. Raises ValueError."""
        answer = self._request({"do": "stats"})
        self._count_overload()
        return answer | {"pid": self._worker.pid, "drops": dict(self._drops)}

    def _about_rule(self, verb: str, protocol: int, to: Endpoint, **more: str) -> Described:
        name, external = PROTOCOL_NAMES[protocol], show((to[0] or self._settings.external, to[1]))
        request = {"do": verb, "protocol": name, "external": external, **more}
        rule: Described = self._request(request)["rule"]
        return rule

    def _request(self, request: dict[str, Any]) -> dict[str, Any]:
        """Put a request to the worker; gives its answer. Raises ValueError if it refuses."""
        body = _times() + json.dumps(request).encode()
        self._reply = {
            "ok": False,
            "error": f"{self._file.name}: {self._stopped or 'it has just been lost'}",
        }
        self._ask([channel.frame(channel.REQUEST, body)])
        if not self._reply.get("ok"):
            raise ValueError(self._reply.get("error"))
        return self._reply


def _text(value: Any) -> str:
    return str(value)[:LONGEST_TEXT]


def _times() -> bytes:
    return channel.stamp_times(time.monotonic(), time.time())


def _stop(_signal: int, _frame: FrameType | None) -> NoReturn:
    sys.exit(0)
