"""What happens to one packet at a NAPT (RFC 3022; RFC 4787, RFC 5382, RFC 5508).

Theory of operation
-------------------
                 inside                                          outside
       10.0.0.7:40000 -> 151.101.1.69:80      24.9.3.7:1025 -> 151.101.1.69:80
                      ── outbound: the *source* becomes an external endpoint ──▶
                      ◀── inbound: the *destination* becomes internal again ──
       10.0.0.7:40000 <- 151.101.1.69:80      24.9.3.7:1025 <- 151.101.1.69:80

Outbound, the first packet of a session makes the session, and a rule if none fits. Inbound, a
packet passes only by a rule, and only if the filtering behavior admits its sender. Hairpinning is
both: a packet from the inside to our external address is first an outbound packet, and the result
is an inbound one (RFC 4787, REQ-9).

docs/one-packet.md follows one connection through all of this, call by call.

Nothing here does I/O or reads a clock. `now` is a time in seconds on any clock that does not run
backwards; packets are rewritten in the buffer they came in.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from napt_lab.nat_node.core import icmp
from napt_lab.nat_node.core.behavior import Endpoint
from napt_lab.nat_node.core.events import Dropped, RuleAdded, RuleEnded, describe
from napt_lab.nat_node.core.explicit_rules import ExplicitRules
from napt_lab.nat_node.core.fragments import Fragments, datagram
from napt_lab.nat_node.core.icmp_errors import IcmpErrors
from napt_lab.nat_node.core.identification import Identifications
from napt_lab.nat_node.core.mapping import Mapping, Session
from napt_lab.nat_node.core.packet import (
    ECHO_REQUEST,
    ICMP,
    ICMP_ERRORS,
    ICMP_QUERIES,
    ICMP_REPLIES,
    INSIDE,
    OUTSIDE,
    PIECE,
    PROTOCOL_NAMES,
    TCP,
    Malformed,
    Packet,
    Side,
)
from napt_lab.nat_node.core.sessions import Sessions
from napt_lab.nat_node.core.settings import Settings
from napt_lab.nat_node.core.table import Table
from napt_lab.nat_node.core.tcp_state import ACK, CONTROL, SYN
from napt_lab.nat_node.core.unsolicited import UnsolicitedSyns
from napt_lab.nat_node.core.verdict import Drop
from napt_lab.nat_node.core.watchers import Watchers

_OPENS = CONTROL | ACK  # of these only SYN is set in a segment that opens a connection

#: Refusals that the sender inside is told about (RFC 5508, REQ-8).
_TOLD = frozenset(
    {
        Drop.PORTS_EXHAUSTED,
        Drop.SUBSCRIBER_LIMIT,
        Drop.HOST_LIMIT,
        Drop.TABLE_FULL,
        Drop.PRIVATE_DESTINATION,
    }
)
_TOLD_RATE = 100.0  # of them a second


@dataclass(slots=True)
class Verdict:
    """What to send, and why the packet itself was dropped if it was."""

    packets: list[Packet]
    drop: Drop | None = None


class Translator:
    """A NAPT. `below(n)` gives a random number from 0 to n - 1."""

    def __init__(self, settings: Settings, below: Callable[[int], int]) -> None:
        self.settings = settings
        self.watchers = Watchers()
        self.table = Table(settings, below)  # finds rules and sessions
        self.sessions = Sessions(settings, self.table, self.watchers)  # begins and ends them
        self.explicit = ExplicitRules(settings, self.table, self.watchers)
        self.identifications = Identifications(below)  # of packets that may be fragmented
        self._icmp_errors = IcmpErrors(settings, self.table, self.identifications)
        self.fragments = Fragments()
        self.unsolicited = UnsolicitedSyns(settings.refuse_after)  # SYNs that no rule admits
        self._telling = icmp.Budget(_TOLD_RATE, burst=_TOLD_RATE)
        self.drops: Counter[Drop] = Counter()

    # -- packets ------------------------------------------------------------------------------

    def receive(
        self, data: bytearray | memoryview, side: Side, now: float, partial: bool = False
    ) -> Verdict:
        """Translate a packet as it came from a device: any bytes at all.

        `partial`: a device will finish its TCP or UDP checksum later (checksum.py).
        """
        try:
            packet = Packet(data, side, partial)
        except Malformed as error:
            self.drops[Drop.MALFORMED] += 1
            if self.watchers.notify:
                self.watchers.notify(Dropped(Drop.MALFORMED, str(error), side.value))
            return Verdict([], Drop.MALFORMED)
        return self.translate(packet, now)

    def translate(self, packet: Packet, now: float) -> Verdict:
        """Decide about one packet and rewrite it in place."""
        # Not `packet.is_fragment`: a call for every packet would be felt.
        is_piece = packet.fragment & PIECE
        result = self._fragment(packet, now) if is_piece else self._decide(packet, now)
        if not isinstance(result, Drop):
            return Verdict(result)
        self.drops[result] += 1
        if self.watchers.notify:
            self.watchers.notify(Dropped(result, describe(packet), packet.side.value))
        if result in _TOLD and icmp.may_be_told(packet) and self._telling.spend(now):
            return Verdict(
                [icmp.unreachable(packet, icmp.PROHIBITED, self.settings.internal)], result
            )
        return Verdict([], result)

    def _fragment(self, packet: Packet, now: float) -> list[Packet] | Drop:
        """A piece of a packet: the first one is decided about, the others follow it."""
        if packet.is_later_fragment:
            # Check the source first: otherwise a host could evade its share by spoofing.
            if packet.side is INSIDE and not self.settings.is_inside(packet.source):
                return Drop.SPOOFED_SOURCE
            return self.fragments.later(packet, now)
        key = datagram(packet)
        # A first fragment that comes twice must stay one datagram with the later ones.
        result = self._decide(packet, now, self.fragments.identification(key))
        if isinstance(result, Drop):
            self.fragments.first(key, result, now)
        else:
            result += self.fragments.first(key, result[0], now)
        return result

    def _decide(
        self, packet: Packet, now: float, identification: int | None = None
    ) -> list[Packet] | Drop:
        """A whole packet, or its first fragment; `identification` is what to give it, if known."""
        if packet.protocol not in PROTOCOL_NAMES:
            return Drop.UNSUPPORTED_PROTOCOL
        if packet.header_length > 20 and packet.has_source_route():
            return Drop.SOURCE_ROUTED
        to = packet.destination
        if packet.protocol == ICMP and packet.icmp_type in ICMP_ERRORS:
            result = self._icmp_errors.translate(packet)
        elif packet.side is INSIDE:
            result = self._outbound(packet, now)
        else:
            result = self._inbound(packet, now)
        if packet.side is INSIDE and not packet.is_atomic and not isinstance(result, Drop):
            if identification is None:
                identification = self.identifications.give(
                    to, packet.protocol, packet.identification, len(packet.data)
                )
            packet.rewrite_identification(identification)
        return result

    def _outbound(self, packet: Packet, now: float) -> list[Packet] | Drop:
        """A packet from the inside."""
        settings = self.settings
        if not settings.is_inside(packet.source):
            return Drop.SPOOFED_SOURCE
        hairpin = packet.destination in settings.ours
        if packet.protocol == ICMP:
            if packet.icmp_type == ECHO_REQUEST and hairpin:
                return icmp.answer_echo(packet)
            if packet.icmp_type not in ICMP_QUERIES or hairpin:
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
            packet.rewrite_source(mapping.external)
            packet.rewrite_identifier(mapping.external[1])
            return [packet]
        packet.rewrite_source(mapping.external)
        if hairpin:
            delivered = self._deliver(packet, now)
            if isinstance(delivered, Drop):
                packet.rewrite_source(mapping.internal)  # as it came: so the drop is told
            return delivered
        for tell in self.watchers.translated:
            tell(session, packet)
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
                self.sessions.advance(session, packet.tcp_flags, True, now)
            else:
                session.last_used = now
            return session

        # Only the first packet of a session is checked for these.
        if not self.settings.is_host(packet.source):
            return Drop.SPOOFED_SOURCE
        if self.settings.is_not_routable(packet.destination):
            return Drop.PRIVATE_DESTINATION
        if protocol == TCP:
            if packet.tcp_flags & _OPENS != SYN:
                return Drop.NO_CONNECTION
            opened = self.sessions.begin(protocol, internal, remote, now)
            if not isinstance(opened, Drop):
                self.unsolicited.forget(opened.mapping.external, remote)
            return opened
        return self.sessions.begin(protocol, internal, remote, now)

    def _inbound(self, packet: Packet, now: float) -> list[Packet] | Drop:
        """A packet from the outside."""
        settings = self.settings
        if packet.destination not in settings.ours:
            return Drop.NOT_FOR_US
        if packet.source in settings.ours:
            return Drop.SPOOFED_SOURCE
        if packet.protocol != ICMP:
            return self._deliver(packet, now)
        if self._is_forged(packet):
            return Drop.SPOOFED_SOURCE
        if packet.icmp_type == ECHO_REQUEST:
            return icmp.answer_echo(packet)
        if packet.icmp_type not in ICMP_REPLIES:
            return Drop.ICMP_UNSUPPORTED
        external = (packet.destination, packet.icmp_identifier)
        session = self.table.incoming(ICMP, external, (packet.source, 0))
        if session is None:
            return Drop.NO_RULE
        mapping = session.mapping
        mapping.packets_in += 1
        mapping.bytes_in += len(packet.data)
        packet.rewrite_destination(mapping.internal)
        packet.rewrite_identifier(mapping.internal[1])
        return [packet]

    def _deliver(self, packet: Packet, now: float) -> list[Packet] | Drop:
        """A TCP or UDP packet to our external address: in by a rule, or not at all."""
        protocol = packet.protocol
        external: Endpoint = (packet.destination, packet.destination_port)
        remote: Endpoint = (packet.source, packet.source_port)
        rule = self.table.ports.rule(protocol, external, remote)
        session = None if rule is None else self.table.session(rule, remote)
        if session is not None:
            mapping = session.mapping
            if protocol == TCP:
                self.sessions.advance(session, packet.tcp_flags, False, now)
        else:
            if packet.side is OUTSIDE and self._is_forged(packet):
                return Drop.SPOOFED_SOURCE
            opens = protocol == TCP and packet.tcp_flags & _OPENS == SYN
            if rule is None or not self.table.admits(rule, remote):
                if opens and self.settings.refuse_syn and packet.side is OUTSIDE:
                    self.unsolicited.note(packet, now)
                return Drop.NO_RULE if rule is None else Drop.FILTERED
            mapping = rule
            # UDP from outside makes no session: its sender may be forged.
            if protocol == TCP:
                if not opens:
                    return Drop.NO_CONNECTION
                opened = self.sessions.open(mapping, remote, now, outbound=False)
                if isinstance(opened, Drop):
                    return opened
                self.unsolicited.forget(external, remote)
        mapping.packets_in += 1
        mapping.bytes_in += len(packet.data)
        packet.rewrite_destination(mapping.internal)
        if session is not None and packet.side is OUTSIDE:
            for tell in self.watchers.translated:
                tell(session, packet)
        return [packet]

    def _is_forged(self, packet: Packet) -> bool:
        """Whether a packet from the outside claims a source that cannot be there."""
        return self.settings.is_not_routable(packet.source)

    # -- time ---------------------------------------------------------------------------------

    def expire(self, now: float) -> list[Packet]:
        """End every session, and with its last session every rule, whose time has passed.

        Gives packets to send, each towards its own `side`.
        """
        self.sessions.expire(now)
        self.fragments.expire(now)
        if self.fragments.lost:
            self.drops[Drop.FRAGMENT_LOST] += self.fragments.lost
            self.fragments.lost = 0
        return self.unsolicited.due(now)

    def next_deadline(self) -> float | None:
        """When `expire` must be called again at the latest; None while nothing can expire."""
        deadline = self.sessions.deadlines.next()
        for other in (self.fragments.next_deadline(), self.unsolicited.next_deadline()):
            if other is not None and (deadline is None or other < deadline):
                deadline = other
        return deadline

    def change(self, settings: Settings) -> None:
        """Go on with other choices, and the same addresses and rules.

        What there is stays as it was made: mapping and ports are chosen for new rules, limits hold
        for new ones. Filtering and times hold for all at once. Raises ValueError, and has changed
        nothing, if the rules do not fit: two share a port that must have one, or one is on a port
        of another host's block.
        """
        self.table.change(settings)
        self.sessions.change(settings)
        self.explicit.settings = settings
        self.unsolicited.wait = settings.refuse_after
        self.settings = settings

    def adopt(self) -> None:
        """Go on with a table that was put back."""
        self.sessions.adopt()
        self.explicit.adopt()

    def flush(self) -> int:
        """End all sessions now, and with them all rules but the explicit ones; how many."""
        sessions = [session for mapping in self.table for session in mapping.sessions]
        for session in sessions:
            self.sessions.close(session, "flushed")
        return len(sessions)

    # -- explicit rules -----------------------------------------------------------------------

    def add_rule(
        self, protocol: int, external: Endpoint, internal: Endpoint, now: float
    ) -> Mapping:
        """Add an explicit rule (port forwarding). Raises explicit_rules.RuleRefused."""
        mapping = self.explicit.add(protocol, external, internal, now)
        if self.watchers.notify:
            self.watchers.notify(RuleAdded(mapping))
        return mapping

    def remove_rule(self, protocol: int, external: Endpoint, now: float) -> Mapping:
        """Remove an explicit rule and end its sessions. Raises explicit_rules.RuleRefused."""
        mapping = self.explicit.find(protocol, external)
        for session in list(mapping.sessions):
            self.sessions.close(session, "removed")
        self.explicit.remove(mapping)
        self.table.ports.hold(mapping, now)
        if mapping.lease:
            mapping.lease.ended = "removed"
        if self.watchers.notify:
            self.watchers.notify(RuleEnded(mapping, "removed"))
        return mapping
