"""What a topology is, once the YAML has been read and found good.

An Internet of public hosts, and sites hidden behind gateways. Every public address lies in
the network of an ISP; the `internet` router has one leg in each of these networks, and no
route to private space (RFC 1918), so that a private destination fails there as it does in
life. Each ISP's network and each site's network is one Ethernet segment.

          host ── site's segment ── gateway ── ISP's segment ── internet ── ISP's segment ── host

Everything here is frozen data: the loader makes it, the builder turns it into Mininet nodes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import StrEnum
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from pathlib import Path

from napt_lab.topologies.spec.assertions import Expectation
from napt_lab.topologies.spec.napt_settings import NaptSettings
from napt_lab.topologies.spec.services import Service


class GatewayKind(StrEnum):
    """What stands between a site and its ISP."""

    NAPT = "napt"
    PROXY = "proxy"
    TRANSPARENT_PROXY = "transparent-proxy"


class Engine(StrEnum):
    """Who translates on a NAPT: this project's Python, or the kernel (oracle and yardstick)."""

    PYTHON = "python"
    NFTABLES = "nftables"


class Datapath(StrEnum):
    """Who carries the packets of established flows once our Python has decided about them."""

    PYTHON = "python"
    KERNEL = "kernel"


@dataclass(frozen=True, slots=True)
class Host:
    """An end system: a PC in a site, or a server on the Internet."""

    name: str
    address: IPv4Interface
    runs: tuple[Service, ...] = ()


@dataclass(frozen=True, slots=True)
class Gateway:
    """A site's way out. `napt` is set exactly where `kind` is NAPT."""

    name: str
    kind: GatewayKind
    public: IPv4Interface
    private: IPv4Interface
    engine: Engine = Engine.PYTHON
    napt: NaptSettings | None = None
    datapath: Datapath | None = None  # None: as the topology's offload asks for
    translator: Path | None = None  # a translate() that somebody else wrote, in Python's place


@dataclass(frozen=True, slots=True)
class Site:
    """A private network: hosts on one segment behind one gateway."""

    name: str
    gateway: Gateway
    hosts: tuple[Host, ...]

    @property
    def network(self) -> IPv4Network:
        return self.gateway.private.network


@dataclass(frozen=True, slots=True)
class Isp:
    """A public network. The internet router has its first host address."""

    network: IPv4Network
    router: IPv4Address


@dataclass(frozen=True, slots=True)
class Topology:
    """A whole topology. Node names are unique across it; the router is called `internet`."""

    name: str
    path: Path
    title: str
    isps: tuple[Isp, ...]
    internet: tuple[Host, ...]
    sites: tuple[Site, ...]
    offload: bool = False  # True: links may carry unsegmented TCP: fast, less like a wire
    expect: tuple[Expectation, ...] = ()  # what must hold once it runs

    def hosts(self) -> Iterator[Host]:
        """Every end system, public ones first."""
        yield from self.internet
        for site in self.sites:
            yield from site.hosts

    def translated_by(self, translator: Path) -> Topology:
        """The same topology, with the file `translator` on every NAPT that is ours."""
        sites = tuple(
            replace(site, gateway=replace(site.gateway, translator=translator))
            if site.gateway.napt is not None and site.gateway.engine is Engine.PYTHON
            else site
            for site in self.sites
        )
        return replace(self, sites=sites)

    def engine(self) -> str:
        """Who translates: `python`, or what all of the NAPTs have in its place.

        `nftables`, `translator mine.py` (several files: with a comma between them).
        """
        engines = [
            f"translator {gateway.translator.name}" if gateway.translator else gateway.engine.value
            for gateway in (site.gateway for site in self.sites)
            if gateway.napt is not None
        ]
        return ", ".join(dict.fromkeys(engines)) or Engine.PYTHON.value

    def isp_of(self, address: IPv4Interface) -> Isp:
        """The ISP that a public address belongs to; the loader guarantees that there is one."""
        return next(isp for isp in self.isps if isp.network == address.network)
