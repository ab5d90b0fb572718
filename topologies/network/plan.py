"""What the builder makes for a topology: each node's interfaces, addresses, routes, settings.

Neighbors. The kernel has one neighbor (ARP) table for all namespaces of a machine, and permanent
entries do not count against its limit. So the router, gateways and public hosts get a permanent
entry for each node on their segments. Hosts of a site have none and send ARP requests, as a PC
does: the course looks at them. An address without a host has no entry anywhere. On a large segment
only the next hop and the nodes that have it know each other from the start, since entries for all
pairs would take most of the time.

Segments are called `isp.1`, `isp.2`, … and `site.1`, `site.2`, …: the name of a node cannot have a
dot, so no node can have such a name. A gateway has the interfaces `wan0` and `lan0`, a host `eth0`,
the router one for each ISP's network (`isp1`, `isp2`, …).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv4Interface, IPv4Network

from napt_lab.topologies.spec.link import Link
from napt_lab.topologies.spec.model import Topology
from napt_lab.topologies.spec.scalars import PRIVATE, ROUTER_NAME, SHARED

# Every node's settings, below /proc/sys/net.
QUIET = {  # no IPv6: its automatic packets would only clutter the captures
    "ipv6/conf/all/disable_ipv6": "1",
    "ipv6/conf/default/disable_ipv6": "1",
}
PLAIN = {  # a new namespace inherits these from the machine
    "ipv4/ip_forward": "0",
    "ipv4/conf/all/rp_filter": "0",
    "ipv4/conf/default/rp_filter": "0",
    "ipv4/conf/all/send_redirects": "0",
    "ipv4/conf/default/send_redirects": "0",
    "ipv4/icmp_ratelimit": "0",  # a router reports every packet that it drops
}


GROUP = 54  # marks the links in the sandbox's namespace, to delete them all at once
LARGE = 100  # nodes on one segment


@dataclass(frozen=True, slots=True)
class Port:
    """One interface of a node on one segment."""

    interface: str
    address: IPv4Interface
    segment: str
    link: Link | None = None  # the wire between them, if it is slow
    others: tuple[IPv4Interface, ...] = ()  # more addresses, in the same network

    @property
    def addresses(self) -> tuple[IPv4Interface, ...]:
        """All addresses of the interface."""
        return (self.address, *self.others)

    @property
    def mac(self) -> str:
        """The MAC address, readable in a capture: 02:00 and the four bytes of the IP address."""
        return ":".join(f"{byte:02x}" for byte in (2, 0, *self.address.ip.packed))


@dataclass(frozen=True, slots=True)
class NodePlan:
    """One node. `next_hop`: its default route; None for the router."""

    name: str
    ports: tuple[Port, ...]
    next_hop: IPv4Address | None
    forwards: bool
    routes: tuple[tuple[IPv4Network, IPv4Address], ...] = ()  # to networks behind other nodes
    asks: bool = False  # sends ARP requests for its neighbors

    def ip_commands(self) -> list[str]:
        """Addresses and routes, as lines for `ip -batch`."""
        commands = ["link set lo up"]
        for port in self.ports:
            commands += [
                f"address add {address} broadcast + dev {port.interface}"
                for address in port.addresses
            ]
            if port.link and port.link.told_mtu:
                commands.append(f"link set {port.interface} mtu {port.link.told_mtu}")
            commands.append(f"link set {port.interface} up")
        commands += [f"route add {network} via {hop}" for network, hop in self.routes]
        if self.next_hop is not None:
            commands.append(f"route add default via {self.next_hop}")
        else:
            # The router has routes to public networks only; else it sends an ICMP error.
            commands += [f"route add unreachable {prefix}" for prefix in (*PRIVATE, SHARED)]
            commands.append("route add unreachable default")
        return commands


def by_segment(plans: Iterable[NodePlan]) -> dict[str, list[Port]]:
    """All interfaces on each segment."""
    segments: dict[str, list[Port]] = {}
    for plan in plans:
        for port in plan.ports:
            segments.setdefault(port.segment, []).append(port)
    return segments


def mtu_routes(port: Port, other: Port) -> list[str]:
    """The routes to `port` at its neighbor `other`, which knows the MTU of the link between them.

    The kernel uses a locked MTU also for packets that it forwards, and reports longer ones by ICMP
    "fragmentation needed".
    """
    assert port.link is not None
    how = f"dev {other.interface} mtu lock {port.link.told_mtu}"
    return [f"{address.ip} {how}" for address in port.addresses]


def mtu_commands(plans: Sequence[NodePlan]) -> dict[str, list[str]]:
    """What each node, by its name, must know of the MTUs of its neighbors' links."""
    segments = by_segment(plans)
    return {
        plan.name: [
            f"route add {route}"
            for port in plan.ports
            for narrow in segments[port.segment]
            if narrow is not port and narrow.link and narrow.link.told_mtu
            for route in mtu_routes(narrow, port)
        ]
        for plan in plans
    }


def _is_next_hop(port: Port) -> bool:
    """Whether the other nodes of its segment send to it what is for elsewhere."""
    return port.interface == "lan0" or port.interface.startswith("isp")


def arp_patience(plans: Sequence[NodePlan]) -> dict[str, int]:
    """How long a node of each segment waits for the answer to an ARP request, in milliseconds.

    Three unanswered requests mean "no such neighbor". Between local nodes 0.2 s between them is
    enough; with the kernel's default of a second a student would have to wait. Over slow links it
    is the round trip more.
    """
    patience = {}
    for segment, ports in by_segment(plans).items():
        delays = sorted(port.link.delay + port.link.jitter for port in ports if port.link)
        patience[segment] = 200 + round(2000 * sum(delays[-2:]))
    return patience


def neighbor_commands(plans: Sequence[NodePlan]) -> dict[str, list[str]]:
    """The permanent neighbors of each node, by its name, as lines for `ip -batch`."""
    segments = by_segment(plans)
    commands = {}
    for plan in plans:
        # Packets to a node's own addresses use an entry of the loopback interface.
        lines = ["neigh add 0.0.0.0 lladdr 00:00:00:00:00:00 dev lo nud permanent"]
        for port in () if plan.asks else plan.ports:
            others = [other for other in segments[port.segment] if other is not port]
            if len(others) >= LARGE and not _is_next_hop(port):
                others = [other for other in others if _is_next_hop(other)]
            where = f"dev {port.interface} nud permanent"
            lines += [
                f"neigh add {address.ip} lladdr {other.mac} {where}"
                for other in others
                for address in other.addresses
            ]
        commands[plan.name] = lines
    return commands


def segments(topology: Topology) -> list[str]:
    """The names of all segments."""
    isps = [f"isp.{number}" for number, _ in enumerate(topology.isps, start=1)]
    return isps + [f"site.{number}" for number, _ in enumerate(topology.sites, start=1)]


def node_plans(topology: Topology) -> Iterator[NodePlan]:
    """All nodes: the router, the public hosts, then each site's gateway and hosts."""
    legs = tuple(
        Port(f"isp{n}", IPv4Interface(f"{isp.router}/{isp.network.prefixlen}"), f"isp.{n}")
        for n, isp in enumerate(topology.isps, start=1)
    )
    yield NodePlan(ROUTER_NAME, legs, None, True, tuple(topology.routed_behind(None)))

    def uplink(
        interface: str, address: IPv4Interface, link: Link | None
    ) -> tuple[Port, IPv4Address]:
        isp = topology.isp_of(address)
        segment = f"isp.{topology.isps.index(isp) + 1}"
        return Port(interface, address, segment, link), isp.router

    for host in topology.internet:
        port, router = uplink("eth0", host.address, host.link)
        yield NodePlan(host.name, (replace(port, others=host.others),), router, forwards=False)
    for number, site in enumerate(topology.sites, start=1):
        gateway = site.gateway
        carrier = topology.upstream(site)
        if carrier is None:
            outside, router = uplink("wan0", gateway.public, gateway.link)
            outside = replace(outside, others=gateway.others)
        else:
            segment = f"site.{topology.sites.index(carrier) + 1}"
            outside = Port("wan0", gateway.public, segment, gateway.link, gateway.others)
            router = carrier.gateway.private.ip
        inside = Port("lan0", gateway.private, f"site.{number}")
        # A proxy never forwards packets. A NAPT starts to forward together with its translator:
        # earlier, packets with private addresses would leave the site.
        routes = tuple(topology.routed_behind(site))
        yield NodePlan(gateway.name, (outside, inside), router, gateway.is_router, routes)
        for host in site.hosts:
            port = Port("eth0", host.address, f"site.{number}", host.link, host.others)
            yield NodePlan(host.name, (port,), gateway.private.ip, forwards=False, asks=True)
