"""Checks that addresses are unique and networks do not overlap.

On the Internet an address belongs to one node, and the nodes of one network share one ISP.
Overlapping networks are refused: the same address would be reachable in two places. Within a site
each address belongs to one host. Different sites may use the same private network, such as
10.0.0.0/24 (RFC 1918, section 3), as homes do.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Interface, IPv4Network

from napt_lab.topologies.spec.errors import quoted
from napt_lab.topologies.spec.model import Isp
from napt_lab.topologies.spec.scalars import (
    free_addresses,
    interface,
    public_interface,
    usable,
)
from napt_lab.topologies.spec.yaml_nodes import Entry


class PublicPlan:
    """The public addresses of a topology, and the ISPs' networks that follow from them."""

    def __init__(self) -> None:
        self._holders: dict[IPv4Address, Entry] = {}
        self._networks: dict[IPv4Network, Entry] = {}
        self._routed: dict[IPv4Network, Entry] = {}  # behind a gateway

    def parse(self, text: str) -> IPv4Interface:
        """A parser for a public address."""
        return public_interface(text)

    def claim(self, address: IPv4Interface, entry: Entry) -> None:
        """Give `address` to the node at `entry`, or note there why it cannot have it."""
        network = address.network
        router = _router(network)
        if address.ip == router:
            entry.refuse(
                f"{address.ip} is the internet router's address in {network}; "
                f"allowed: {free_addresses(network, router)}"
            )
        elif address.ip in self._holders:
            entry.refuse(_taken(address.ip, self._holders[address.ip]))
            return
        self._holders[address.ip] = entry
        if network in self._networks:
            return
        self._refuse_overlap(network, entry, "the same network, or one that does not overlap it")
        self._networks[network] = entry

    def claim_routed(self, network: IPv4Network, entry: Entry) -> None:
        """Give a network to the router at `entry`, or note there why it cannot have it."""
        self._refuse_overlap(network, entry, "a network that does not overlap it")
        self._routed[network] = entry

    def _refuse_overlap(self, network: IPv4Network, entry: Entry, allowed: str) -> None:
        for other, first in (self._networks | self._routed).items():
            if network.overlaps(other):
                entry.refuse(
                    f"the network {network} overlaps {other} of {first.path} (line {first.line}); "
                    f"allowed: {allowed}"
                )

    def isps(self) -> tuple[Isp, ...]:
        """One ISP for each network, in the order of the file."""
        return tuple(Isp(network, _router(network)) for network in self._networks)


class SitePlan:
    """The addresses inside the site `name`; if `gateway` is None, only their form is checked."""

    def __init__(self, name: str, gateway: IPv4Interface | None, entry: Entry) -> None:
        self._name = name
        self._gateway = gateway
        self._holders = {} if gateway is None else {gateway.ip: entry}

    def parse(self, text: str) -> IPv4Interface:
        """A parser for an address inside the site, with or without a prefix length."""
        value = interface(text)
        if self._gateway is None:
            return value
        network = self._gateway.network
        if value.ip not in network:
            raise ValueError(
                f"{value.ip} is outside {network}, the network of site {self._name}; "
                f"allowed: {free_addresses(network, self._gateway.ip)}"
            )
        if "/" in text and value.network != network:
            raise ValueError(f"{quoted(text)} is not in {network}; allowed: {value.ip}")
        return usable(IPv4Interface((value.ip, network.prefixlen)), self._gateway.ip)

    def claim(self, address: IPv4Interface, entry: Entry) -> None:
        """Give `address` to the host at `entry`, or note there which node has it already."""
        if address.ip in self._holders:
            entry.refuse(_taken(address.ip, self._holders[address.ip]))
        else:
            self._holders[address.ip] = entry


def read_addresses(entry: Entry, plan: PublicPlan | SitePlan, most: int) -> list[IPv4Interface]:
    """The address of a node, or several in one network; none if there is an error."""
    items = entry.items() if entry.is_list() else [entry]
    if not 1 <= len(items) <= most:
        entry.refuse(f"{len(items)} addresses; allowed: 1 to {most}")
        return []
    addresses: list[IPv4Interface] = []
    for item in items:
        if (address := item.read(plan.parse)) is None:
            continue
        if addresses and address.network != addresses[0].network:
            item.refuse(
                f"{address.ip} is not in {addresses[0].network}, the network of the first "
                "address; allowed: addresses of one network"
            )
        else:
            plan.claim(address, item)
            addresses.append(address)
    return addresses


def _router(network: IPv4Network) -> IPv4Address:
    return network[1]


def _taken(address: IPv4Address, holder: Entry) -> str:
    return (
        f"{address} is already used by {holder.path} (line {holder.line}); allowed: another address"
    )
