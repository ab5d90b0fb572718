"""The loop that joins the translator to its devices, its control socket and the clock."""

from __future__ import annotations

import gc
import os
import select
import signal
import socket
import sys
import time
from array import array
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, NoReturn

from napt_lab.nat_node.control import report
from napt_lab.nat_node.control.control_protocol import Described, Rule
from napt_lab.nat_node.control.server import Control, bind, wall
from napt_lab.nat_node.core.behavior import Endpoint, show_address
from napt_lab.nat_node.core.events import Dropped, Event
from napt_lab.nat_node.core.mapping import Mapping, Session
from napt_lab.nat_node.core.packet import Packet, Side, give_back_hop
from napt_lab.nat_node.core.settings import HOSTS, SETTINGS, LeaseLimits, Settings, changed
from napt_lab.nat_node.core.translator import Translator
from napt_lab.nat_node.core.verdict import Drop
from napt_lab.nat_node.fast_path.flow_cache import (
    NEEDS_CHECKSUM,
    VNET_HEADER,
    Carrier,
    FlowCache,
    Flows,
)
from napt_lab.nat_node.persistence.state_file import StateFile, recover
from napt_lab.nat_node.system.announce import announce
from napt_lab.nat_node.system.busy_poll import BusyPoll
from napt_lab.nat_node.system.queue_drops import QueueDrops
from napt_lab.nat_node.system.routing import NAT_IN, NAT_OUT, Interfaces, set_up
from napt_lab.nat_node.system.tun import FRAME_SIZE, PLAIN, DeviceGone, open_tun

# Most NAPTs have no port control: importing it would delay their start.
if TYPE_CHECKING:
    from napt_lab.nat_node.port_control.listener import Listener

#: Packets taken from one device before the others get their turn.
BATCH = 64
OVERLOAD_EVERY = 1.0
"""Seconds between two looks at the devices' queues, while there are many packets in them."""


class KeeperGone(OSError):
    """The process that would start the translator again is gone."""


class Chance:
    """Random numbers that cannot be guessed, fetched from the kernel for many rules at once."""

    def __init__(self) -> None:
        self._numbers = array("Q")

    def below(self, limit: int) -> int:
        """A number from 0 to `limit` - 1 (a few thousand: of 64 bits the rest is no bias)."""
        if not self._numbers:
            self._numbers.frombytes(os.urandom(4096))
        return self._numbers.pop() % limit


@dataclass(frozen=True, slots=True)
class Devices:
    """What a Node is given and what outlives it (keeper.py).

    The devices and sockets by which packets and requests come in, and the path of the state file.
    """

    inside: int
    outside: int
    control: socket.socket
    port_control: socket.socket | None
    state: Path

    @classmethod
    def make(
        cls, interfaces: Interfaces, control: Path, state: Path, *, port_control: bool
    ) -> Devices:
        """Raises OSError (TunError, RoutingError among them)."""
        inside, outside = open_tun(NAT_IN), open_tun(NAT_OUT)
        set_up(interfaces)
        asked = None
        if port_control:
            from napt_lab.nat_node.port_control import listener

            asked = listener.bind(interfaces.inside, interfaces.internal)
        return cls(inside, outside, bind(control), asked, state)


class Node:
    """A running NAPT, with explicit `rules`.

    If an earlier one was killed, it begins with that one's rules instead. `keeper` becomes readable
    when the process that would start it again is gone. With `limits` inside hosts may ask for rules
    of their own (PCP and NAT-PMP). Raises RuleRefused.
    """

    def __init__(
        self,
        settings: Settings,
        devices: Devices,
        rules: list[Rule],
        keeper: int,
        limits: LeaseLimits | None,
        carrier: Carrier | None,
    ) -> None:
        now = time.monotonic()
        self.translator, self._memory, self._file, self._goes_on = recover(
            lambda choices: Translator(choices, Chance().below),
            StateFile(devices.state, settings, rules),
            now,
        )
        if not self._goes_on:
            for protocol, external, internal in rules:
                self.translator.add_rule(protocol, external, internal, now)
        self._carrier = carrier
        self._flows = FlowCache(self.translator, carrier)
        self._inside, self._outside = devices.inside, devices.outside
        self._frame = bytearray(FRAME_SIZE)
        self._view = memoryview(self._frame)
        self._buffers = [self._frame]
        self._epoll = select.epoll()
        self._poll = BusyPoll(self._epoll)
        for descriptor in (self._inside, self._outside, keeper):
            self._epoll.register(descriptor, select.EPOLLIN)
        self._control = Control(devices.control, self._epoll, self, self._subscribed)
        self._port_control: Listener | None = None
        if limits is not None and devices.port_control is not None:
            from napt_lab.nat_node.port_control.listener import Listener
            from napt_lab.nat_node.port_control.server import PortControl

            server = PortControl(self.translator, limits, now)
            self._port_control = Listener(server, devices.port_control, self._epoll)
        self._queue_drops = QueueDrops(NAT_IN, NAT_OUT)
        self._overload_at: float | None = None  # when to look whether packets were lost
        self._deadlines: list[Callable[[], float | None]] = [
            self.translator.next_deadline,
            lambda: self._overload_at,
        ]
        if self._memory:
            self._deadlines.append(self._memory.next_look)
        if self._port_control:
            self._deadlines.append(self._port_control.next_deadline)
        if carrier:
            self._deadlines.append(carrier.next_look)

    def run(self) -> NoReturn:
        """Translate until SIGTERM. Raises DeviceGone, KeeperGone."""
        signal.signal(signal.SIGTERM, _stop)
        signal.signal(signal.SIGINT, _stop)
        # Rules form no reference cycles, and a collection over 65,535 of them would delay packets.
        gc.collect()
        gc.freeze()
        gc.disable()
        external = show_address(self.translator.settings.external)
        announce(
            "ready",
            external=external,
            pid=os.getpid(),
            rules=len(self.translator.table),
            goes_on=self._goes_on,
        )
        while True:
            self._once()

    def _once(self) -> None:
        deadline = None
        for next_one in self._deadlines:
            when = next_one()
            if when is not None and (deadline is None or when < deadline):
                deadline = when
        wait = -1.0
        if deadline is not None:
            wait = max(0.0, deadline - time.monotonic())
        for descriptor, events in self._poll.wait(wait):
            if descriptor == self._inside:
                self._drain(descriptor, Side.INSIDE, self._flows.inside)
            elif descriptor == self._outside:
                self._drain(descriptor, Side.OUTSIDE, self._flows.outside)
            elif self._control.handles(descriptor):
                self._control.handle(descriptor, events)
            elif self._port_control and self._port_control.handles(descriptor):
                self._port_control.handle(time.monotonic)
            else:
                raise KeeperGone("the process that would start the translator again is gone")
        if deadline is not None and (now := time.monotonic()) >= deadline:
            self._expire(now)

    def _expire(self, now: float) -> None:
        """Do what time alone makes necessary."""
        if self._overload_at is not None and now >= self._overload_at:
            self._count_overload()
        self._read_counters(now)  # first: what the kernel has carried meanwhile is not idle
        if self._memory:
            self._memory.look(now)
        for packet in self.translator.expire(now):
            self._send(self._outside if packet.side is Side.OUTSIDE else self._inside, packet)
        if self._port_control:
            self._port_control.expire(now)

    def _drain(self, descriptor: int, side: Side, flows: Flows) -> None:
        """Take a batch of packets from one device, and give back what becomes of them."""
        frame, view, buffers, forward = self._frame, self._view, self._buffers, flows.forward
        now = time.monotonic()
        for _ in range(BATCH):
            try:
                length = os.readv(descriptor, buffers)
            except BlockingIOError:
                return
            except OSError as error:
                name = NAT_IN if side is Side.INSIDE else NAT_OUT
                raise DeviceGone(
                    f"the device {name} is gone ({error.strerror}): nothing passes any more"
                ) from None
            if not forward(frame, length, now):
                self._slow_path(descriptor, side, length, now)
                continue
            try:
                os.write(descriptor, view[:length])
            except OSError:
                self.translator.drops[Drop.REFUSED_BY_KERNEL] += 1
        if self._overload_at is None:  # the queue was not empty: it may have been full
            self._overload_at = now + OVERLOAD_EVERY

    def _slow_path(self, descriptor: int, side: Side, length: int, now: float) -> None:
        """Ask the translator about a packet of no known flow."""
        data = self._view[VNET_HEADER:length]
        partial = bool(self._frame[0] & NEEDS_CHECKSUM)
        for packet in self.translator.receive(data, side, now, partial).packets:
            # The packet itself keeps the header it came with; a new one is complete as it is.
            self._send(descriptor, packet, self._view[:length] if packet.data is data else None)

    def _send(self, descriptor: int, packet: Packet, frame: memoryview | None = None) -> None:
        give_back_hop(packet.data)
        try:
            os.write(descriptor, PLAIN + packet.data if frame is None else frame)
        except OSError:
            self.translator.drops[Drop.REFUSED_BY_KERNEL] += 1

    def _count_overload(self) -> None:
        """Count the packets that were lost because we read too slowly."""
        self._overload_at = None
        for name, lost in self._queue_drops.new().items():
            if lost:
                side = Side.INSIDE if name == NAT_IN else Side.OUTSIDE
                self.translator.drops[Drop.OVERLOAD] += lost
                if self.translator.watchers.notify:
                    text = f"{lost:,} packets in the queue of {name}"
                    self.translator.watchers.notify(Dropped(Drop.OVERLOAD, text, side.value))

    def _read_counters(self, now: float) -> None:
        """Read the counters of the flows that the kernel carries."""
        if self._carrier:
            for session, outbound in self._carrier.account(now):
                self._flows.learn_anew(session, outbound)

    # -- what a control client asks for (control_protocol.Engine) -----------------------------

    def list_rules(self, limit: int) -> tuple[int, list[Described]]:
        """How many rules there are, and the oldest of them."""
        self._read_counters(time.monotonic())
        table = self.translator.table
        return len(table), [self._describe(mapping) for mapping in islice(table, limit)]

    def list_ports(self) -> dict[str, str]:
        """The external ports of all rules."""
        return report.port_map(self.translator.table, self.translator.settings)

    def add_rule(self, protocol: int, external: Endpoint, internal: Endpoint) -> Described:
        """Add an explicit rule. Raises RuleRefused."""
        now = time.monotonic()
        return self._describe(self.translator.add_rule(protocol, external, internal, now))

    def remove_rule(self, protocol: int, external: Endpoint) -> Described:
        """Remove an explicit rule. Raises RuleRefused."""
        now = time.monotonic()
        return self._describe(self.translator.remove_rule(protocol, external, now))

    def flush(self) -> int:
        """End all sessions."""
        return self.translator.flush()

    def change(self, changes: dict[str, str]) -> None:
        """Go on with other settings. Raises ValueError, and has changed nothing; or OSError."""
        settings = changed(self.translator.settings, changes)
        self._read_counters(time.monotonic())
        self.translator.change(settings)
        if self._carrier:  # a flow that may be idle for a few seconds only is not carried
            for mapping in self.translator.table:
                for session in mapping.sessions:
                    self._flows.forget(session)
        if self._memory:
            self._memory.change(settings)
            # As they are understood, not as they were sent: the file has room for all of these.
            before = self._file.changes
            now = {s.key: s.text(getattr(settings, s.name)) for s in SETTINGS if s.key in changes}
            if HOSTS in changes:
                came = f"{before.get(HOSTS, '')} {changes[HOSTS]}".split()
                now[HOSTS] = " ".join(dict.fromkeys(came))
            self._file.change(before | now)

    def stats(self) -> dict[str, Any]:
        """Counts of the whole translator."""
        self._count_overload()
        return {"pid": os.getpid(), **report.statistics(self.translator)}

    def _subscribed(self, anyone: bool) -> None:
        self.translator.watchers.notify = self._broadcast if anyone else None

    def _broadcast(self, event: Event) -> None:
        now = time.monotonic()
        self._control.broadcast(report.event(event, now, wall, self._carries))

    def _describe(self, mapping: Mapping) -> Described:
        return report.rule(mapping, time.monotonic(), wall, self._carries)

    def _carries(self, session: Session) -> bool:
        """Whether the kernel carries a session's packets."""
        return self._carrier is not None and self._carrier.carries(session)


def _stop(number: int, _frame: FrameType | None) -> NoReturn:
    signal.signal(number, signal.SIG_IGN)  # it may be sent to the keeper and to us
    sys.exit(0)
