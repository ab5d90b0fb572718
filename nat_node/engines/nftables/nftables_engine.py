"""The loop that answers for the kernel's NAT on a control socket.

Explicit rules are checked and kept as those of our own translator (explicit_rules.py), and put into
nftables' maps. Sessions are the kernel's: it is asked for them when a client wants to see them.
While a client follows events, the kernel tells of sessions and dropped packets. It forgets an
expired session only when it happens to look, so this engine makes it look in time.
"""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from napt_lab.nat_node.control import report
from napt_lab.nat_node.control.control_protocol import Described, Rule
from napt_lab.nat_node.control.server import Control, bind, wall
from napt_lab.nat_node.core.behavior import Endpoint, show_address
from napt_lab.nat_node.core.events import Dropped, RuleAdded, RuleEnded
from napt_lab.nat_node.core.explicit_rules import ExplicitRules
from napt_lab.nat_node.core.mapping import MADE_BY, Mapping, Session
from napt_lab.nat_node.core.packet import ICMP, PROTOCOL_NAMES, UDP
from napt_lab.nat_node.core.settings import Settings
from napt_lab.nat_node.core.table import Table
from napt_lab.nat_node.core.tcp_state import TcpState
from napt_lab.nat_node.core.verdict import Drop
from napt_lab.nat_node.core.watchers import Watchers
from napt_lab.nat_node.engines.nftables import conntrack, packet_log
from napt_lab.nat_node.engines.nftables.conntrack import Entry
from napt_lab.nat_node.system.announce import announce
from napt_lab.nat_node.system.netlink import Netlink, is_overrun

TABLE = "ip napt"
LONGEST_WAIT = 3600.0  # seconds
_LATE = 0.05  # seconds: the kernel counts in ticks
_DROPS = {drop.label: drop for drop in Drop}
_WHY = {TcpState.CLOSED: "closed", TcpState.RESET: "reset"}
_TRACKING = Path("/proc/sys/net/netfilter")


class KernelNat:
    """The control of one NAPT's kernel. Raises RuleRefused, or OSError."""

    def __init__(
        self,
        settings: Settings,
        inside: str,
        control: Path,
        rules: Iterable[Rule],
    ) -> None:
        self._settings = settings
        self._inside = socket.if_nametoindex(inside)
        self._path = control
        self._table = Table(settings, lambda _: 0)
        self._explicit = ExplicitRules(settings, self._table, Watchers())
        for protocol, external, internal in rules:
            self._explicit.add(protocol, external, internal, time.monotonic())
        for name in ("acct", "timestamp"):
            (_TRACKING / f"nf_conntrack_{name}").write_text("1")
        self._netlink = Netlink()
        self._told: Netlink | None = None
        self._log: Netlink | None = None
        self._known: dict[int, Entry] = {}
        self._unreadable = 0  # records and logged packets that could not be read
        self._look_at = float("inf")
        self._poll = select.epoll()
        self._control = Control(bind(control), self._poll, self, self._subscribed)

    def run(self) -> NoReturn:
        """Answer until SIGTERM."""
        signal.signal(signal.SIGTERM, _stop)
        signal.signal(signal.SIGINT, _stop)
        announce("ready", external=show_address(self._settings.external))
        try:
            while True:
                wait = max(0.0, self._look_at - time.monotonic()) if self._told else LONGEST_WAIT
                for descriptor, events in self._poll.poll(min(wait, LONGEST_WAIT)):
                    if self._told and descriptor == self._told.socket.fileno():
                        self._sessions_told()
                    elif self._log and descriptor == self._log.socket.fileno():
                        self._drops_told()
                    elif self._control.handles(descriptor):
                        self._control.handle(descriptor, events)
                if self._told and time.monotonic() >= self._look_at:
                    self._look()
        finally:
            self._path.unlink(missing_ok=True)

    # -- events -------------------------------------------------------------------------------

    def _subscribed(self, anyone: bool) -> None:
        if anyone and self._told is None:
            groups = (conntrack.NEW_GROUP, conntrack.UPDATED_GROUP, conntrack.ENDED_GROUP)
            self._told, self._log = Netlink(*groups), packet_log.listen()
            for netlink in (self._told, self._log):
                self._poll.register(netlink.socket, select.EPOLLIN)
            self._look()
        elif not anyone and self._told is not None and self._log is not None:
            for netlink in (self._told, self._log):
                self._poll.unregister(netlink.socket)
                netlink.close()
            self._told = self._log = None
            self._known.clear()

    def _look(self) -> None:
        """See to it that sessions end when their time has passed, and when the next one may."""
        self._known = {entry.id: entry for entry in self._entries()}
        now = time.monotonic()
        soonest = min((entry.expires_in for entry in self._known.values()), default=float("inf"))
        self._look_at = now + max(soonest, 0.0) + _LATE

    def _sessions_told(self) -> None:
        assert self._told is not None
        try:
            for kind, data in self._told.told():
                for entry in self._ours([data]):
                    self._session_told(kind, entry)
        except OSError as error:
            if not is_overrun(error):
                raise
            self._control.broadcast({"event": "lost", "count": 1})
            self._look()

    def _session_told(self, kind: int, entry: Entry) -> None:
        now = time.monotonic()
        if kind == conntrack.DELETE:
            last = self._known.pop(entry.id, entry)
            if not entry.inbound:
                state = entry.state if entry.state in _WHY else last.state
                why = "idle" if state is None else _WHY.get(state, "idle")
                self._broadcast(RuleEnded(self._mapping(entry, now), why))
            return
        if entry.id not in self._known and not entry.inbound:
            self._broadcast(RuleAdded(self._mapping(entry, now)))
        self._known[entry.id] = entry
        self._look_at = min(self._look_at, now + entry.expires_in + _LATE)

    def _drops_told(self) -> None:
        assert self._log is not None
        try:
            for logged in packet_log.logged(self._log):
                if logged is None or logged.prefix not in _DROPS:
                    self._unreadable += 1
                    continue
                side = "inside" if logged.interface == self._inside else "outside"
                self._broadcast(Dropped(_DROPS[logged.prefix], logged.packet, side))
        except OSError as error:
            if not is_overrun(error):
                raise
            self._control.broadcast({"event": "lost", "count": 1})

    def _broadcast(self, event: RuleAdded | RuleEnded | Dropped) -> None:
        now = time.monotonic()
        self._control.broadcast(report.event(event, now, wall, _carried_by_kernel))

    # -- sessions as rules --------------------------------------------------------------------

    def _entries(self) -> list[Entry]:
        return list(self._ours(conntrack.records(self._netlink)))

    def _ours(self, records: Iterable[bytes]) -> Iterator[Entry]:
        """The sessions of inside hosts, not the gateway's own. What is unreadable is counted."""
        settings = self._settings
        for record in records:
            try:
                entry = conntrack.read(record)
            except conntrack.Unreadable:
                self._unreadable += 1
                continue
            if settings.is_inside(entry.internal[0]) and entry.external[0] in settings.ours:
                yield entry

    def _mapping(self, entry: Entry, now: float) -> Mapping:
        started = now - (time.time() - entry.started) if entry.started else now
        made_by = MADE_BY.get(entry.protocol, "packet")
        mapping = Mapping(
            entry.id, entry.protocol, entry.internal, entry.external, entry.remote, started,
            made_by, False,
        )  # fmt: skip
        mapping.first_remote = entry.remote
        _use(mapping, entry, now)
        return mapping

    def _mappings(self) -> list[Mapping]:
        """Explicit rules with the sessions that they let in, and every other session."""
        now, explicit = time.monotonic(), {}
        for mapping in self._table:
            for session in list(mapping.sessions):
                mapping.end(session)
            mapping.packets_out = mapping.bytes_out = mapping.packets_in = mapping.bytes_in = 0
            explicit[(mapping.protocol, mapping.external)] = mapping
        others = []
        for entry in self._entries():
            holder = explicit.get((entry.protocol, entry.external)) if entry.inbound else None
            if holder:
                _use(holder, entry, now)
            else:
                others.append(self._mapping(entry, now))
        return [*explicit.values(), *others]

    # -- what a control client asks for (control_protocol.Engine) -----------------------------

    def list_rules(self, limit: int) -> tuple[int, list[Described]]:
        """How many rules there are, and the first of them."""
        mappings = self._mappings()
        return len(mappings), [self._describe(mapping) for mapping in mappings[:limit]]

    def list_ports(self) -> dict[str, str]:
        """The external ports of all rules."""
        return report.port_map(self._mappings(), self._settings)

    def add_rule(self, protocol: int, external: Endpoint, internal: Endpoint) -> Described:
        """Add an explicit rule. Raises RuleRefused, or OSError."""
        mapping = self._explicit.add(protocol, external, internal, time.monotonic())
        try:
            inside = f"{show_address(internal[0])} . {internal[1]}"
            _nft(f"add element {TABLE} {_map(protocol)} {{ {_key(mapping)} : {inside} }}")
        except OSError:
            self._explicit.remove(mapping)
            raise
        self._broadcast(RuleAdded(mapping))
        return self._describe(mapping)

    def remove_rule(self, protocol: int, external: Endpoint) -> Described:
        """Remove an explicit rule. Raises RuleRefused, or OSError."""
        mapping = self._explicit.find(protocol, external)
        _nft(f"delete element {TABLE} {_map(protocol)} {{ {_key(mapping)} }}")
        self._explicit.remove(mapping)
        for entry in self._entries():
            if entry.inbound and (entry.protocol, entry.external) == (protocol, mapping.external):
                conntrack.end(self._netlink, entry)
        self._broadcast(RuleEnded(mapping, "removed"))
        return self._describe(mapping)

    def flush(self) -> int:
        """Have the kernel end all sessions. Raises OSError."""
        ended = sum(len(mapping.sessions) for mapping in self._mappings())
        conntrack.end_all(self._netlink)
        return ended

    def change(self, changes: dict[str, str]) -> None:
        """Refuse: raises ValueError."""
        raise ValueError(f"the kernel's NAT cannot change {', '.join(changes)} while it runs")

    def stats(self) -> dict[str, Any]:
        """Counts of the kernel's sessions and of what its tables have dropped."""
        drops = {}
        for found in json.loads(_nft(f"list counters table {TABLE}", "-j"))["nftables"]:
            counter = found.get("counter")
            if counter and counter["packets"]:
                drops[counter["name"]] = counter["packets"]
        mappings = self._mappings()
        sessions = sum(len(mapping.sessions) for mapping in mappings)
        pid = os.getpid()
        counts = {"rules": len(mappings), "sessions": sessions, "unreadable": self._unreadable}
        return {"pid": pid, "drops": drops, **counts}

    def _describe(self, mapping: Mapping) -> Described:
        return report.rule(mapping, time.monotonic(), wall, _carried_by_kernel)


def _carried_by_kernel(_session: Session) -> bool:
    return True


def _use(mapping: Mapping, entry: Entry, now: float) -> None:
    """Put a session of the kernel's under its rule."""
    lifetime = _lifetime(entry)
    last_used = now - lifetime + entry.expires_in
    session = Session(entry.id, mapping, entry.remote, last_used, lifetime, entry.state)
    mapping.begin(session)
    mapping.packets_out += entry.sent[0]
    mapping.bytes_out += entry.sent[1]
    mapping.packets_in += entry.received[0]
    mapping.bytes_in += entry.received[1]


def _lifetime(entry: Entry) -> float:
    """How long silence may last in a session's state: the namespace's setting."""
    names = {
        None: {ICMP: "icmp_timeout", UDP: "udp_timeout"}.get(entry.protocol, "generic_timeout"),
        TcpState.OPENING_OUT: "tcp_timeout_syn_sent",
        TcpState.OPENING_IN: "tcp_timeout_syn_sent",
        TcpState.CLOSED: "tcp_timeout_time_wait",
        TcpState.RESET: "tcp_timeout_close",
    }
    return _timeout(names.get(entry.state, "tcp_timeout_established"))


@cache  # set before the NAPT starts, and a list may have 65,535 sessions
def _timeout(name: str) -> float:
    return float((_TRACKING / f"nf_conntrack_{name}").read_text())


def _map(protocol: int) -> str:
    return f"{PROTOCOL_NAMES[protocol]}_rules"


def _key(mapping: Mapping) -> str:
    address, port = mapping.external
    return f"{show_address(address)} . {port}"


def _nft(command: str, *options: str) -> str:
    """Run one nft command. Raises OSError with its own words."""
    done = subprocess.run(
        ["nft", *options, command], capture_output=True, text=True, check=False, timeout=10
    )
    if done.returncode:
        raise OSError(f"nft: {done.stderr.strip()}")
    return done.stdout


def _stop(_signal: int, _frame: FrameType | None) -> NoReturn:
    sys.exit(0)
