"""A topology as one of its nodes sees it: who has an address, who is whose neighbor.

The same private address may belong to hosts of several sites, and is not routable on the Internet.
So an address is looked up from somewhere: a site's own first, then the public ones.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address

from napt_lab.topologies.network.plan import node_plans
from napt_lab.topologies.network.programs import PROXY_PORT
from napt_lab.topologies.spec.address_pool import AddressPool
from napt_lab.topologies.spec.assertions import Protocol, Target
from napt_lab.topologies.spec.model import (
    Gateway,
    GatewayKind,
    Host,
    Site,
    Topology,
)
from napt_lab.topologies.spec.scalars import ROUTER_NAME


@dataclass(frozen=True, slots=True)
class Neighbor:
    """A node on the same segment, and its address there."""

    node: str
    address: IPv4Address


class Surroundings:
    """Questions about a topology that need no running network."""

    def __init__(self, topology: Topology) -> None:
        self._topology = topology
        self._hosts: dict[str, tuple[Host, Site | None]] = {
            host.name: (host, None) for host in topology.internet
        }
        for site in topology.sites:
            self._hosts |= {host.name: (host, site) for host in site.hosts}
        self._sites = topology.by_gateway()
        self._addresses = {
            plan.name: plan.ports[0].address.ip for plan in node_plans(topology) if plan.ports
        }

    def site_of(self, node: str) -> Site | None:
        """The site that a host is in, or that a gateway stands before."""
        return self._sites.get(node) or self._hosts.get(node, (None, None))[1]

    def gateway(self, node: str) -> Gateway | None:
        """The gateway of that name."""
        return self._sites[node].gateway if node in self._sites else None

    def host(self, node: str) -> Host | None:
        """The host of that name."""
        return self._hosts[node][0] if node in self._hosts else None

    def address(self, node: str) -> IPv4Address:
        """A host's own address, a gateway's public one."""
        return self._addresses[node]

    def service_at(self, node: str, port: int) -> str:
        """The name of the service that the topology runs there; empty if there is none."""
        host = self.host(node)
        for service in host.runs if host else ():
            if service.port == port:
                return service.name
        gateway = self.gateway(node)
        is_proxy = gateway is not None and gateway.kind is GatewayKind.PROXY and port == PROXY_PORT
        return "proxy" if is_proxy else ""

    def holder(self, address: IPv4Address, seen_from: str) -> str | None:
        """The node that has this address, as `seen_from` would reach it."""
        site = self.site_of(seen_from)
        while site is not None:
            if address in site.network:
                own = {site.gateway.private.ip: site.gateway.name}
                own |= _holders(site.hosts)
                return (own | self._gateways_behind(site)).get(address)
            site = self._topology.upstream(site)
        public = _holders(self._topology.internet)
        public |= self._gateways_behind(None)
        for each in self._sites.values():
            if each.gateway.is_router:
                public |= {each.gateway.private.ip: each.gateway.name}
                public |= _holders(each.hosts)
                public |= self._gateways_behind(each)
        public |= {isp.router: ROUTER_NAME for isp in self._topology.isps}
        return public.get(address)

    def _gateways_behind(self, site: Site | None) -> dict[IPv4Address, str]:
        return {
            address.ip: each.gateway.name
            for each in self._topology.behind(site)
            for address in each.gateway.addresses
        }

    def behind(self, target: Target, protocol: Protocol, source: str) -> tuple[str, int] | None:
        """The node and port that a target leads to: a host's own, or by explicit rules."""
        if target.port is None:
            return None
        if target.node is not None and target.service_port is not None:
            return target.node, target.service_port
        node = self.holder(target.address, source)
        if node is None or self.host(node) is not None:
            return (node, target.port) if node else None
        site = self._sites.get(node)
        outside = [address.ip for address in site.gateway.addresses] if site else []
        if site is None or site.gateway.napt is None or target.address not in outside:
            return None
        transport = "udp" if protocol is Protocol.UDP else "tcp"
        internal = self.explicit_rule(site, transport, target.address, target.port)
        if internal is None:
            return None
        return self.behind(Target(*internal), protocol, site.gateway.name)

    def explicit_rule(
        self, site: Site, transport: str, address: IPv4Address, port: int
    ) -> tuple[IPv4Address, int] | None:
        """Where an explicit rule for this external endpoint of a site's NAPT leads to."""
        assert site.gateway.napt is not None
        pool = _pool(site.gateway)
        for rule in site.gateway.napt.rules:
            external = (rule.protocol, pool.of_rule(rule), rule.external_port)
            if external == (transport, address, port):
                return rule.internal_address, rule.internal_port
        return None

    def sharing(self, site: Site) -> list[Host]:
        """Hosts of a NAPT's site that share an external address: as many as there are."""
        pool = _pool(site.gateway)
        groups: dict[frozenset[IPv4Address], list[Host]] = {}
        for host in site.hosts:
            groups.setdefault(frozenset(pool.of_host(host.address.ip)), []).append(host)
        return max(groups.values(), key=len)

    def next_hop(self, node: str) -> Neighbor | None:
        """A node's default router, on its own segment; None for the router itself."""
        if node == ROUTER_NAME:
            return None
        if (site := self._outside(node)) is not None:
            return Neighbor(site.gateway.name, site.gateway.private.ip)
        host = self.host(node)
        public = host.address if host is not None else self._sites[node].gateway.public
        return Neighbor(ROUTER_NAME, self._topology.isp_of(public).router)

    def _outside(self, node: str) -> Site | None:
        """The site on whose segment a host is, or a gateway's outside; None on the Internet."""
        if node in self._sites:
            return self._topology.upstream(self._sites[node])
        return self._hosts[node][1]

    def public_addresses(self, node: str) -> set[IPv4Address]:
        """The addresses that a host on the Internet may see of a node."""
        addresses, site = {self.address(node)}, self._outside(node)
        while site is not None:
            gateway = site.gateway
            if gateway.napt is not None:
                pool = _pool(gateway)
                addresses = {out for inside in addresses for out in pool.of_host(inside)}
            elif not gateway.is_router:
                addresses = {gateway.public.ip}
            site = self._topology.upstream(site)
        return addresses

    def places_outside(self, site: Site) -> list[tuple[str, str]]:
        """The nodes outside of a site from which its NAPT can be measured, with an address each.

        No gateway's outside is among them: a NAPT's own packets are translated.
        """
        carrier = self._topology.upstream(site)
        if carrier is not None:
            places = [(host.name, str(host.address.ip)) for host in carrier.hosts]
            return [*places, (carrier.gateway.name, str(carrier.gateway.private.ip))]
        return self.public_places()

    def public_places(self) -> list[tuple[str, str]]:
        """The nodes on the Internet that send their own packets, with an address each."""
        places = [(host.name, str(host.address.ip)) for host in self._topology.internet]
        return places + [(ROUTER_NAME, str(isp.router)) for isp in self._topology.isps]

    def neighbors(self, node: str) -> list[str]:
        """The nodes of a host's or gateway's segment, its next hop first.

        Of the router's many, those that have an address of their own on it.
        """
        if node == ROUTER_NAME:
            return [h.name for h in self._topology.internet] or list(self._sites)
        if (site := self._outside(node)) is not None:
            return [site.gateway.name, *(h.name for h in site.hosts if h.name != node)]
        host = self.host(node)
        public = host.address if host is not None else self._sites[node].gateway.public
        isp = self._topology.isp_of(public)
        others = [h.name for h in self._topology.internet if h.address in isp.network]
        return [ROUTER_NAME, *(name for name in others if name != node)]


def _pool(gateway: Gateway) -> AddressPool:
    assert gateway.napt is not None
    return AddressPool(gateway.addresses, gateway.private, gateway.napt)


def _holders(hosts: Iterable[Host]) -> dict[IPv4Address, str]:
    return {address.ip: host.name for host in hosts for address in host.addresses}
