"""All rules and sessions, found from the inside and from the outside.

Theory of operation
-------------------
Three dictionaries, two of mappings and one of sessions:

    by_internal  (protocol, internal endpoint, remote as *mapping* sees it)   -> Mapping
    by_external  (protocol, external endpoint, remote as *sharing* sees it)   -> Mapping
    outgoing     (protocol, internal endpoint, remote endpoint)               -> Session

`by_internal` is the mapping behavior itself: two packets share a mapping when their keys are
equal. `by_external` is in external_ports.py. Explicit rules hold for every remote endpoint, so
they have `ANY` in both. A packet from the outside finds its mapping first, and with the internal
endpoint of that its session.

The table finds, inserts and removes. When that happens, and what else must happen then, is for
sessions.py and explicit_rules.py to know.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator

from napt_lab.nat_node.core.behavior import ANY, Behavior, Endpoint, show
from napt_lab.nat_node.core.external_ports import ExternalPorts
from napt_lab.nat_node.core.mapping import Mapping, Session
from napt_lab.nat_node.core.packet import UDP
from napt_lab.nat_node.core.settings import Settings

Key = tuple[int, Endpoint, Endpoint]


class Table:
    """The rules of one NAPT. `below(n)` returns a random number from 0 to n - 1."""

    def __init__(self, settings: Settings, below: Callable[[int], int]) -> None:
        self._below = below
        self._follow(settings)
        self.ports = ExternalPorts(settings, below)
        self._by_internal: dict[Key, Mapping] = {}
        self._outgoing: dict[Key, Session] = {}
        # Address-dependent filtering asks whether *any* session of a mapping is with an address.
        self._addresses: Counter[tuple[int, int]] = Counter()
        self._serial = 0

    def change(self, settings: Settings) -> None:
        """Go on with other settings.

        Raises ValueError, and has changed nothing, if the rules do not fit them.
        """
        ports = ExternalPorts(settings, self._below)
        ports.take_over(self.ports, self._by_internal.values())
        self.ports = ports
        self._follow(settings)
        self._addresses.clear()
        if self._counts_addresses:
            for session in self._outgoing.values():
                self._addresses[(session.mapping.serial, session.remote[0])] += 1

    def _follow(self, settings: Settings) -> None:
        self._project = settings.mapping.project
        self._filtering = settings.filtering
        self._counts_addresses = settings.filtering is Behavior.ADDRESS_DEPENDENT

    def next_serial(self) -> int:
        """A number that no rule and no session of this table has had."""
        self._serial += 1
        return self._serial

    # -- finding ------------------------------------------------------------------------------

    def outgoing(self, protocol: int, internal: Endpoint, remote: Endpoint) -> Session | None:
        """The session of a packet from the inside."""
        return self._outgoing.get((protocol, internal, remote))

    def incoming(self, protocol: int, external: Endpoint, remote: Endpoint) -> Session | None:
        """The session of a packet to an external endpoint of ours."""
        mapping = self.ports.rule(protocol, external, remote)
        return None if mapping is None else self.session(mapping, remote)

    def session(self, mapping: Mapping, remote: Endpoint) -> Session | None:
        """The session of a remote endpoint with a rule."""
        session = self._outgoing.get((mapping.protocol, mapping.internal, remote))
        # The two endpoints may be talking by another rule of the internal one.
        return session if session is not None and session.mapping is mapping else None

    def rule_for_internal(
        self, protocol: int, internal: Endpoint, remote: Endpoint
    ) -> Mapping | None:
        """The rule that a new session from the inside would use. Explicit ones come first."""
        return self._by_internal.get((protocol, internal, ANY)) or self._by_internal.get(
            (protocol, internal, self._project(remote))
        )

    def rule_for_anyone(self, protocol: int, internal: Endpoint) -> Mapping | None:
        """The rule of an internal endpoint that holds for every remote one."""
        return self._by_internal.get((protocol, internal, ANY))

    def admits(self, mapping: Mapping, remote: Endpoint) -> bool:
        """The filtering behavior: may this remote endpoint use the rule from outside?

        Yes if the inside has sent to it, as far as the filtering behavior can tell the
        difference. An explicit rule admits everyone, unless its lease has a filter.
        """
        if mapping.explicit:
            return mapping.lease is None or mapping.lease.admits(remote)
        if self._filtering is Behavior.ENDPOINT_INDEPENDENT:
            return True
        if self._filtering is Behavior.ADDRESS_AND_PORT_DEPENDENT:
            return self.session(mapping, remote) is not None
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

    @property
    def session_count(self) -> int:
        """How many sessions there are."""
        return len(self._outgoing)

    # -- inserting and removing ---------------------------------------------------------------

    def insert_rule(self, mapping: Mapping) -> None:
        """Enter a rule; its keys must be free."""
        self._by_internal[mapping.key] = mapping
        self.ports.insert(mapping)

    def remove_rule(self, mapping: Mapping) -> None:
        """Take out a rule that has no session."""
        del self._by_internal[mapping.key]
        self.ports.remove(mapping)

    def insert_session(self, session: Session) -> None:
        """Enter a session; its keys must be free."""
        mapping, remote = session.mapping, session.remote
        mapping.begin(session)
        # Mostly a rule's only session has its key: one tuple for both saves 64 bytes.
        same = remote == mapping.remote
        key = mapping.key if same else (mapping.protocol, mapping.internal, remote)
        self._outgoing[key] = session
        if self._counts_addresses:
            self._addresses[(mapping.serial, remote[0])] += 1

    def remove_session(self, session: Session) -> None:
        """Take out a session that has ended."""
        mapping, remote = session.mapping, session.remote
        mapping.end(session)
        del self._outgoing[(mapping.protocol, mapping.internal, remote)]
        if self._counts_addresses:
            key = (mapping.serial, remote[0])
            self._addresses[key] -= 1
            if not self._addresses[key]:
                del self._addresses[key]

    def put_back(self, mapping: Mapping, sessions: list[Session]) -> None:
        """Enter a rule with its sessions as an earlier table had them.

        Raises KeyError if a key is taken, or no packet would find a session.
        """
        if mapping.key in self._by_internal:
            raise KeyError("an internal endpoint has two rules")
        if self.ports.is_taken(mapping):
            raise KeyError(f"{show(mapping.external)} has two rules")
        self.insert_rule(mapping)
        for session in sessions:
            protocol, remote = mapping.protocol, session.remote
            if self.outgoing(protocol, mapping.internal, remote) is not None:
                raise KeyError("two endpoints have two sessions with each other")
            self.insert_session(session)
            if self.incoming(protocol, mapping.external, remote) is not session:
                raise KeyError(f"{show(remote)} has a session by a rule that is not for it")
        self._serial = max(self._serial, mapping.serial, *(one.serial for one in sessions))
