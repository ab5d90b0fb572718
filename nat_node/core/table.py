"""All rules, found from the inside and from the outside.

Theory of operation
-------------------
Four dictionaries, two of mappings and two of sessions:

    by_internal  (protocol, internal endpoint, remote as *mapping* sees it)   -> Mapping
    by_external  (protocol, external port,     remote as *sharing* sees it)   -> Mapping
    outgoing     (protocol, internal endpoint, remote endpoint)               -> Session
    incoming     (protocol, external port,     remote endpoint)               -> Session

`by_internal` is the mapping behavior itself: two packets share a mapping when their keys are
equal. `by_external` says when an external port is *free*: where both mapping and filtering look
at the remote endpoint, one port can serve several rules at once, as long as their remote
endpoints differ. That is why the course's limit of 65,536 connections is one per remote endpoint
there, and one in all where mapping is endpoint-independent (RFC 4787, REQ-3, asks for the latter).

    mapping and filtering address-and-port-dependent: one port, two rules
        10.0.0.7:40000 -> 24.9.3.7:1025   only for 151.101.1.69:80
        10.0.0.8:40000 -> 24.9.3.7:1025   only for 198.51.100.10:80
    filtering endpoint-independent: a packet to 24.9.3.7:1025 from anybody at all must have *one*
    inside endpoint to go to, so the second rule gets another port, whatever the mapping behavior

Explicit rules hold for every remote endpoint, so they stand under `ANY` in both.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Iterator
from typing import TypeVar

from napt_lab.nat_node.core.behavior import ANY, Behavior, Endpoint, show, show_address
from napt_lab.nat_node.core.deadlines import Deadlines
from napt_lab.nat_node.core.mapping import BY_HAND, Mapping, Session
from napt_lab.nat_node.core.packet import PROTOCOL_NAMES, TCP, UDP
from napt_lab.nat_node.core.ports import HeldPorts, PortPool, SharedPorts, Vacancies, part_of
from napt_lab.nat_node.core.settings import Settings
from napt_lab.nat_node.core.tcp_state import TcpState
from napt_lab.nat_node.core.verdict import Drop
from napt_lab.nat_node.persistence.memory import Memory

Key = tuple[int, Endpoint, Endpoint]
PortKey = tuple[int, int, Endpoint]
T = TypeVar("T", bound=Hashable)


class RuleRefused(ValueError):
    """An explicit rule that cannot be; the text says why."""


class Table:
    """The rules of one NAPT. `below(n)` returns a random number from 0 to n - 1."""

    def __init__(self, settings: Settings, below: Callable[[int], int]) -> None:
        self.settings = settings
        self.deadlines: Deadlines[Session] = Deadlines()
        self.session_count: Counter[int] = Counter()  # by inside host's address
        self.static: dict[int, Mapping] = {}  # explicit rules by hand, by serial number
        self._sharing = settings.mapping.looser(settings.filtering)
        self._pool = PortPool(settings.ports, settings.port_assignment, settings.port_parity, below)
        # How many ports of the pool are taken: by protocol, part of the pool, and whom for.
        self._ports_taken: Counter[tuple[int, int, Endpoint]] = Counter()
        self._held = HeldPorts()
        # What `by_external` cannot tell where a port may have several rules.
        shares = self._sharing.project((1, 1)) != ANY
        self._shared = SharedPorts(settings.ports) if shares else None
        self._by_internal: dict[Key, Mapping] = {}
        self._by_external: dict[PortKey, Mapping] = {}
        self._outgoing: dict[Key, Session] = {}
        self._incoming: dict[PortKey, Session] = {}
        # Address-dependent filtering asks whether *any* session of a mapping is with an address.
        self._addresses: Counter[tuple[int, int]] = Counter()
        self._serial = 0
        self.memory: Memory | None = None

    # -- finding ------------------------------------------------------------------------------

    def outgoing(self, protocol: int, internal: Endpoint, remote: Endpoint) -> Session | None:
        """The session of a packet from the inside."""
        return self._outgoing.get((protocol, internal, remote))

    def incoming(self, protocol: int, port: int, remote: Endpoint) -> Session | None:
        """The session of a packet to our external address."""
        return self._incoming.get((protocol, port, remote))

    def rule_for_internal(
        self, protocol: int, internal: Endpoint, remote: Endpoint
    ) -> Mapping | None:
        """The rule that a new session from the inside would use. Explicit ones come first."""
        return self._by_internal.get((protocol, internal, ANY)) or self._by_internal.get(
            (protocol, internal, self.settings.mapping.project(remote))
        )

    def rule_for_external(self, protocol: int, port: int, remote: Endpoint) -> Mapping | None:
        """The rule that a new session from the outside would use. Explicit ones come first."""
        return self._by_external.get((protocol, port, ANY)) or self._by_external.get(
            (protocol, port, self._sharing.project(remote))
        )

    def rule_for_anyone(self, protocol: int, internal: Endpoint) -> Mapping | None:
        """The rule of an internal endpoint that holds for every remote one."""
        return self._by_internal.get((protocol, internal, ANY))

    def admits(self, mapping: Mapping, remote: Endpoint) -> bool:
        """The filtering behavior: may this remote endpoint use the rule from outside?

        Yes if the inside has sent to it, as far as the filtering behavior can tell the
        difference. An explicit rule is an invitation to everyone, if its lease has no filter.
        """
        if mapping.explicit:
            return mapping.lease is None or mapping.lease.admits(remote)
        if self.settings.filtering is Behavior.ENDPOINT_INDEPENDENT:
            return True
        if self.settings.filtering is Behavior.ADDRESS_AND_PORT_DEPENDENT:
            return remote in mapping.sessions
        return (mapping.serial, remote[0]) in self._addresses

    def received_by(self, protocol: int, internal: Endpoint, remote: Endpoint) -> Mapping | None:
        """The rule by which a packet from a remote endpoint has come to an internal one."""
        session = self.outgoing(protocol, internal, remote)
        if session is not None:
            return session.mapping
        if protocol != UDP:
            return None
        # A datagram from outside makes no session.
        mapping = self.rule_for_internal(protocol, internal, remote)
        return mapping if mapping is not None and self.admits(mapping, remote) else None

    def __len__(self) -> int:
        return len(self._by_internal)

    def __iter__(self) -> Iterator[Mapping]:
        return iter(list(self._by_internal.values()))

    # -- rules made by packets ----------------------------------------------------------------

    def make_rule(
        self, protocol: int, internal: Endpoint, remote: Endpoint, now: float, made_by: str
    ) -> Mapping | Drop:
        """A new mapping for a packet from the inside, on a free external port."""
        shared_by = self._sharing.project(remote)
        by_external, held = self._by_external, self._held
        held.release(now)

        def is_free(port: int) -> bool:
            return (
                (protocol, port, shared_by) not in by_external
                and (shared_by == ANY or (protocol, port, ANY) not in by_external)
                and (protocol, port) not in held
            )

        def taken(part: int) -> int:
            count = self._ports_taken.get((protocol, part, shared_by), 0)
            if shared_by != ANY:
                count += self._ports_taken.get((protocol, part, ANY), 0)
            return count + held.count.get((protocol, part), 0)

        port = self._pool.choose(internal[1], is_free, taken)
        if port is None:
            return Drop.PORTS_EXHAUSTED
        projected = self.settings.mapping.project(remote)
        self._serial += 1
        mapping = Mapping(self._serial, protocol, internal, port, projected, now, made_by, False)
        mapping.first_remote = remote
        self._insert(mapping)
        return mapping

    def open(
        self,
        mapping: Mapping,
        remote: Endpoint,
        now: float,
        lifetime: float,
        state: TcpState | None = None,
    ) -> Session | Drop:
        """A new session on a mapping; for TCP with the state in which it begins."""
        host = mapping.internal[0]
        if self.session_count[host] >= self.settings.host_limit:
            return Drop.HOST_LIMIT
        if len(self._outgoing) >= self.settings.session_limit:
            return Drop.TABLE_FULL
        key = (mapping.protocol, mapping.internal, remote)
        port_key = (mapping.protocol, mapping.external_port, remote)
        if key in self._outgoing or port_key in self._incoming:
            return Drop.SESSION_CLASH
        self._serial += 1
        session = Session(self._serial, mapping, remote, now, lifetime)
        session.state = state
        self._enlist(session)
        if self.memory:
            self.memory.keep_session(session)
        return session

    def close(self, session: Session) -> Mapping | None:
        """End a session. Returns its mapping if that has ended with it."""
        mapping = session.mapping
        del mapping.sessions[session.remote]
        del self._outgoing[(mapping.protocol, mapping.internal, session.remote)]
        del self._incoming[(mapping.protocol, mapping.external_port, session.remote)]
        _count_down(self.session_count, mapping.internal[0])
        if self.settings.filtering is Behavior.ADDRESS_DEPENDENT:
            _count_down(self._addresses, (mapping.serial, session.remote[0]))
        self.deadlines.cancel(session)
        if self.memory:
            self.memory.forget_session(session)
        return self.drop_unused(mapping)

    def drop_unused(self, mapping: Mapping) -> Mapping | None:
        """Take out a mapping that was made by a packet and has no session (any more)."""
        if mapping.sessions or mapping.explicit:
            return None
        self._take_out(mapping)
        return mapping

    def hold_port(self, mapping: Mapping, now: float) -> None:
        """Keep the port of a mapping that has ended for a while, if it could be mistaken.

        Not where the filter asks who sends, nor for TCP, which has its own hold.
        """
        settings = self.settings
        if (
            settings.port_hold
            and mapping.protocol != TCP
            and settings.filtering is Behavior.ENDPOINT_INDEPENDENT
            and mapping.external_port in settings.ports
        ):
            until = now + settings.port_hold
            self._held.hold(mapping.protocol, mapping.external_port, until)

    # -- explicit rules -----------------------------------------------------------------------

    def add_explicit(
        self,
        protocol: int,
        external_port: int,
        internal: Endpoint,
        now: float,
        made_by: str = BY_HAND,
    ) -> Mapping:
        """An explicit rule (a static mapping, port forwarding). Raises RuleRefused."""
        if protocol not in (TCP, UDP):
            raise RuleRefused("an explicit rule is for tcp or udp")
        for port in (external_port, internal[1]):
            if not 1 <= port <= 65535:
                raise RuleRefused(f"port {port} is not between 1 and 65535")
        address, mask = internal[0], self.settings.internal_mask
        special = (self.settings.internal, address & mask, address | ~mask & 0xFFFFFFFF)
        if not self.settings.is_inside(address) or address in special:
            raise RuleRefused(f"{show(internal)} is not the address of a host on the inside")
        if self.settings.hosts and address not in self.settings.hosts:
            raise RuleRefused(f"there is no host {show_address(address)} on the inside")
        name = PROTOCOL_NAMES[protocol]
        holder = self._holder(protocol, external_port)
        if holder:
            kind = "an explicit rule" if holder.explicit else "a rule made by a packet"
            raise RuleRefused(
                f"{name} port {external_port} is taken: {kind} leads to {show(holder.internal)}"
            )
        other = self._by_internal.get((protocol, internal, ANY))
        if other and other.explicit:
            raise RuleRefused(
                f"{name} {show(internal)} already has the external port {other.external_port}"
            )
        if other:
            raise RuleRefused(
                f"{name} {show(internal)} is talking through port {other.external_port} right now"
            )
        self._serial += 1
        mapping = Mapping(self._serial, protocol, internal, external_port, ANY, now, made_by, True)
        self._insert(mapping)
        if self.memory:
            self.memory.keep_rule(mapping)
        return mapping

    def explicit(self, protocol: int, external_port: int) -> Mapping:
        """The explicit rule for an external port. Raises RuleRefused if there is none."""
        mapping = self._by_external.get((protocol, external_port, ANY))
        if mapping is None or not mapping.explicit:
            raise RuleRefused(
                f"there is no explicit rule for {PROTOCOL_NAMES.get(protocol)} port {external_port}"
            )
        return mapping

    def remove_explicit(self, mapping: Mapping) -> None:
        """Take out an explicit rule whose sessions have been closed."""
        self._take_out(mapping)

    def vacancies(self, protocol: int, now: float) -> Vacancies:
        """The external ports that nobody has, for whatever remote endpoint."""
        by_external, held, shared = self._by_external, self._held, self._shared
        held.release(now)
        if shared is not None:
            return Vacancies(
                lambda port: (protocol, port) not in shared,
                lambda part: shared.count[(protocol, part)],
            )
        return Vacancies(
            lambda port: (protocol, port, ANY) not in by_external and (protocol, port) not in held,
            lambda part: (
                self._ports_taken.get((protocol, part, ANY), 0) + held.count[(protocol, part)]
            ),
        )

    def choose_port(
        self, wanted: int, vacancies: Vacancies, allowed: Callable[[int], bool]
    ) -> int | None:
        """A port of the pool that nobody has and that is allowed. `wanted` is the internal port."""
        return self._pool.choose(
            wanted, lambda port: vacancies.is_free(port) and allowed(port), vacancies.taken
        )

    def _holder(self, protocol: int, port: int) -> Mapping | None:
        """Whoever has an external port now, for whatever remote endpoint."""
        if self._shared is None:
            return self._by_external.get((protocol, port, ANY))
        if (protocol, port) not in self._shared:
            return None
        return next(
            mapping
            for mapping in self._by_internal.values()
            if mapping.protocol == protocol and mapping.external_port == port
        )

    # -- what a predecessor had ---------------------------------------------------------------

    def put_back(self, mapping: Mapping, sessions: Iterable[Session]) -> None:
        """A rule with its sessions, as `memory` has kept them. Raises KeyError: they clash."""
        protocol, port = mapping.protocol, mapping.external_port
        shared_by = self._sharing.project(mapping.remote)
        if (protocol, mapping.internal, mapping.remote) in self._by_internal:
            raise KeyError(f"{show(mapping.internal)} has two rules")
        if (protocol, port, shared_by) in self._by_external:
            raise KeyError(f"port {port} has two rules")
        self._serial = max(self._serial, mapping.serial)
        self._insert(mapping)
        for session in sessions:
            if (protocol, port, session.remote) in self._incoming or (
                (protocol, mapping.internal, session.remote) in self._outgoing
            ):
                raise KeyError(f"{show(mapping.internal)} has two sessions with one remote")
            self._serial = max(self._serial, session.serial)
            self._enlist(session)

    def remember_in(self, memory: Memory) -> None:
        """From now on keep the picture in `memory` up to date, which shows the table as it is."""
        self.memory = memory
        memory.adopt(self._outgoing.values())

    # -- both directories at once -------------------------------------------------------------

    def _insert(self, mapping: Mapping) -> None:
        if mapping.explicit and mapping.made_by == BY_HAND:
            self.static[mapping.serial] = mapping
        protocol, port = mapping.protocol, mapping.external_port
        shared_by = self._sharing.project(mapping.remote)
        self._by_internal[(protocol, mapping.internal, mapping.remote)] = mapping
        self._by_external[(protocol, port, shared_by)] = mapping
        if port in self.settings.ports:
            self._ports_taken[(protocol, part_of(port), shared_by)] += 1
        if self._shared is not None:
            self._shared.add(protocol, port)

    def _enlist(self, session: Session) -> None:
        mapping, remote = session.mapping, session.remote
        mapping.sessions[remote] = session
        self._outgoing[(mapping.protocol, mapping.internal, remote)] = session
        self._incoming[(mapping.protocol, mapping.external_port, remote)] = session
        self.session_count[mapping.internal[0]] += 1
        if self.settings.filtering is Behavior.ADDRESS_DEPENDENT:
            self._addresses[(mapping.serial, remote[0])] += 1
        self.deadlines.schedule(session)

    def _take_out(self, mapping: Mapping) -> None:
        protocol, port = mapping.protocol, mapping.external_port
        # A looser filter than mapping blanks more of the remote endpoint than the mapping did.
        shared_by = self._sharing.project(mapping.remote)
        self.static.pop(mapping.serial, None)
        del self._by_internal[(protocol, mapping.internal, mapping.remote)]
        del self._by_external[(protocol, port, shared_by)]
        if port in self.settings.ports:
            _count_down(self._ports_taken, (protocol, part_of(port), shared_by))
        if self._shared is not None:
            self._shared.remove(protocol, port)
        if self.memory:
            self.memory.forget_rule(mapping)


def _count_down(counter: Counter[T], key: T) -> None:
    """One less, and no entry for nothing: keys come from packets, and must not pile up."""
    counter[key] -= 1
    if not counter[key]:
        del counter[key]
