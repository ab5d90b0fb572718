"""Which external address of a NAPT a host inside has, and which of its ports.

The translator decides it (nat_node/core/pooling.py); here the same is told of a topology.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import fields
from ipaddress import IPv4Address, IPv4Interface

from napt_lab.nat_node.core.pooling import Pooling
from napt_lab.nat_node.core.settings import Choices, Settings
from napt_lab.topologies.spec.napt_settings import NaptSettings, PortAssignment, StaticRule


class AddressPool:
    """The external `addresses` of a NAPT with this address inside."""

    def __init__(
        self, addresses: Sequence[IPv4Interface], private: IPv4Interface, settings: NaptSettings
    ) -> None:
        self._settings = settings
        self._network = private.network
        self._addresses = [address.ip for address in addresses]
        first, *others = (int(address.ip) for address in addresses)
        mask = int(private.network.netmask)
        choices = {each.name: getattr(settings, each.name) for each in fields(Choices)}
        own = Settings(first, int(private.ip), mask, others=tuple(others), **choices)
        self._pooling = Pooling(own, lambda _: 0)

    def of_host(self, host: IPv4Address) -> set[IPv4Address]:
        """The addresses outside that packets of a host inside may have."""
        return {IPv4Address(address) for address in self._pooling.addresses(int(host))}

    def of_rule(self, rule: StaticRule) -> IPv4Address:
        """The address outside of an explicit rule."""
        host = int(rule.internal_address)
        return rule.external_address or IPv4Address(self._pooling.address_of(host))

    def has(self, address: IPv4Address | None) -> bool:
        """Whether it is one of the addresses; None is for the one that a host has."""
        return address is None or address in self._addresses

    def wrong(
        self, hosts: Iterable[IPv4Address], rules: Iterable[StaticRule]
    ) -> Iterator[tuple[str, str]]:
        """What is wrong with the blocks of ports: the key that must change, and why."""
        settings, size = self._settings, self._settings.ports_per_subscriber
        if settings.port_assignment is not PortAssignment.DETERMINISTIC:
            return
        blocks = len(settings.ports) // size * len(self._addresses)
        for host in hosts:
            if self._pooling.block(int(host)) is None:
                yield (
                    "ports-per-subscriber",
                    f"{host} has no block of {size} ports: there are {blocks} blocks, for "
                    f"{self._network[1]} to {self._network[blocks]}; allowed: smaller blocks, "
                    "more public addresses, or hosts with lower addresses",
                )
        for rule in rules:
            external = int(self.of_rule(rule)), rule.external_port
            if not self._pooling.may_have(int(rule.internal_address), external):
                yield (
                    "rules",
                    f"{rule.protocol} port {rule.external_port} is not in the block of "
                    f"{rule.internal_address}; allowed: {self._allowed(rule.internal_address)}",
                )

    def _allowed(self, host: IPv4Address) -> str:
        beyond = f"a port outside of {self._settings.ports.start}-{self._settings.ports.stop - 1}"
        block = self._pooling.block(int(host))
        return f"{block[1].start} to {block[1].stop - 1}, or {beyond}" if block else beyond
