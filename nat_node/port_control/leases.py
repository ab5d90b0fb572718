"""What a request does to the translator's table (RFC 6887, sections 11.3 and 15).

Theory of operation
-------------------
A request finds one of four things under its internal endpoint:

    nothing             a new explicit rule is made, on the suggested port if that can be
    a packet's rule     it becomes explicit on the port that it has, so that connections live on
    a lease             it is renewed, if the nonce is the owner's
    a rule by hand      is reported, and stays as it is

When a lease ends, no new connection is admitted. A rule that is in use then becomes a packet's
rule: its sessions end in their own time, and keep the port as long as they last. So a request
cannot make a mapping expire sooner than its traffic would (section 15).
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass

from napt_lab.nat_node.core.behavior import Endpoint
from napt_lab.nat_node.core.deadlines import Deadlines
from napt_lab.nat_node.core.events import RuleAdded, RuleChanged, RuleEnded
from napt_lab.nat_node.core.explicit_rules import RuleRefused
from napt_lab.nat_node.core.lease import Filter, Lease
from napt_lab.nat_node.core.mapping import Mapping
from napt_lab.nat_node.core.packet import TCP, UDP
from napt_lab.nat_node.core.settings import LeaseLimits
from napt_lab.nat_node.core.translator import Translator
from napt_lab.nat_node.port_control.pcp import Refused, Result

FOREVER = 0xFFFFFFFF
OWN_PORTS = {(UDP, 5350), (UDP, 5351)}  # no client gets them (RFC 6887, section 11.3)
FILTERS = 8
"""Filters that one rule may have."""


@dataclass(frozen=True, slots=True)
class Wish:
    """What an inside host asks for, by either protocol. `nonce` is None with NAT-PMP."""

    asked_by: str
    protocol: int
    internal: Endpoint
    lifetime: int
    nonce: bytes | None = None
    suggested: Endpoint = (0, 0)
    prefer_failure: bool = False
    clear_filters: bool = False
    filters: tuple[Filter, ...] = ()


@dataclass(frozen=True, slots=True)
class Grant:
    """The external endpoint, and for how many seconds it is granted."""

    external: Endpoint
    lifetime: int


class Leases:
    """All leases of one translator."""

    def __init__(self, translator: Translator, limits: LeaseLimits) -> None:
        self._watchers = translator.watchers
        self._table = translator.table
        self._explicit = translator.explicit
        self._limits = limits
        self._by_host: dict[int, list[Lease]] = {}
        self._deadlines: Deadlines[Lease] = Deadlines()
        self._serial = 0

    # -- asking -------------------------------------------------------------------------------

    def grant(self, wish: Wish, now: float) -> Grant:
        """Make or renew a rule. Raises Refused."""
        mapping = self._table.rule_for_anyone(wish.protocol, wish.internal)
        if mapping is not None and mapping.serial in self._explicit.by_hand:
            self._must_be(wish, mapping)
            return Grant(mapping.external, FOREVER)
        if mapping is not None and mapping.explicit and mapping.lease is not None:
            return self._renew(wish, mapping, mapping.lease, now)
        filters = _filters(wish, ())
        self._must_be_within_quota(wish.internal[0])
        if mapping is None:
            mapping = self._new_rule(wish, now)
            event: RuleAdded | RuleChanged = RuleAdded(mapping)
        else:
            self._must_be(wish, mapping)
            mapping.explicit = True
            event = RuleChanged(mapping, "leased")
        self._serial += 1
        until = now + wish.lifetime
        mapping.lease = lease = Lease(
            self._serial,
            wish.protocol,
            wish.internal,
            wish.asked_by,
            wish.nonce,
            wish.lifetime,
            until,
            filters,
        )
        self._by_host.setdefault(wish.internal[0], []).append(lease)
        self._deadlines.schedule(lease)
        self._tell(event)
        return Grant(mapping.external, wish.lifetime)

    def release(self, wish: Wish, now: float) -> int:
        """End a lease early. Returns the seconds that its rule will yet live. Raises Refused."""
        mapping = self._table.rule_for_anyone(wish.protocol, wish.internal)
        if mapping is None:
            return 0  # the answer to the first such request may have been lost
        if mapping.serial in self._explicit.by_hand:
            raise Refused(Result.NOT_AUTHORIZED)
        lease = mapping.lease
        if lease is None:
            raise Refused(Result.NOT_AUTHORIZED, _idle_time(mapping, now))
        if not lease.ended:
            if lease.nonce is not None and lease.nonce != wish.nonce:
                raise Refused(Result.NOT_AUTHORIZED, lease.remaining(now))
            self._end(lease, "deleted", now)
        return _idle_time(mapping, now)

    def release_all(self, protocol: int, host: int, now: float) -> None:
        """End all of a host's leases that have no nonce (RFC 6886, section 3.4).

        Raises Refused when it has rules that cannot be ended so.
        """
        kept = any(
            mapping.protocol == protocol and mapping.internal[0] == host
            for mapping in self._explicit.by_hand.values()
        )
        for lease in self._of(host):
            if lease.protocol == protocol:
                kept = kept or lease.nonce is not None
                if lease.nonce is None:
                    self._end(lease, "deleted", now)
        if kept:
            raise Refused(Result.NOT_AUTHORIZED)

    # -- time ---------------------------------------------------------------------------------

    def expire(self, now: float) -> None:
        """End every lease whose time has passed."""
        for lease in self._deadlines.due(now):
            if lease.ended:
                self._deadlines.cancel(lease)  # its rule was removed by hand
            else:
                self._end(lease, "expired", now)

    def next_deadline(self) -> float | None:
        """When `expire` must be called again at the latest; None while nothing can expire."""
        return self._deadlines.next()

    # -- parts --------------------------------------------------------------------------------

    def _renew(self, wish: Wish, mapping: Mapping, lease: Lease, now: float) -> Grant:
        if lease.nonce is not None and wish.nonce is None:
            # NAT-PMP has no nonce to show, so the lease is reported and not changed.
            return Grant(mapping.external, min(lease.remaining(now), wish.lifetime))
        if lease.nonce is not None and lease.nonce != wish.nonce:
            raise Refused(Result.NOT_AUTHORIZED, lease.remaining(now))
        self._must_be(wish, mapping)
        lease.filters = _filters(wish, lease.filters)
        lease.nonce, lease.asked_by = wish.nonce, wish.asked_by
        lease.lifetime, lease.deadline = wish.lifetime, now + wish.lifetime
        self._deadlines.schedule(lease)
        self._tell(RuleChanged(mapping, "renewed"))
        return Grant(mapping.external, wish.lifetime)

    def _new_rule(self, wish: Wish, now: float) -> Mapping:
        ports, protocol, host = self._table.ports, wish.protocol, wish.internal[0]
        if not ports.has_room(protocol, host):
            raise Refused(Result.USER_EX_QUOTA)
        external: Endpoint | None = None
        with suppress(ValueError):
            external = ports.for_explicit(wish.suggested, host)

        def allowed(external: Endpoint) -> bool:
            return self._may_have(protocol, external, host)

        if not (
            external is not None
            and external[1]
            and external[0] in ports.pooling.addresses(host)
            and ports.is_free_for_anyone(protocol, external, now)
            and allowed(external)
        ):
            if wish.prefer_failure:
                raise Refused(Result.CANNOT_PROVIDE_EXTERNAL)
            external = ports.choose_for_anyone(protocol, wish.internal, now, allowed)
            if external is None:
                raise Refused(Result.NO_RESOURCES)
        made_by = f"{wish.asked_by} request"
        try:
            return self._explicit.add(protocol, external, wish.internal, now, made_by)
        except RuleRefused:  # no host can have this address, or none has it
            raise Refused(Result.NOT_AUTHORIZED) from None

    def _may_have(self, protocol: int, external: Endpoint, host: int) -> bool:
        """Whether a client may have an external endpoint that is free.

        A host that has a lease on a port keeps the same port of the other protocol as well (RFC
        6886, section 3.3).
        """
        if (protocol, external[1]) in OWN_PORTS:
            return False
        twin = self._table.ports.rule_for_anyone(UDP if protocol == TCP else TCP, external)
        return twin is None or not twin.explicit or twin.lease is None or twin.internal[0] == host

    def _must_be(self, wish: Wish, mapping: Mapping) -> None:
        if wish.prefer_failure and not _matches(wish.suggested, mapping.external):
            raise Refused(Result.CANNOT_PROVIDE_EXTERNAL)

    def _must_be_within_quota(self, host: int) -> None:
        if len(self._of(host)) >= self._limits.quota:
            raise Refused(Result.USER_EX_QUOTA)
        if sum(len(self._of(other)) for other in [*self._by_host]) >= self._limits.leases:
            raise Refused(Result.NO_RESOURCES)

    def _of(self, host: int) -> list[Lease]:
        """A host's leases. Those that are over are forgotten here."""
        living = [lease for lease in self._by_host.get(host, ()) if not lease.ended]
        if living:
            self._by_host[host] = living
        else:
            self._by_host.pop(host, None)
        return living

    def _end(self, lease: Lease, why: str, now: float) -> None:
        lease.ended = why
        self._deadlines.cancel(lease)
        self._of(lease.internal[0])
        mapping = self._table.rule_for_anyone(lease.protocol, lease.internal)
        assert mapping is not None  # removing a rule by hand ends its lease
        if mapping.sessions:
            mapping.explicit = False
            self._tell(RuleChanged(mapping, why))
        else:
            self._explicit.remove(mapping)
            self._table.ports.hold(mapping, now)
            self._tell(RuleEnded(mapping, why))

    def _tell(self, event: RuleAdded | RuleChanged | RuleEnded) -> None:
        if self._watchers.notify:
            self._watchers.notify(event)


def _matches(suggested: Endpoint, external: Endpoint) -> bool:
    """Whether an external endpoint is the suggested one; address 0 is any."""
    return suggested[1] == external[1] and suggested[0] in (0, external[0])


def _filters(wish: Wish, before: tuple[Filter, ...]) -> tuple[Filter, ...]:
    """The filters of a lease when a wish has been granted. Raises Refused."""
    kept = () if wish.clear_filters else before
    filters = tuple(dict.fromkeys((*kept, *wish.filters)))
    if len(filters) > FILTERS:
        raise Refused(Result.EXCESSIVE_REMOTE_PEERS)
    return filters


def _idle_time(mapping: Mapping, now: float) -> int:
    """Seconds for which a rule will live on if it is not used."""
    deadlines = (session.deadline for session in mapping.sessions)
    return max(0, round(max(deadlines, default=now) - now))
