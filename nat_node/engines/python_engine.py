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
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, NoReturn

from napt_lab.nat_node.control import report
from napt_lab.nat_node.control.server import Control, bind
from napt_lab.nat_node.core.behavior import Endpoint, parse_endpoint, show_address
from napt_lab.nat_node.core.events import Event
from napt_lab.nat_node.core.mapping import Mapping
from napt_lab.nat_node.core.packet import PROTOCOL_NAMES, Packet, Side, give_back_hop
from napt_lab.nat_node.core.settings import LeaseLimits, Settings
from napt_lab.nat_node.core.table import RuleRefused
from napt_lab.nat_node.core.translator import Translator
from napt_lab.nat_node.core.verdict import Drop
from napt_lab.nat_node.fast_path.flow_cache import NEEDS_CHECKSUM, VNET_HEADER, Carrier, Flows
from napt_lab.nat_node.persistence.state_file import recover
from napt_lab.nat_node.system.announce import announce
from napt_lab.nat_node.system.routing import NAT_IN, NAT_OUT, Interfaces, set_up
from napt_lab.nat_node.system.tun import FRAME_SIZE, PLAIN, DeviceGone, open_tun

# Most NAPTs have no port control, and need not wait for it at their start.
if TYPE_CHECKING:
    from napt_lab.nat_node.port_control.listener import Listener

#: Packets taken from one device before the others get their turn.
BATCH = 64
RULES_LISTED = 500
#: Seconds; a poll cannot wait for longer than some weeks, but an idle time may be.
LONGEST_WAIT = 3600.0
PROTOCOLS = {name: number for number, name in PROTOCOL_NAMES.items()}


class KeeperGone(OSError):
    """The translator must not go on alone."""


class Chance:
    """Random numbers that nobody can guess, had from the kernel in one draught for many rules."""

    def __init__(self) -> None:
        self._numbers = array("Q")

    def below(self, limit: int) -> int:
        """A number from 0 to `limit` - 1 (a few thousand: of 64 bits the rest is no bias)."""
        if not self._numbers:
            self._numbers.frombytes(os.urandom(4096))
        return self._numbers.pop() % limit


@dataclass(frozen=True, slots=True)
class Doors:
    """Where packets and requests come in, and the file that remembers: what a Node is given.

    They outlive it (keeper.py).
    """

    inside: int
    outside: int
    control: socket.socket
    port_control: socket.socket | None
    state: Path

    @classmethod
    def make(
        cls, interfaces: Interfaces, control: Path, state: Path, *, port_control: bool
    ) -> Doors:
        """Raises OSError (TunError, RoutingError among them)."""
        inside, outside = open_tun(NAT_IN), open_tun(NAT_OUT)
        set_up(interfaces)
        asked = None
        if port_control:
            from napt_lab.nat_node.port_control import listener

            asked = listener.bind(interfaces.inside, interfaces.internal)
        return cls(inside, outside, bind(control), asked, state)


class Node:
    """A running NAPT, with explicit `rules` (protocol, external port, internal endpoint).

    If one before it was killed, it begins with that one's rules instead. `keeper` becomes
    readable when nobody would start it again. With `limits` inside hosts may ask for rules of
    their own (PCP and NAT-PMP). Raises RuleRefused.
    """

    def __init__(
        self,
        settings: Settings,
        doors: Doors,
        rules: list[tuple[int, int, Endpoint]],
        keeper: int,
        limits: LeaseLimits | None,
        carrier: Carrier | None,
    ) -> None:
        now = time.monotonic()
        self.translator, self._goes_on = recover(
            lambda: Translator(settings, Chance().below),
            doors.state,
            repr((settings, rules)).encode(),
            now,
        )
        if not self._goes_on:
            for protocol, port, internal in rules:
                self.translator.add_rule(protocol, port, internal, now)
        self.translator.flows.carrier = self._carrier = carrier
        self._inside, self._outside, self._keeper = doors.inside, doors.outside, keeper
        self._frame = bytearray(FRAME_SIZE)
        self._view = memoryview(self._frame)
        self._buffers = [self._frame]
        self._poll = select.epoll()
        for descriptor in (self._inside, self._outside, keeper):
            self._poll.register(descriptor, select.EPOLLIN)
        self._control = Control(doors.control, self._poll, self._answer, self._subscribed)
        self._port_control: Listener | None = None
        if limits is not None and doors.port_control is not None:
            from napt_lab.nat_node.port_control.listener import Listener
            from napt_lab.nat_node.port_control.server import PortControl

            server = PortControl(self.translator, limits, now)
            self._port_control = Listener(server, doors.port_control, self._poll)

    def run(self) -> NoReturn:
        """Translate until SIGTERM. Raises DeviceGone, KeeperGone."""
        signal.signal(signal.SIGTERM, _stop)
        signal.signal(signal.SIGINT, _stop)
        # Nothing here is left in cycles, and a collection over 65,535 rules would hold up packets.
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
        translator, port_control = self.translator, self._port_control
        deadline = translator.next_deadline()
        if port_control and (sooner := port_control.next_deadline()) is not None:
            deadline = sooner if deadline is None else min(deadline, sooner)
        look = self._carrier.next_look() if self._carrier else None
        wait = -1.0
        if deadline is not None:  # else there is no session that could be carried either
            next_event = deadline if look is None else min(deadline, look)
            wait = min(max(0.0, next_event - time.monotonic()), LONGEST_WAIT)
        for descriptor, events in self._poll.poll(wait):
            if descriptor == self._inside:
                self._drain(descriptor, Side.INSIDE, translator.flows.inside)
            elif descriptor == self._outside:
                self._drain(descriptor, Side.OUTSIDE, translator.flows.outside)
            elif self._control.handles(descriptor):
                self._control.handle(descriptor, events)
            elif port_control and port_control.handles(descriptor):
                port_control.handle(time.monotonic)
            else:
                raise KeeperGone("the process that would start the translator again is gone")
        now = time.monotonic()
        due = deadline is not None and now >= deadline  # most wake-ups are for a packet or two
        if look is not None and (due or now >= look):
            # Nothing ends as idle that the kernel has carried meanwhile.
            self._read_counters(now)
        if due:
            for packet in translator.expire(now):
                self._send(self._outside if packet.side is Side.OUTSIDE else self._inside, packet)
            if port_control:
                port_control.expire(now)

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
                self._think(descriptor, side, length, now)
                continue
            try:
                os.write(descriptor, view[:length])
            except OSError:
                self.translator.drops[Drop.REFUSED_BY_KERNEL] += 1

    def _think(self, descriptor: int, side: Side, length: int, now: float) -> None:
        """The slow path: the lesson in translator.py."""
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

    def _read_counters(self, now: float) -> None:
        """See what the flows that the kernel carries have done meanwhile."""
        if self._carrier:
            for session, outbound in self._carrier.account(now):
                self.translator.flows.learn_anew(session, outbound)

    # -- control ------------------------------------------------------------------------------

    def _subscribed(self, anyone: bool) -> None:
        self.translator.notify = self._broadcast if anyone else None

    def _broadcast(self, event: Event) -> None:
        now = time.monotonic()
        external = self.translator.settings.external
        self._control.broadcast(report.event(event, external, now, _wall))

    def _answer(self, request: dict[str, Any]) -> dict[str, Any]:
        try:
            match request.get("do"):
                case "rules":
                    return self._rules(request.get("limit", RULES_LISTED))
                case "add":
                    return self._add(request)
                case "remove":
                    protocol, port = self._external(request)
                    mapping = self.translator.remove_rule(protocol, port)
                case "stats":
                    return {"ok": True, "pid": os.getpid(), **report.statistics(self.translator)}
                case other:
                    raise RuleRefused(f"cannot do {other!r}: rules, add, remove, stats or events")
        except ValueError as error:
            return {"ok": False, "error": str(error)}
        return {"ok": True, "rule": self._describe(mapping)}

    def _rules(self, limit: object) -> dict[str, Any]:
        if not isinstance(limit, int) or not 0 <= limit <= RULES_LISTED * 10:
            raise RuleRefused(f"limit must be a number from 0 to {RULES_LISTED * 10}")
        self._read_counters(time.monotonic())
        table = self.translator.table
        listed = [self._describe(mapping) for mapping, _ in zip(table, range(limit), strict=False)]
        return {"ok": True, "total": len(table), "rules": listed}

    def _add(self, request: dict[str, Any]) -> dict[str, Any]:
        protocol, port = self._external(request)
        internal = parse_endpoint(_text(request, "internal"))
        mapping = self.translator.add_rule(protocol, port, internal, time.monotonic())
        return {"ok": True, "rule": self._describe(mapping)}

    def _external(self, request: dict[str, Any]) -> tuple[int, int]:
        """Protocol and external port of a request about an explicit rule."""
        name = _text(request, "protocol")
        if name not in PROTOCOLS:
            raise RuleRefused(f"protocol {name!r}: tcp or udp")
        address, port = parse_endpoint(_text(request, "external"))
        own = self.translator.settings.external
        if address != own:
            raise RuleRefused(
                f"{show_address(address)} is not this NAPT's external address {show_address(own)}"
            )
        return PROTOCOLS[name], port

    def _describe(self, mapping: Mapping) -> dict[str, Any]:
        external = self.translator.settings.external
        return report.rule(mapping, external, time.monotonic(), _wall)


def _text(request: dict[str, Any], key: str) -> str:
    value = request.get(key)
    if not isinstance(value, str):
        raise RuleRefused(f"{key} is missing")
    return value


def _wall(monotonic: float) -> float:
    return time.time() - (time.monotonic() - monotonic)


def _stop(number: int, _frame: FrameType | None) -> NoReturn:
    signal.signal(number, signal.SIG_IGN)  # it may be sent to the keeper and to us
    sys.exit(0)
