"""How sessions begin, go on and end, and with them the rules that packets make.

A packet from the inside begins a session, and a rule if none fits. A TCP connection's segments
change how long the session may be unused (tcp_state.py). A session that is unused for that long
ends; a rule that a packet made ends with its last session.

No inside host may have more sessions than its limit, answered or not, so that none can take what
the others need (RFC 6888, REQ-4). The same holds for external ports (external_ports.py).
"""

from __future__ import annotations

from collections import Counter

from napt_lab.nat_node.core.behavior import Endpoint
from napt_lab.nat_node.core.deadlines import Deadlines
from napt_lab.nat_node.core.events import RuleAdded, RuleEnded
from napt_lab.nat_node.core.half_open import HalfOpen
from napt_lab.nat_node.core.mapping import MADE_BY, Mapping, Session
from napt_lab.nat_node.core.packet import TCP, UDP
from napt_lab.nat_node.core.settings import Settings
from napt_lab.nat_node.core.table import Table
from napt_lab.nat_node.core.tcp_state import NOT_KEPT_FROM_OUTSIDE, OVER, STEADY, TcpState, follow
from napt_lab.nat_node.core.verdict import Drop
from napt_lab.nat_node.core.watchers import Watchers

_OPENING_OUT, _OPENING_IN, _REFUSED = TcpState.OPENING_OUT, TcpState.OPENING_IN, TcpState.REFUSED
_HALF_OPEN = (TcpState.OPENING_IN, TcpState.ANSWERED)
_CLOSED = TcpState.CLOSED


class Sessions:
    """The sessions of one NAPT, and their deadlines. Times are in seconds."""

    def __init__(self, settings: Settings, table: Table, watchers: Watchers) -> None:
        self._table = table
        self._watchers = watchers
        self.deadlines: Deadlines[Session] = Deadlines()
        self.by_host: Counter[int] = Counter()  # how many, by the inside host's address
        self.half_open = HalfOpen()
        self._follow(settings)

    def change(self, settings: Settings) -> None:
        """Go on with other settings: times hold for all sessions, limits for new ones."""
        self._follow(settings)
        for mapping in self._table:
            for session in mapping.sessions:
                lifetime = self.lifetime(mapping.protocol, session.state)
                if lifetime != session.lifetime:
                    session.lifetime = lifetime
                    self.deadlines.schedule(session)
                    for tell in self._watchers.changed:
                        tell(session)

    def _follow(self, settings: Settings) -> None:
        self._settings = settings
        self._project = settings.mapping.project
        self.half_open.limit_by(settings.host_limit)
        self._tcp_lifetime = [
            settings.closing_hold if state in OVER
            else settings.tcp_idle if state in STEADY
            else settings.tcp_transitory_idle
            for state in TcpState
        ]  # fmt: skip

    def lifetime(self, protocol: int, state: TcpState | None) -> float:
        """For how long a session may be unused."""
        if state is not None:
            return self._tcp_lifetime[state]
        return self._settings.udp_idle if protocol == UDP else self._settings.icmp_idle

    # -- beginning ----------------------------------------------------------------------------

    def begin(
        self, protocol: int, internal: Endpoint, remote: Endpoint, now: float
    ) -> Session | Drop:
        """A session for a packet from the inside, and a rule if none fits."""
        table = self._table
        mapping = table.rule_for_internal(protocol, internal, remote)
        if mapping is not None:
            return self.open(mapping, remote, now, outbound=True)
        refusal = self._refusal(internal[0])
        if refusal is not None:
            return refusal
        external = table.ports.choose(protocol, internal, remote, now)
        if external is None:
            has_room = table.ports.has_room(protocol, internal[0])
            return Drop.PORTS_EXHAUSTED if has_room else Drop.SUBSCRIBER_LIMIT
        projected = self._project(remote)
        mapping = Mapping(
            table.next_serial(),
            protocol,
            internal,
            external,
            projected,
            now,
            MADE_BY[protocol],
            False,
        )
        mapping.first_remote = remote
        table.insert_rule(mapping)
        session = self._enter(mapping, remote, now, _OPENING_OUT if protocol == TCP else None)
        if self._watchers.notify:
            self._watchers.notify(RuleAdded(mapping))
        return session

    def open(
        self, mapping: Mapping, remote: Endpoint, now: float, *, outbound: bool
    ) -> Session | Drop:
        """A new session on a mapping; `outbound`: it begins with a packet from the inside."""
        host, protocol = mapping.internal[0], mapping.protocol
        state = None
        if protocol == TCP:
            state = _OPENING_OUT if outbound else _OPENING_IN
            if not outbound and not self.half_open.has_room(host):
                return Drop.UNANSWERED
        refusal = self._refusal(host)
        if refusal is not None:
            return refusal
        if self._table.outgoing(protocol, mapping.internal, remote) is not None:
            return Drop.SESSION_CLASH
        return self._enter(mapping, remote, now, state)

    def _enter(
        self, mapping: Mapping, remote: Endpoint, now: float, state: TcpState | None
    ) -> Session:
        lifetime = self.lifetime(mapping.protocol, state)
        session = Session(self._table.next_serial(), mapping, remote, now, lifetime, state)
        self._table.insert_session(session)
        self._count(session)
        for tell in self._watchers.opened:
            tell(session)
        return session

    def adopt(self) -> None:
        """Go on with the sessions of a table that was put back."""
        for mapping in self._table:
            for session in mapping.sessions:
                self._count(session)

    def _refusal(self, host: int) -> Drop | None:
        """Why there may not be one more session of an inside host, if so."""
        if self.by_host[host] >= self._settings.host_limit:
            return Drop.HOST_LIMIT
        if self._table.session_count >= self._settings.session_limit:
            return Drop.TABLE_FULL
        return None

    def _count(self, session: Session) -> None:
        self.by_host[session.mapping.internal[0]] += 1
        if session.state in _HALF_OPEN:
            self.half_open.add(session)
        self.deadlines.schedule(session)

    # -- going on -----------------------------------------------------------------------------

    def advance(self, session: Session, flags: int, outbound: bool, now: float) -> None:
        """Follow a TCP connection by one segment."""
        before = session.state
        assert before is not None
        state = follow(before, flags, outbound)
        if state is before:
            if outbound or state not in NOT_KEPT_FROM_OUTSIDE:
                session.last_used = now
            return
        if not (state is _REFUSED and outbound and before is _OPENING_IN):
            session.last_used = now  # but not by a refusal (RFC 7857, section 7.1)
        session.state = state
        self.half_open.advance(session)
        lifetime = self._tcp_lifetime[state]
        shrinks, session.lifetime = lifetime < session.lifetime, lifetime
        if shrinks:
            self.deadlines.schedule(session)
        for tell in self._watchers.changed:
            tell(session)

    # -- ending -------------------------------------------------------------------------------

    def close(self, session: Session, why: str) -> Mapping | None:
        """End a session; gives its rule if that has ended with it."""
        mapping = session.mapping
        self._table.remove_session(session)
        host = mapping.internal[0]
        self.by_host[host] -= 1
        if not self.by_host[host]:
            del self.by_host[host]  # keys come from packets, and must not pile up
        self.half_open.remove(session)
        self.deadlines.cancel(session)
        for tell in self._watchers.closed:
            tell(session)
        if mapping.sessions or mapping.explicit:
            return None
        self._table.remove_rule(mapping)
        for tell_rule in self._watchers.rule_ended:
            tell_rule(mapping)
        if self._watchers.notify:
            self._watchers.notify(RuleEnded(mapping, why))
        return mapping

    def expire(self, now: float) -> None:
        """End every session that was unused for too long."""
        for session in self.deadlines.due(now):
            state = session.state
            why = "closed" if state is _CLOSED else "reset" if state in OVER else "idle"
            ended = self.close(session, why)
            if ended is not None:
                self._table.ports.hold(ended, now)
