"""Who is who in a topology, for the sentences that speak of its nodes."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from ipaddress import IPv4Address

from napt_lab.topologies.spec.errors import not_one_of, quoted
from napt_lab.topologies.spec.model import ROUTER_NAME, Host, Site, Topology

UNKNOWN = IPv4Address(0)  # of a node whose own description must be mended first


class Roster:
    """The nodes of a topology. `names` also has those that could not be read: they are there.

    `misread` are what may be names of nodes, at places where something is wrong that is told
    already. To say of each sentence about them that there is no such node would help nobody.
    """

    def __init__(
        self, topology: Topology, names: Iterable[str], misread: Collection[str] = ()
    ) -> None:
        self._topology = topology
        self._hosts = {host.name: host for host in topology.hosts()}
        self._gateways = {site.gateway.name: site for site in topology.sites}
        self._names = [*names, ROUTER_NAME]
        self._misread = misread

    def node(self, name: str) -> str:
        """`name`, if a node has it. This and all that follow raise ValueError if not."""
        if name not in self._names and name not in self._misread:
            raise ValueError(not_one_of(f"there is no node {quoted(name)}", name, self._names))
        return name

    def host(self, name: str) -> Host | None:
        """The host of that name; None where there is one, but its description is wrong."""
        if self.node(name) in self._gateways or name == ROUTER_NAME:
            hosts = [known for known in self._names if self._is_host(known)]
            raise ValueError(not_one_of(f"{quoted(name)} is not a host", name, hosts))
        return self._hosts.get(name)

    def site_behind(self, name: str) -> Site | None:
        """The site whose gateway has that name; None if it could not be read, or is a host."""
        return self._gateways.get(self.node(name))

    def address(self, name: str) -> IPv4Address:
        """What to dial for a node: a host's own address, a gateway's public one."""
        if self.node(name) == ROUTER_NAME:
            raise ValueError(
                f"{ROUTER_NAME!r} has several addresses; allowed: one of them, as in 198.51.100.1"
            )
        if name in self._gateways:
            return self._gateways[name].gateway.public.ip
        return self._hosts[name].address.ip if name in self._hosts else UNKNOWN

    def must_be_mended(self, name: str) -> bool:
        """Whether what is known of a node is not all there is, or nothing."""
        site = self._gateways.get(name)
        if site is not None:
            return not site.hosts and bool(self._misread)
        return name not in self._hosts and name != ROUTER_NAME

    def napts(self) -> list[str]:
        """The NAPTs."""
        return [name for name, site in self._gateways.items() if site.gateway.napt is not None]

    def public_addresses(self) -> int:
        """How many public addresses there are that are no gateway's."""
        return len(self._topology.internet) + len(self._topology.isps)

    def _is_host(self, name: str) -> bool:
        return name not in self._gateways and name != ROUTER_NAME
