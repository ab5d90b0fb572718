"""The nodes of a topology by name, for sentences that name them."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from ipaddress import IPv4Address

from napt_lab.topologies.spec.errors import not_one_of, quoted
from napt_lab.topologies.spec.model import Host, Site, Topology
from napt_lab.topologies.spec.scalars import ROUTER_NAME

UNKNOWN = IPv4Address(0)  # the address of a node whose description has an error


class Roster:
    """The nodes of a topology.

    `names`: all nodes, also those whose description has an error (without it, all nodes of the
    topology). `misread`: texts that may be
    names of nodes, in places with an error that is reported already: a second error for each
    sentence that names them ("there is no node") would only hide the first.
    """

    def __init__(
        self,
        topology: Topology,
        names: Iterable[str] | None = None,
        misread: Collection[str] = (),
    ) -> None:
        self._topology = topology
        self._hosts = {host.name: host for host in topology.hosts()}
        self._gateways = topology.by_gateway()
        self._names = [*names, ROUTER_NAME] if names is not None else topology.node_names()
        self._misread = misread

    def node(self, name: str) -> str:
        """`name`, if there is such a node. This and the methods below raise ValueError if not."""
        if name not in self._names and name not in self._misread:
            raise ValueError(not_one_of(f"there is no node {quoted(name)}", name, self._names))
        return name

    def node_or_gateway(self, name: str) -> str:
        """The same; the name of a site, if no node has it, stands for its gateway."""
        if name not in self._names:
            for site in self._topology.sites:
                if site.name == name:
                    return site.gateway.name
        return self.node(name)

    def host(self, name: str) -> Host | None:
        """The host of that name; None if its description has an error."""
        if self.node(name) in self._gateways or name == ROUTER_NAME:
            hosts = [known for known in self._names if self._is_host(known)]
            raise ValueError(not_one_of(f"{quoted(name)} is not a host", name, hosts))
        return self._hosts.get(name)

    def site_behind(self, name: str) -> Site | None:
        """The site whose gateway has that name; None for a host, or if it could not be read."""
        return self._gateways.get(self.node(name))

    def address(self, name: str) -> IPv4Address:
        """The address to dial for a node: a host's own, a gateway's public address."""
        if self.node(name) == ROUTER_NAME:
            raise ValueError(
                f"{ROUTER_NAME!r} has several addresses; allowed: one of its addresses, as in "
                "198.51.100.1"
            )
        if name in self._gateways:
            gateway = self._gateways[name].gateway
            if gateway.others:
                raise ValueError(
                    f"{name!r} has several addresses; allowed: one of its addresses, as in "
                    f"{gateway.others[0].ip}"
                )
            return gateway.public.ip
        return self._hosts[name].address.ip if name in self._hosts else UNKNOWN

    def has_errors(self, name: str) -> bool:
        """Whether the description of a node could be read only in part, or not at all."""
        site = self._gateways.get(name)
        if site is not None:
            return not site.hosts and bool(self._misread)
        return name not in self._hosts and name != ROUTER_NAME

    def napts(self) -> list[str]:
        """The names of the NAPTs."""
        return [name for name, site in self._gateways.items() if site.gateway.napt is not None]

    def places_outside(self, site: Site) -> int:
        """The number of addresses on its outside from which a NAPT can be measured."""
        carrier = self._topology.upstream(site)
        if carrier is not None:
            return 1 + len(carrier.hosts)
        return len(self._topology.internet) + len(self._topology.isps)

    def runs(self, service: str) -> bool:
        """Whether a public host runs this service, as far as the file could be read."""
        hosts = self._topology.internet
        return bool(self._misread) or any(s.name == service for host in hosts for s in host.runs)

    def _is_host(self, name: str) -> bool:
        return name not in self._gateways and name != ROUTER_NAME
