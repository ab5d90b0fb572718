"""Explicit rules (static mappings, port forwarding): which can be, and which are refused."""

from __future__ import annotations

from napt_lab.nat_node.core.behavior import ANY, Endpoint, show, show_address
from napt_lab.nat_node.core.mapping import BY_HAND, Mapping
from napt_lab.nat_node.core.packet import PROTOCOL_NAMES, TCP, UDP
from napt_lab.nat_node.core.settings import Settings, not_ours
from napt_lab.nat_node.core.table import Table
from napt_lab.nat_node.core.watchers import Watchers


class RuleRefused(ValueError):
    """An explicit rule that cannot be; the text says why."""


class ExplicitRules:
    """The explicit rules in a table."""

    def __init__(self, settings: Settings, table: Table, watchers: Watchers) -> None:
        self.settings = settings
        self._table = table
        self._watchers = watchers
        self.by_hand: dict[int, Mapping] = {}  # those that no program asked for, by serial number

    def add(
        self,
        protocol: int,
        external: Endpoint,
        internal: Endpoint,
        now: float,
        made_by: str = BY_HAND,
    ) -> Mapping:
        """A new explicit rule; an external address of 0 is the host's own. Raises RuleRefused."""
        if protocol not in (TCP, UDP):
            raise RuleRefused("an explicit rule is for tcp or udp")
        for port in (external[1], internal[1]):
            if not 1 <= port <= 65535:
                raise RuleRefused(f"port {port} is not between 1 and 65535")
        settings, address, name = self.settings, internal[0], PROTOCOL_NAMES[protocol]
        possible = settings.is_inside(address) and settings.is_host(address)
        if not possible or address == settings.internal:
            raise RuleRefused(f"{show(internal)} is not the address of a host on the inside")
        if settings.hosts and address not in settings.hosts:
            raise RuleRefused(f"there is no host {show_address(address)} on the inside")
        try:
            own = self._table.ports.for_explicit(external, address)
        except ValueError as error:
            raise RuleRefused(str(error)) from None
        holder = self._table.ports.any_rule(protocol, own)
        if holder:
            kind = "an explicit rule" if holder.explicit else "a rule made by a packet"
            raise RuleRefused(
                f"{name} port {external[1]} is taken: {kind} leads to {show(holder.internal)}"
            )
        other = self._table.rule_for_anyone(protocol, internal)
        if other and other.explicit:
            raise RuleRefused(
                f"{name} {show(internal)} already has the external port {other.external[1]}"
            )
        if other:
            raise RuleRefused(
                f"{name} {show(internal)} is talking through port {other.external[1]} right now"
            )
        serial = self._table.next_serial()
        mapping = Mapping(serial, protocol, internal, own, ANY, now, made_by, True)
        self._table.insert_rule(mapping)
        self._note(mapping)
        for tell in self._watchers.explicit_added:
            tell(mapping)
        return mapping

    def find(self, protocol: int, external: Endpoint) -> Mapping:
        """The explicit rule of an external endpoint; address 0 is any of ours.

        Raises RuleRefused if there is none, or one at several addresses.
        """
        address, port = external
        if address not in (0, *self.settings.addresses):
            raise RuleRefused(not_ours(address, self.settings))
        found = [
            mapping
            for own in ([address] if address else self.settings.addresses)
            if (mapping := self._table.ports.rule_for_anyone(protocol, (own, port)))
            and mapping.explicit
        ]
        name = PROTOCOL_NAMES.get(protocol)
        if not found:
            raise RuleRefused(f"there is no explicit rule for {name} port {port}")
        if len(found) > 1:
            ends = " and ".join(show(mapping.external) for mapping in found)
            raise RuleRefused(f"{name} {ends} have rules: say which with its address")
        return found[0]

    def remove(self, mapping: Mapping) -> None:
        """Take out an explicit rule whose sessions have been closed."""
        self._table.remove_rule(mapping)
        self.by_hand.pop(mapping.serial, None)
        for tell in self._watchers.rule_ended:
            tell(mapping)

    def adopt(self) -> None:
        """Go on with the explicit rules of a table that was put back."""
        for mapping in self._table:
            self._note(mapping)

    def _note(self, mapping: Mapping) -> None:
        if mapping.explicit and mapping.made_by == BY_HAND:
            self.by_hand[mapping.serial] = mapping
