"""The network as checks see it: who holds an address, who is whose neighbor.

Theory of operation. The same private address may belong to hosts of several sites, and means
nothing on the Internet. So an address is looked up from somewhere: a site's own first, then the
public ones. What a NAPT's explicit rules lead to is asked of the NAPT at that moment, for rules
come and go.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import TYPE_CHECKING

from napt_lab.labs.capture.wire import Wire
from napt_lab.topologies.network.processes import Process
from napt_lab.topologies.network.programs import PROXY_PORT
from napt_lab.topologies.spec.assertions import Protocol, Target
from napt_lab.topologies.spec.model import Gateway, GatewayKind, Host, Site
from napt_lab.topologies.spec.scalars import ROUTER_NAME

if TYPE_CHECKING:  # the builder brings all of Mininet
    from napt_lab.topologies.network.builder import Network

POLL = 0.05  # seconds between two looks whether somebody wants an end


@dataclass(frozen=True, slots=True)
class Neighbor:
    """A node on the same segment, and its address there."""

    node: str
    address: IPv4Address


class Ground:
    """A running network and its wires, with the questions that checks ask about them."""

    def __init__(self, net: Network, wire: Wire) -> None:
        self.net = net
        self.wire = wire
        self.stopped = threading.Event()  # somebody wants all checks to end
        self._topology = net.topology
        self._hosts: dict[str, tuple[Host, Site | None]] = {
            host.name: (host, None) for host in net.topology.internet
        }
        for site in net.topology.sites:
            self._hosts |= {host.name: (host, site) for host in site.hosts}
        self._sites = {site.gateway.name: site for site in net.topology.sites}
        self._macs = {
            f"{node.name}:{port.interface}": bytes.fromhex(port.mac.replace(":", ""))
            for node in net
            for port in node.ports
        }

    def ends(
        self, process: Process, seconds: float, is_dead: Callable[[], bool] = lambda: False
    ) -> bool:
        """Whether a command ends within that time. If not, or if it is in vain, it is killed."""
        end = time.monotonic() + seconds
        while not process.ends_within(POLL):
            if time.monotonic() > end or self.stopped.is_set() or is_dead():
                process.kill()
                process.await_end()
                return False
        return True

    def mac(self, where: str) -> bytes:
        """The Ethernet address of an interface, `node:interface`."""
        return self._macs[where]

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
        return self.net[node].address

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
        """The node that has this address, as far as `seen_from` can tell one from another."""
        site = self.site_of(seen_from)
        if site is not None and address in site.network:
            own = {site.gateway.private.ip: site.gateway.name}
            own |= {host.address.ip: host.name for host in site.hosts}
            return own.get(address)
        public = {host.address.ip: host.name for host in self._topology.internet}
        public |= {s.gateway.public.ip: s.gateway.name for s in self._topology.sites}
        public |= {isp.router: ROUTER_NAME for isp in self._topology.isps}
        return public.get(address)

    def behind(self, target: Target, protocol: Protocol, source: str) -> tuple[str, int] | None:
        """Whose service it is, and on which port: a host's own, or by way of an explicit rule."""
        if target.port is None:
            return None
        if target.node is not None and target.service_port is not None:
            return target.node, target.service_port
        node = self.holder(target.address, source)
        if node is None or self.host(node) is not None:
            return (node, target.port) if node else None
        site = self._sites.get(node)
        if site is None or site.gateway.napt is None or target.address != site.gateway.public.ip:
            return None
        transport = "udp" if protocol is Protocol.UDP else "tcp"
        internal = self._explicit(site, transport, target.port)
        if internal is None:
            return None
        inside = self.holder(internal[0], site.gateway.name)
        return (inside, internal[1]) if inside is not None else None

    def _explicit(self, site: Site, transport: str, port: int) -> tuple[IPv4Address, int] | None:
        external = f"{site.gateway.public.ip}:{port}"
        for rule in self.net.napt(site.gateway.name).rules():
            if rule["explicit"] and (rule["protocol"], rule["external"]) == (transport, external):
                address, _, number = str(rule["internal"]).rpartition(":")
                return IPv4Address(address), int(number)
        return None

    def next_hop(self, node: str) -> Neighbor | None:
        """Where a node sends what is not for its own segment; the router has no such place."""
        if node == ROUTER_NAME:
            return None
        host, site = self._hosts.get(node, (None, None))
        if host is not None and site is not None:
            return Neighbor(site.gateway.name, site.gateway.private.ip)
        public = host.address if host is not None else self._sites[node].gateway.public
        return Neighbor(ROUTER_NAME, self._topology.isp_of(public).router)

    def public_places(self) -> list[tuple[str, str]]:
        """Public nodes that are no gateways, with an address each; the router with each of its."""
        places = [(host.name, str(host.address.ip)) for host in self._topology.internet]
        return places + [(ROUTER_NAME, str(isp.router)) for isp in self._topology.isps]

    def neighbors(self, node: str) -> list[str]:
        """The nodes of a host's or gateway's segment, its next hop first.

        Of the router's many, those that have an address of their own on it.
        """
        if node == ROUTER_NAME:
            return [h.name for h in self._topology.internet] or list(self._sites)
        host, site = self._hosts.get(node, (None, None))
        if host is not None and site is not None:
            return [site.gateway.name, *(h.name for h in site.hosts if h.name != node)]
        public = host.address if host is not None else self._sites[node].gateway.public
        isp = self._topology.isp_of(public)
        others = [h.name for h in self._topology.internet if h.address in isp.network]
        return [ROUTER_NAME, *(name for name in others if name != node)]
