"""The data of a topology, as read from a topology file without errors.

A topology has public hosts on the Internet and sites behind gateways. Each public address belongs
to the network of an ISP. The `internet` router has an interface in each of these networks and no
route to private addresses (RFC 1918), as on the real Internet. Each ISP's network and each site's
network is one Ethernet segment.

          host ── site's segment ── gateway ── ISP's segment ── internet ── ISP's segment ── host

A gateway may also stand behind another site, its carrier: then its outside is on that site's
segment, and the carrier's gateway is its next hop.

    host ── home's segment ── napt_home ── carrier's segment ── cgn ── ISP's segment ── internet

All of this is frozen data: the loader makes it, the builder makes Mininet nodes from it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import StrEnum
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from pathlib import Path

from napt_lab.topologies.spec.assertions import Expectation
from napt_lab.topologies.spec.firewall import Firewall
from napt_lab.topologies.spec.link import Link
from napt_lab.topologies.spec.napt_settings import NaptSettings
from napt_lab.topologies.spec.scalars import ROUTER_NAME
from napt_lab.topologies.spec.services import Service
from napt_lab.topologies.spec.user_program import UserProgram

SHOWN = 3  # addresses of a pool, in drawings


class GatewayKind(StrEnum):
    """The kind of gateway between a site and its ISP."""

    NAPT = "napt"
    PROXY = "proxy"
    TRANSPARENT_PROXY = "transparent-proxy"
    ROUTER = "router"  # forwards packets as they are: public addresses inside


class Engine(StrEnum):
    """What translates on a NAPT: this project's Python, or the kernel (to compare with)."""

    PYTHON = "python"
    NFTABLES = "nftables"


class Datapath(StrEnum):
    """What forwards the packets of established flows."""

    PYTHON = "python"
    KERNEL = "kernel"


@dataclass(frozen=True, slots=True)
class Host:
    """An end system: a PC in a site, or a server on the Internet.

    `address` is the one that its name stands for; `others`, in the same network, it has besides.
    """

    name: str
    address: IPv4Interface
    runs: tuple[Service, ...] = ()
    programs: tuple[UserProgram, ...] = ()
    link: Link | None = None
    others: tuple[IPv4Interface, ...] = ()

    @property
    def addresses(self) -> tuple[IPv4Interface, ...]:
        """All its addresses."""
        return (self.address, *self.others)

    @property
    def labels(self) -> list[str]:
        """The names of all that it runs."""
        return [each.label for each in self.runs] + [each.label for each in self.programs]


@dataclass(frozen=True, slots=True)
class Gateway:
    """The gateway of a site. `napt` is None unless `kind` is NAPT.

    `others`: more addresses outside, if a NAPT has a pool of them, in the same network.
    `behind`: the site whose inside network has the address `public`; None on the Internet.
    `link`: its wire outside.
    """

    name: str
    kind: GatewayKind
    public: IPv4Interface
    private: IPv4Interface
    engine: Engine = Engine.PYTHON
    napt: NaptSettings | None = None
    datapath: Datapath | None = None  # None: KERNEL if the topology has `offload: true`
    translator: Path | None = (
        None  # a file with a translate() of the user's own, in place of the project's
    )
    behind: str | None = None
    link: Link | None = None
    firewall: Firewall | None = None
    others: tuple[IPv4Interface, ...] = ()

    @property
    def addresses(self) -> tuple[IPv4Interface, ...]:
        """All its addresses outside."""
        return (self.public, *self.others)

    @property
    def outside(self) -> str:
        """The same as text; of more than three, how many more there are."""
        more = len(self.addresses) - SHOWN
        shown = ", ".join(str(address.ip) for address in self.addresses[:SHOWN])
        return f"{shown} and {more} more" if more > 0 else shown

    @property
    def is_router(self) -> bool:
        """Whether the addresses inside are known outside, since nothing is translated."""
        return self.kind is GatewayKind.ROUTER


@dataclass(frozen=True, slots=True)
class Site:
    """A network behind one gateway: hosts on one segment, with private addresses or a router's."""

    name: str
    gateway: Gateway
    hosts: tuple[Host, ...]

    @property
    def network(self) -> IPv4Network:
        """The private network behind the gateway."""
        return self.gateway.private.network


@dataclass(frozen=True, slots=True)
class Isp:
    """A public network. The internet router has its first host address."""

    network: IPv4Network
    router: IPv4Address


@dataclass(frozen=True, slots=True)
class Then:
    """What happens (lines for happening.py), and what must hold afterwards."""

    do: tuple[str, ...]
    expect: tuple[Expectation, ...]


@dataclass(frozen=True, slots=True)
class Topology:
    """A whole topology. Node names are unique across it; the router is called `internet`."""

    name: str
    path: Path
    title: str
    isps: tuple[Isp, ...]
    internet: tuple[Host, ...]
    sites: tuple[Site, ...]
    offload: bool = False  # True: links may carry unsegmented TCP: faster, but not as on a wire
    expect: tuple[Expectation, ...] = ()  # what must hold while it runs
    then: tuple[Then, ...] = ()  # what happens after that, and what must hold then

    def hosts(self) -> Iterator[Host]:
        """All hosts, public ones first."""
        yield from self.internet
        for site in self.sites:
            yield from site.hosts

    def expectations(self) -> tuple[Expectation, ...]:
        """All that must hold, in its order."""
        return self.expect + tuple(each for then in self.then for each in then.expect)

    def node_names(self) -> list[str]:
        """All nodes: the router, the public hosts, then each site's gateway and hosts."""
        names = [ROUTER_NAME, *(host.name for host in self.internet)]
        for site in self.sites:
            names += [site.gateway.name, *(host.name for host in site.hosts)]
        return names

    def translated_by(self, translator: Path) -> Topology:
        """This topology with the file `translator` on every NAPT with engine python."""
        sites = tuple(
            replace(site, gateway=replace(site.gateway, translator=translator))
            if site.gateway.napt is not None and site.gateway.engine is Engine.PYTHON
            else site
            for site in self.sites
        )
        return replace(self, sites=sites)

    def engine(self) -> str:
        """What translates: `python`, `nftables` or `translator mine.py`.

        Different engines of several NAPTs are separated by commas.
        """
        engines = [
            f"translator {gateway.translator.name}" if gateway.translator else gateway.engine.value
            for gateway in (site.gateway for site in self.sites)
            if gateway.napt is not None
        ]
        return ", ".join(dict.fromkeys(engines)) or Engine.PYTHON.value

    def by_gateway(self) -> dict[str, Site]:
        """The sites by the names of their gateways."""
        return {site.gateway.name: site for site in self.sites}

    def upstream(self, site: Site) -> Site | None:
        """The site that `site` is behind; None if its gateway is on the Internet."""
        # Where a file has errors, the carrier may be missing.
        return next((each for each in self.sites if each.name == site.gateway.behind), None)

    def behind(self, site: Site | None) -> list[Site]:
        """The sites directly behind `site`; without it, those on the Internet."""
        name = site.name if site else None
        return [each for each in self.sites if each.gateway.behind == name]

    def inside(self, site: Site) -> list[IPv4Address]:
        """The addresses of a site's hosts, and of the gateways behind it."""
        hosts = [address.ip for host in site.hosts for address in host.addresses]
        return hosts + [a.ip for each in self.behind(site) for a in each.gateway.addresses]

    def routed_behind(self, site: Site | None) -> Iterator[tuple[IPv4Network, IPv4Address]]:
        """The networks of routers behind `site`, each with the next hop from its segment.

        Without `site`: the same from the Internet.
        """
        for each in self.behind(site):
            if each.gateway.is_router:
                next_hop = each.gateway.public.ip
                yield each.network, next_hop
                yield from ((network, next_hop) for network, _ in self.routed_behind(each))

    def outermost(self, site: Site) -> Site:
        """The last site on the way from `site` to the Internet."""
        while (upstream := self.upstream(site)) is not None:
            site = upstream
        return site

    def isp_of(self, address: IPv4Interface) -> Isp:
        """The ISP of a public address; the loader guarantees that there is one."""
        return next(isp for isp in self.isps if isp.network == address.network)
