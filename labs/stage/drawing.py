"""A topology as a drawing that any terminal can show: a tree with the Internet as its root."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from napt_lab.topologies.spec.model import Gateway, Host, Isp, Site, Topology


@dataclass
class _Branch:
    text: str
    twigs: list[_Branch] = field(default_factory=list)


def draw(topology: Topology) -> list[str]:
    """Lines with every node and address. A double line is a NAPT or proxy: two worlds meet."""
    root = _Branch("internet: the router; it has no route to private addresses")
    root.twigs = [_isp(isp, topology) for isp in topology.isps]
    return [root.text, *_lines(root)]


def _isp(isp: Isp, topology: Topology) -> _Branch:
    branch = _Branch(f"{isp.network}  an ISP; the router is {isp.router}")
    branch.twigs = [
        _host(host) for host in topology.internet if topology.isp_of(host.address) == isp
    ]
    branch.twigs += [
        _site(site, topology)
        for site in topology.behind(None)
        if topology.isp_of(site.gateway.public) == isp
    ]
    return branch


def _site(site: Site, topology: Topology) -> _Branch:
    gateway = site.gateway
    text = f"{gateway.outside} ║ {gateway.name}, {_kind(gateway)} ║ {gateway.private.ip}"
    whose = "public" if gateway.is_router else "private"
    inside = _Branch(f"{site.network}  {whose}: site {site.name}", [_host(h) for h in site.hosts])
    inside.twigs += [_site(behind, topology) for behind in topology.behind(site)]
    return _Branch(text, [inside])


def _kind(gateway: Gateway) -> str:
    return "NAPT" if gateway.napt is not None else f"a {gateway.kind.value}"


def _host(host: Host) -> _Branch:
    services = [f"{service.name} on port {service.port}" for service in host.runs]
    runs = ", ".join([*services, *(program.label for program in host.programs)])
    addresses = ", ".join(str(address.ip) for address in host.addresses)
    return _Branch(f"{host.name} {addresses}" + (f"  ({runs})" if runs else ""))


def _lines(branch: _Branch) -> Iterator[str]:
    for number, twig in enumerate(branch.twigs, start=1):
        last = number == len(branch.twigs)
        yield f"{'└─' if last else '├─'} {twig.text}"
        for line in _lines(twig):
            yield f"{'   ' if last else '│  '}{line}"
