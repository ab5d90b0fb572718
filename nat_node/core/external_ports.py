"""Which external port leads to which rule, and which port is free.

Theory of operation
-------------------
    by_external  (protocol, external port, remote as *sharing* sees it) -> Mapping

Where both mapping and filtering look at the remote endpoint, one port can serve several rules at
once, as long as their remote endpoints differ. *Sharing* is the looser of the two behaviors: a
port is free for a rule when no other rule has an equal key. So the course's limit of 65,536
connections is one per remote endpoint there, and one in all where mapping is endpoint-independent
(RFC 4787, REQ-3, asks for the latter).

    mapping and filtering address-and-port-dependent: one port, two rules
        10.0.0.7:40000 -> 24.9.3.7:1025   only for 151.101.1.69:80
        10.0.0.8:40000 -> 24.9.3.7:1025   only for 198.51.100.10:80
    filtering endpoint-independent: a packet to 24.9.3.7:1025 from anybody at all must have *one*
    inside endpoint to go to, so the second rule gets another port, whatever the mapping behavior

Explicit rules hold for every remote endpoint, so they have `ANY` in their keys.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from napt_lab.nat_node.core.behavior import ANY, Behavior, Endpoint
from napt_lab.nat_node.core.mapping import Mapping
from napt_lab.nat_node.core.packet import TCP
from napt_lab.nat_node.core.ports import HeldPorts, IsFree, PortPool, SharedPorts, part_of
from napt_lab.nat_node.core.settings import Settings

PortKey = tuple[int, int, Endpoint]


class ExternalPorts:
    """The external ports of one NAPT. `below(n)` returns a random number from 0 to n - 1."""

    def __init__(self, settings: Settings, below: Callable[[int], int]) -> None:
        self._settings = settings
        self._share = settings.mapping.looser(settings.filtering).project
        self._pool = PortPool(settings.ports, settings.port_assignment, settings.port_parity, below)
        self._by_external: dict[PortKey, Mapping] = {}
        # How many ports of the pool are taken: by protocol, part of the pool, and remote endpoint.
        self._taken: Counter[tuple[int, int, Endpoint]] = Counter()
        self._held = HeldPorts()
        # What `_by_external` cannot tell where a port may have several rules.
        self._shared = SharedPorts(settings.ports) if self._share((1, 1)) != ANY else None
        self._holds = bool(settings.port_hold) and (
            settings.filtering is Behavior.ENDPOINT_INDEPENDENT
        )

    def __len__(self) -> int:
        return len(self._by_external)

    def rule(self, protocol: int, port: int, remote: Endpoint) -> Mapping | None:
        """The rule that a new session from the outside would use. Explicit ones come first."""
        return self._by_external.get((protocol, port, ANY)) or self._by_external.get(
            (protocol, port, self._share(remote))
        )

    def rule_for_anyone(self, protocol: int, port: int) -> Mapping | None:
        """The rule of a port that holds for every remote endpoint."""
        return self._by_external.get((protocol, port, ANY))

    def any_rule(self, protocol: int, port: int) -> Mapping | None:
        """A rule of a port, whatever its remote endpoint."""
        if self._shared is None or (protocol, port) not in self._shared:
            return self._by_external.get((protocol, port, ANY))
        return next(
            mapping
            for mapping in self._by_external.values()
            if mapping.protocol == protocol and mapping.external_port == port
        )

    def is_taken(self, mapping: Mapping) -> bool:
        """Whether another rule has the port that this one would have."""
        return self._key(mapping) in self._by_external

    def insert(self, mapping: Mapping) -> None:
        """Let a new rule have its port."""
        key = protocol, port, shared_by = self._key(mapping)
        self._by_external[key] = mapping
        if port in self._settings.ports:
            self._taken[(protocol, part_of(port), shared_by)] += 1
        if self._shared is not None:
            self._shared.add(protocol, port)

    def remove(self, mapping: Mapping) -> None:
        """Take its port from a rule that has ended."""
        key = protocol, port, shared_by = self._key(mapping)
        del self._by_external[key]
        if port in self._settings.ports:
            part = (protocol, part_of(port), shared_by)
            self._taken[part] -= 1
            if not self._taken[part]:
                del self._taken[part]
        if self._shared is not None:
            self._shared.remove(protocol, port)

    def hold(self, mapping: Mapping, now: float) -> None:
        """Keep the port of a mapping that has ended unused for `port_hold` seconds.

        Needed where the filter admits every sender, and not for TCP, which has a hold of its own.
        """
        port = mapping.external_port
        if self._holds and mapping.protocol != TCP and port in self._settings.ports:
            self._held.hold(mapping.protocol, port, now + self._settings.port_hold)

    # -- choosing -----------------------------------------------------------------------------

    def choose(self, protocol: int, wanted: int, remote: Endpoint, now: float) -> int | None:
        """A free port for a rule towards `remote`; None if there is none.

        `wanted` is the internal port.
        """
        shared_by, by_external, held = self._share(remote), self._by_external, self._held
        # Otherwise a hairpinned packet would find the rule of its own sender.
        hairpinned_to = remote[1] if remote[0] == self._settings.external else None
        if held:
            held.release(now)

        def is_free(port: int) -> bool:
            return (
                port != hairpinned_to
                and (protocol, port, shared_by) not in by_external
                and (shared_by == ANY or (protocol, port, ANY) not in by_external)
                and not (held and (protocol, port) in held)
            )

        def taken(part: int) -> int:
            count = self._taken.get((protocol, part, shared_by), 0)
            if shared_by != ANY:
                count += self._taken.get((protocol, part, ANY), 0)
            return count + held.count.get((protocol, part), 0)

        return self._pool.choose(wanted, is_free, taken)

    def choose_for_anyone(
        self, protocol: int, wanted: int, now: float, allowed: IsFree
    ) -> int | None:
        """The same for a rule that every remote endpoint may use; `allowed` says which ports."""

        def taken(part: int) -> int:
            if self._shared is not None:
                return self._shared.count[(protocol, part)]
            count = self._taken.get((protocol, part, ANY), 0)
            return count + self._held.count[(protocol, part)]

        return self._pool.choose(
            wanted,
            lambda port: self.is_free_for_anyone(protocol, port, now) and allowed(port),
            taken,
        )

    def is_free_for_anyone(self, protocol: int, port: int, now: float) -> bool:
        """Whether no rule has a port, for any remote endpoint."""
        if self._shared is not None:
            return (protocol, port) not in self._shared
        self._held.release(now)
        key = (protocol, port)
        return (*key, ANY) not in self._by_external and key not in self._held

    def _key(self, mapping: Mapping) -> PortKey:
        # A looser filter than mapping blanks more of the remote endpoint than the mapping did.
        return mapping.protocol, mapping.external_port, self._share(mapping.remote)
