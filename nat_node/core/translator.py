"""What happens to one packet at a NAPT (RFC 3022; RFC 4787, RFC 5382, RFC 5508).

Theory of operation
-------------------
                 inside                                          outside
       10.0.0.7:40000 -> 151.101.1.69:80      24.9.3.7:1025 -> 151.101.1.69:80
                      ── outbound: the *source* becomes an external endpoint ──▶
                      ◀── inbound: the *destination* becomes internal again ──
       10.0.0.7:40000 <- 151.101.1.69:80      24.9.3.7:1025 <- 151.101.1.69:80

Outbound, a packet of a session that is not known yet makes one, and a rule for it if none fits.
Inbound, a packet passes only by a rule, and only if the filtering behavior admits its sender.
Hairpinning needs nothing of its own: a packet from the inside to our external address is first
an outbound packet, and the result is an inbound one (RFC 4787, REQ-9).

docs/one-packet.md follows one connection through all of this, call by call.

Nothing here does I/O or reads a clock. `now` is a time in seconds on any clock that does not run
backwards; packets are rewritten in the buffer they came in.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import NamedTuple

from napt_lab.nat_node.core import icmp, icmp_errors
from napt_lab.nat_node.core.behavior import Endpoint
from napt_lab.nat_node.core.events import Dropped, Event, RuleAdded, RuleEnded, describe
from napt_lab.nat_node.core.fragments import Fragments, datagram
from napt_lab.nat_node.core.half_open import Calls
from napt_lab.nat_node.core.identification import Identifications
from napt_lab.nat_node.core.mapping import MADE_BY, Mapping, Session
from napt_lab.nat_node.core.packet import (
    ECHO_REPLY,
    ECHO_REQUEST,
    ICMP,
    ICMP_ERRORS,
    TCP,
    UDP,
    Malformed,
    Packet,
    Side,
)
from napt_lab.nat_node.core.settings import Settings
from napt_lab.nat_node.core.table import Table
from napt_lab.nat_node.core.tcp_state import (
    ACK,
    CONTROL,
    NOT_KEPT_FROM_OUTSIDE,
    OVER,
    STEADY,
    SYN,
    TcpState,
    follow,
)
from napt_lab.nat_node.core.unsolicited import UnsolicitedSyns
from napt_lab.nat_node.core.verdict import Drop
from napt_lab.nat_node.fast_path.flow_cache import FlowCache

_OPENS = CONTROL | ACK  # of these only SYN is set in a segment that opens a connection

#: Refusals that the sender inside is told about (RFC 5508, REQ-8).
_TOLD = frozenset(
    {Drop.PORTS_EXHAUSTED, Drop.HOST_LIMIT, Drop.TABLE_FULL, Drop.PRIVATE_DESTINATION}
)
_TOLD_RATE = 100.0  # of them a second


class Verdict(NamedTuple):
    """What to send, and why the packet itself was dropped if it was."""

    packets: list[Packet]
    drop: Drop | None = None


class Translator:
    """A NAPT. `below(n)` gives a random number from 0 to n - 1; `notify` is told each event."""

    def __init__(
        self,
        settings: Settings,
        below: Callable[[int], int],
        notify: Callable[[Event], None] | None = None,
    ) -> None:
        self.settings = settings
        self.table = Table(settings, below)  # rules and sessions
        self.numbers = Identifications(below)  # of packets that may be cut into fragments
        self.flows = FlowCache(settings.external, self.numbers)  # the fast path
        self.fragments = Fragments()
        self.unsolicited = UnsolicitedSyns()  # that nobody has asked for, and no rule takes
        self.calls = Calls(settings.host_limit)  # connections from outside, not answered yet
        self._telling = icmp.Budget(_TOLD_RATE, burst=_TOLD_RATE)
        self.drops: Counter[Drop] = Counter()
        self.notify = notify
        opening, established, hold = (
            settings.tcp_transitory_idle, settings.tcp_idle, settings.closing_hold
        )  # fmt: skip
        self._tcp_lifetime = [
            hold if state in OVER else established if state in STEADY else opening
            for state in TcpState
        ]

    # -- packets ------------------------------------------------------------------------------

    def receive(
        self, data: bytearray | memoryview, side: Side, now: float, partial: bool = False
    ) -> Verdict:
        """Translate a packet as it came from a device: any bytes at all.

        `partial`: its TCP or UDP checksum is yet to be finished by a device (checksum.py).
        """
        try:
            packet = Packet(data, side, partial)
        except Malformed as error:
            self.drops[Drop.MALFORMED] += 1
            if self.notify:
                self.notify(Dropped(Drop.MALFORMED, str(error), side.value))
            return Verdict([], Drop.MALFORMED)
        return self.translate(packet, now)

    def translate(self, packet: Packet, now: float) -> Verdict:
        """Decide about one packet and rewrite it in place."""
        if packet.is_later_fragment:
            # Each sender inside has a share of what may wait, so nobody goes under many names.
            forged = packet.side is Side.INSIDE and not self.settings.is_inside(packet.source)
            result = Drop.SPOOFED_SOURCE if forged else self.fragments.later(packet, now)
        elif packet.is_fragment:
            key = datagram(packet)
            first = self._decide(packet, now)
            result = first
            if isinstance(first, Drop):
                self.fragments.first(key, first, now)
            elif first:
                result = [*first, *self.fragments.first(key, first[0], now)]
        else:
            result = self._decide(packet, now)
        if not isinstance(result, Drop):
            return Verdict(result)
        self.drops[result] += 1
        if self.notify:
            self.notify(Dropped(result, describe(packet), packet.side.value))
        if result in _TOLD and icmp.may_be_told(packet) and self._telling.spend(now):
            return Verdict(
                [icmp.unreachable(packet, icmp.PROHIBITED, self.settings.internal)], result
            )
        return Verdict([], result)

    def _decide(self, packet: Packet, now: float) -> list[Packet] | Drop:
        if packet.protocol not in (TCP, UDP, ICMP):
            return Drop.UNSUPPORTED_PROTOCOL
        if packet.has_source_route():
            return Drop.SOURCE_ROUTED
        to = packet.destination
        if packet.protocol == ICMP and packet.icmp_type in ICMP_ERRORS:
            result = icmp_errors.translate(packet, self.settings, self.table, self.numbers)
        elif packet.side is Side.INSIDE:
            result = self._outbound(packet, now)
        else:
            result = self._inbound(packet, now)
        if packet.side is Side.INSIDE and not packet.is_atomic and not isinstance(result, Drop):
            number = self.numbers.give(to, packet.protocol, packet.identification, len(packet.data))
            packet.rewrite_identification(number)
        return result

    def _outbound(self, packet: Packet, now: float) -> list[Packet] | Drop:
        """A packet from the inside."""
        settings = self.settings
        if not settings.is_inside(packet.source):
            return Drop.SPOOFED_SOURCE
        hairpin = packet.destination == settings.external
        if packet.protocol == ICMP:
            if packet.icmp_type == ECHO_REQUEST and hairpin:
                return icmp.answer_echo(packet)
            if packet.icmp_type != ECHO_REQUEST or hairpin:
                return Drop.ICMP_UNSUPPORTED
        if hairpin and not settings.hairpinning:
            return Drop.HAIRPINNING_OFF
        session = self._session_outbound(packet, now)
        if isinstance(session, Drop):
            return session
        mapping = session.mapping
        mapping.packets_out += 1
        mapping.bytes_out += len(packet.data)
        if packet.protocol == ICMP:
            packet.rewrite_source((settings.external, 0))
            packet.rewrite_identifier(mapping.external_port)
            return [packet]
        packet.rewrite_source((settings.external, mapping.external_port))
        if hairpin:
            delivered = self._deliver(packet, now)
            if isinstance(delivered, Drop):
                packet.rewrite_source(mapping.internal)  # as it came: so the drop is told
            return delivered
        self.flows.learn(session, packet)
        return [packet]

    def _session_outbound(self, packet: Packet, now: float) -> Session | Drop:
        """The session of a packet from the inside; a new one, and a new rule, if need be."""
        protocol = packet.protocol
        if protocol == ICMP:
            internal: Endpoint = (packet.source, packet.icmp_identifier)
        else:
            internal = (packet.source, packet.source_port)
        remote: Endpoint = (packet.destination, packet.destination_port)
        session = self.table.outgoing(protocol, internal, remote)
        if session is not None:
            if protocol == TCP:
                self._advance(session, packet.tcp_flags, True, now)
            else:
                session.use(now)
            return session

        # Whoever has a session has passed this: only the first packet is asked.
        if not self.settings.is_host(packet.source):
            return Drop.SPOOFED_SOURCE
        if self.settings.is_not_routable(packet.destination):
            return Drop.PRIVATE_DESTINATION
        if protocol == TCP and packet.tcp_flags & _OPENS != SYN:
            return Drop.NO_CONNECTION
        mapping = self.table.rule_for_internal(protocol, internal, remote)
        made: Mapping | None = None
        if mapping is None:
            rule = self.table.make_rule(protocol, internal, remote, now, MADE_BY[protocol])
            if isinstance(rule, Drop):
                return rule
            mapping = made = rule
        opened = self._open(mapping, remote, now, outbound=True)
        if made is not None:
            if isinstance(opened, Drop):
                self.table.drop_unused(made)
            elif self.notify:
                self.notify(RuleAdded(made))
        return opened

    def _inbound(self, packet: Packet, now: float) -> list[Packet] | Drop:
        """A packet from the outside."""
        settings = self.settings
        if packet.destination != settings.external:
            return Drop.NOT_FOR_US
        if packet.source == settings.external:
            return Drop.SPOOFED_SOURCE
        if packet.protocol != ICMP:
            return self._deliver(packet, now)
        if self._is_forged(packet):
            return Drop.SPOOFED_SOURCE
        if packet.icmp_type == ECHO_REQUEST:
            return icmp.answer_echo(packet)
        if packet.icmp_type != ECHO_REPLY:
            return Drop.ICMP_UNSUPPORTED
        session = self.table.incoming(ICMP, packet.icmp_identifier, (packet.source, 0))
        if session is None:
            return Drop.NO_RULE
        mapping = session.mapping
        mapping.packets_in += 1
        mapping.bytes_in += len(packet.data)
        packet.rewrite_destination((mapping.internal[0], 0))
        packet.rewrite_identifier(mapping.internal[1])
        return [packet]

    def _deliver(self, packet: Packet, now: float) -> list[Packet] | Drop:
        """A TCP or UDP packet to our external address: in by a rule, or not at all."""
        protocol, port = packet.protocol, packet.destination_port
        remote: Endpoint = (packet.source, packet.source_port)
        session = self.table.incoming(protocol, port, remote)
        if session is not None:
            mapping = session.mapping
            if protocol == TCP:
                self._advance(session, packet.tcp_flags, False, now)
        else:
            if packet.side is Side.OUTSIDE and self._is_forged(packet):
                return Drop.SPOOFED_SOURCE
            opens = protocol == TCP and packet.tcp_flags & _OPENS == SYN
            rule = self.table.rule_for_external(protocol, port, remote)
            if rule is None or not self.table.admits(rule, remote):
                if opens and self.settings.refuse_syn and packet.side is Side.OUTSIDE:
                    self.unsolicited.note(packet, now)
                return Drop.NO_RULE if rule is None else Drop.FILTERED
            mapping = rule
            # UDP from outside needs no session: none is made for a sender who may be forged.
            if protocol == TCP:
                if not opens:
                    return Drop.NO_CONNECTION
                opened = self._open(mapping, remote, now, outbound=False)
                if isinstance(opened, Drop):
                    return opened
        mapping.packets_in += 1
        mapping.bytes_in += len(packet.data)
        packet.rewrite_destination(mapping.internal)
        if session is not None and packet.side is Side.OUTSIDE:
            self.flows.learn(session, packet)
        return [packet]

    def _is_forged(self, packet: Packet) -> bool:
        """Whether a packet from the outside claims a source that cannot be there."""
        return self.settings.is_not_routable(packet.source)

    # -- sessions -----------------------------------------------------------------------------

    def _open(
        self, mapping: Mapping, remote: Endpoint, now: float, outbound: bool
    ) -> Session | Drop:
        settings = self.settings
        if mapping.protocol == TCP:
            if not outbound and not self.calls.may_come(mapping.internal[0]):
                return Drop.UNANSWERED
            state = TcpState.OPENING_OUT if outbound else TcpState.OPENING_IN
            session = self.table.open(mapping, remote, now, self._tcp_lifetime[state], state)
            if not isinstance(session, Drop):
                if not outbound:
                    self.calls.add(session)
                if self.unsolicited:
                    self.unsolicited.forget(mapping.external_port, remote)
            return session
        lifetime = settings.udp_idle if mapping.protocol == UDP else settings.icmp_idle
        return self.table.open(mapping, remote, now, lifetime)

    def _advance(self, session: Session, flags: int, outbound: bool, now: float) -> None:
        """Follow a TCP connection by one segment."""
        assert session.state is not None
        state = follow(session.state, flags, outbound)
        if state is session.state:
            if outbound or state not in NOT_KEPT_FROM_OUTSIDE:
                session.use(now)
            return
        if not (state is TcpState.REFUSED and outbound and session.state is TcpState.OPENING_IN):
            session.last_used = now  # but not by a refusal (RFC 7857, section 7.1)
        session.state = state
        self.calls.advance(session)
        before, session.lifetime = session.lifetime, self._tcp_lifetime[state]
        if session.lifetime < before:
            self.table.deadlines.schedule(session)
        if self.table.memory:
            self.table.memory.advance(session)
        if state not in STEADY:
            self.flows.forget(session)

    def _close(self, session: Session, why: str) -> Mapping | None:
        """End a session; gives its rule if that has ended with it."""
        self.flows.forget(session)
        self.calls.remove(session)
        mapping = self.table.close(session)
        if mapping and self.notify:
            self.notify(RuleEnded(mapping, why))
        return mapping

    # -- time ---------------------------------------------------------------------------------

    def expire(self, now: float) -> list[Packet]:
        """End every session, and with its last session every rule, whose time has passed.

        Gives packets to send, each towards its own `side`.
        """
        for session in self.table.deadlines.due(now):
            why = "idle"
            if session.state is TcpState.CLOSED:
                why = "closed"
            elif session.state in OVER:
                why = "reset"
            ended = self._close(session, why)
            if ended is not None:
                self.table.hold_port(ended, now)
        self.fragments.expire(now)
        if self.fragments.lost:
            self.drops[Drop.FRAGMENT_LOST] += self.fragments.lost
            self.fragments.lost = 0
        return self.unsolicited.due(now)

    def next_deadline(self) -> float | None:
        """When `expire` must be called again at the latest; None while nothing can expire."""
        times = [
            time
            for time in (
                self.table.deadlines.next(),
                self.fragments.next_deadline(),
                self.unsolicited.next_deadline(),
            )
            if time is not None
        ]
        return min(times, default=None)

    # -- explicit rules -----------------------------------------------------------------------

    def add_rule(
        self, protocol: int, external_port: int, internal: Endpoint, now: float
    ) -> Mapping:
        """Add an explicit rule (port forwarding). Raises table.RuleRefused."""
        mapping = self.table.add_explicit(protocol, external_port, internal, now)
        if self.notify:
            self.notify(RuleAdded(mapping))
        return mapping

    def remove_rule(self, protocol: int, external_port: int) -> Mapping:
        """Remove an explicit rule and end its sessions. Raises table.RuleRefused."""
        mapping = self.table.explicit(protocol, external_port)
        for session in list(mapping.sessions.values()):
            self._close(session, "removed")
        self.table.remove_explicit(mapping)
        if mapping.lease:
            mapping.lease.ended = "removed"
        if self.notify:
            self.notify(RuleEnded(mapping, "removed"))
        return mapping
