"""Which external port leads to which rule, and which port is free.

Theory of operation
-------------------
    by_external  (protocol, external endpoint, remote as *sharing* sees it) -> Mapping

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

An inside host may have as many ports of each protocol as `ports_per_subscriber` says, whoever asked
for them. At that limit a new rule may still share one of them. Which external addresses and ports
are open to it at all, pooling.py knows.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable

from napt_lab.nat_node.core.behavior import ANY, Behavior, Endpoint, show, show_address
from napt_lab.nat_node.core.mapping import Mapping
from napt_lab.nat_node.core.packet import TCP
from napt_lab.nat_node.core.pooling import Pooling
from napt_lab.nat_node.core.ports import HeldPorts, SharedPorts, part_of
from napt_lab.nat_node.core.settings import Settings, not_ours

PortKey = tuple[int, Endpoint, Endpoint]
Allowed = Callable[[Endpoint], bool]


class ExternalPorts:
    """The external ports of one NAPT. `below(n)` returns a random number from 0 to n - 1."""

    def __init__(self, settings: Settings, below: Callable[[int], int]) -> None:
        self._settings = settings
        self._share = settings.mapping.looser(settings.filtering).project
        self._ports = settings.ports
        self.pooling = Pooling(settings, below)
        self._by_external: dict[PortKey, Mapping] = {}
        # How many ports of the pool are taken: by protocol, external address, part of the pool,
        # and remote endpoint.
        self._taken: Counter[tuple[int, int, int, Endpoint]] = Counter()
        self._held = HeldPorts(settings.port_hold)
        self._limit = settings.ports_per_subscriber
        # How many rules each port of a host has, by protocol and host, if ports are limited.
        self._of_host: dict[tuple[int, int], Counter[Endpoint]] = {}
        # What `_by_external` cannot tell where a port may have several rules.
        self._shared = SharedPorts(settings.ports) if self._share((1, 1)) != ANY else None
        self._holds = bool(settings.port_hold) and (
            settings.filtering is Behavior.ENDPOINT_INDEPENDENT
        )

    def __len__(self) -> int:
        return len(self._by_external)

    def rule(self, protocol: int, external: Endpoint, remote: Endpoint) -> Mapping | None:
        """The rule that a new session from the outside would use. Explicit ones come first."""
        return self._by_external.get((protocol, external, ANY)) or self._by_external.get(
            (protocol, external, self._share(remote))
        )

    def rule_for_anyone(self, protocol: int, external: Endpoint) -> Mapping | None:
        """The rule of an external endpoint that holds for every remote endpoint."""
        return self._by_external.get((protocol, external, ANY))

    def any_rule(self, protocol: int, external: Endpoint) -> Mapping | None:
        """A rule of an external endpoint, whatever its remote endpoint."""
        if self._shared is None or (protocol, external) not in self._shared:
            return self._by_external.get((protocol, external, ANY))
        return next(
            mapping
            for mapping in self._by_external.values()
            if mapping.protocol == protocol and mapping.external == external
        )

    def is_taken(self, mapping: Mapping) -> bool:
        """Whether another rule has the port that this one would have."""
        return self._key(mapping) in self._by_external

    def insert(self, mapping: Mapping) -> None:
        """Let a new rule have its port."""
        key = protocol, external, shared_by = self._key(mapping)
        self._by_external[key] = mapping
        address, port = external
        if port in self._ports:
            self._taken[(protocol, address, part_of(port), shared_by)] += 1
        if self._shared is not None:
            self._shared.add(protocol, external)
        if self._limit:
            subscriber = (protocol, mapping.internal[0])
            self._of_host.setdefault(subscriber, Counter())[external] += 1

    def remove(self, mapping: Mapping) -> None:
        """Take its port from a rule that has ended."""
        key = protocol, external, shared_by = self._key(mapping)
        del self._by_external[key]
        address, port = external
        if port in self._ports:
            part = (protocol, address, part_of(port), shared_by)
            self._taken[part] -= 1
            if not self._taken[part]:
                del self._taken[part]
        if self._shared is not None:
            self._shared.remove(protocol, external)
        if self._limit:
            subscriber = (protocol, mapping.internal[0])
            own = self._of_host[subscriber]
            own[external] -= 1
            if not own[external]:
                del own[external]  # keys come from packets, and must not pile up
            if not own:
                del self._of_host[subscriber]

    def take_over(self, before: ExternalPorts, mappings: Iterable[Mapping]) -> None:
        """Begin with the ports of these rules, which were there `before`. Raises ValueError."""
        for mapping in mappings:
            if self.is_taken(mapping):
                raise ValueError(f"several rules share {show(mapping.external)}")
            # Else the port would seem free for a rule towards one of the others.
            shared_by = self._share(mapping.remote)
            towards = {self._share(session.remote) for session in mapping.sessions}
            if shared_by != ANY and towards - {shared_by}:
                raise ValueError(
                    f"the rule on {show(mapping.external)} is for several remote endpoints"
                )
            if not self.pooling.may_have(mapping.internal[0], mapping.external):
                host = show_address(mapping.internal[0])
                raise ValueError(f"{show(mapping.external)} is not in the block of {host}")
            self.insert(mapping)
        if self._holds:
            self._held = before._held.within(self._ports, self._settings.port_hold)

    def hold(self, mapping: Mapping, now: float) -> None:
        """Keep the port of a mapping that has ended unused for `port_hold` seconds.

        Needed where the filter admits every sender, and not for TCP, which has a hold of its own.
        """
        if self._holds and mapping.protocol != TCP and mapping.external[1] in self._ports:
            self._held.hold(mapping.protocol, mapping.external, now)

    def has_room(self, protocol: int, host: int) -> bool:
        """Whether an inside host may have one more port."""
        return not self._limit or len(self._of_host.get((protocol, host), ())) < self._limit

    def for_explicit(self, external: Endpoint, host: int) -> Endpoint:
        """The external endpoint of an explicit rule to a host; address 0 is the host's own.

        Raises ValueError if the host cannot have it.
        """
        address, port = external
        address = address or self.pooling.address_of(host)
        if address not in self._settings.ours:
            raise ValueError(not_ours(address, self._settings))
        if not self.pooling.may_have(host, (address, port)):
            raise ValueError(
                f"port {port} of {show_address(address)} is not one of {show_address(host)}'s block"
            )
        return address, port

    # -- choosing -----------------------------------------------------------------------------

    def choose(
        self, protocol: int, internal: Endpoint, remote: Endpoint, now: float
    ) -> Endpoint | None:
        """A free external endpoint for a new rule; None if there is none."""
        host, wanted = internal
        shared_by, by_external, held = self._share(remote), self._by_external, self._held
        if held:
            held.release(now)
        address = 0

        def is_free(port: int) -> bool:
            external = (address, port)
            return (
                external != remote  # else a hairpinned packet would find its own sender's rule
                and (protocol, external, shared_by) not in by_external
                and (shared_by == ANY or (protocol, external, ANY) not in by_external)
                and not (held and (protocol, external) in held)
            )

        def taken(part: int) -> int:
            count = self._taken.get((protocol, address, part, shared_by), 0)
            if shared_by != ANY:
                count += self._taken.get((protocol, address, part, ANY), 0)
            return count + held.count.get((protocol, address, part), 0)

        if self._limit and not self.has_room(protocol, host):
            for external in self._of_host[(protocol, host)] if shared_by != ANY else ():
                address = external[0]
                if is_free(external[1]):
                    return external
            return None
        for address, pool in self.pooling.everyones or self.pooling.places(host):
            port = pool.choose(wanted, is_free, taken)
            if port is not None:
                return address, port
        return None

    def choose_for_anyone(
        self, protocol: int, internal: Endpoint, now: float, allowed: Allowed
    ) -> Endpoint | None:
        """The same for a rule that every remote endpoint may use; `allowed` says which ones."""
        address = 0

        def is_free(port: int) -> bool:
            external = (address, port)
            return self.is_free_for_anyone(protocol, external, now) and allowed(external)

        def taken(part: int) -> int:
            if self._shared is not None:
                return self._shared.count[(protocol, address, part)]
            count = self._taken.get((protocol, address, part, ANY), 0)
            return count + self._held.count[(protocol, address, part)]

        for address, pool in self.pooling.places(internal[0]):
            port = pool.choose(internal[1], is_free, taken)
            if port is not None:
                return address, port
        return None

    def is_free_for_anyone(self, protocol: int, external: Endpoint, now: float) -> bool:
        """Whether no rule has an external endpoint, for any remote endpoint."""
        key = (protocol, external)
        if self._shared is not None:
            return key not in self._shared
        self._held.release(now)
        return (*key, ANY) not in self._by_external and key not in self._held

    def _key(self, mapping: Mapping) -> PortKey:
        # A looser filter than mapping blanks more of the remote endpoint than the mapping did.
        return mapping.protocol, mapping.external, self._share(mapping.remote)
