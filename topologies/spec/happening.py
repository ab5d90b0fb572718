"""What can happen to a network while it runs: one line each.

    reboot napt_a                    all that it remembers is lost
    restart napt_a                   its program is killed and started again; its state is kept
    renumber napt_a 24.9.3.9         another address outside, and a reboot
    unplug alice                     its cable (a gateway's outside) is pulled
    plug alice                       … and plugged in again
    plug alice into b as 10.0.0.20   in another site, with an address there: roaming
    link alice loss=5% delay=40ms    its link gets slow, or fast (`loss=0%`)
    set napt_a filtering=…           other settings; its table is lost
    kill relay:turn                  a program of the topology is killed
    start relay:turn                 … and started again
    wait 2s

The same lines are typed at a prompt (`event …`), written below `then:`, and called in Python.
`after` tells what a topology looks like when something has happened, so a sentence after it can
name the new addresses.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv4Interface
from typing import Any

from napt_lab.topologies.spec.address_pool import AddressPool
from napt_lab.topologies.spec.errors import not_one_of, quoted
from napt_lab.topologies.spec.gateways import MOST_ADDRESSES, parser
from napt_lab.topologies.spec.link import Link, bits_per_second, seconds, share
from napt_lab.topologies.spec.model import Engine, Gateway, Host, Site, Topology
from napt_lab.topologies.spec.napt_settings import SETTINGS, NaptSettings
from napt_lab.topologies.spec.roster import Roster
from napt_lab.topologies.spec.scalars import (
    count,
    duration,
    free_addresses,
    interface,
    usable,
)

USAGE = {
    "reboot": "reboot NODE",
    "restart": "restart NODE",
    "renumber": "renumber GATEWAY ADDRESS …",
    "unplug": "unplug NODE",
    "plug": "plug NODE [into SITE as ADDRESS]",
    "link": "link NODE KEY=VALUE …",
    "set": "set NAPT KEY=VALUE …",
    "kill": "kill NODE:PROGRAM",
    "start": "start NODE:PROGRAM",
    "wait": "wait TIME",
}
LONGEST_WAIT = 300
_wait = duration(0, LONGEST_WAIT)
_LINK: dict[str, tuple[str, Callable[[str], float | int]]] = {
    "delay": ("delay", seconds),
    "jitter": ("jitter", seconds),
    "loss": ("loss", share),
    "every": ("every", count(1_000_000)),
    "rate": ("rate", bits_per_second),
    "queue": ("queue", count(10_000)),
}


@dataclass(frozen=True, slots=True)
class Happening:
    """One thing that happens. Which of the other fields matter follows from `verb`."""

    text: str
    verb: str
    node: str = ""
    address: IPv4Interface | None = None
    others: tuple[IPv4Interface, ...] = ()
    site: str | None = None
    link: Link | None = None
    settings: NaptSettings | None = None
    program: str = ""
    seconds: float = 0.0


def happening(text: str, topology: Topology) -> Happening:
    """Read one line; ValueError with the message for its writer."""
    text = " ".join(text.split())
    verb, *words = text.split() or [""]
    if verb not in USAGE:
        raise ValueError(not_one_of(f"{quoted(verb)} cannot happen", verb, USAGE))
    made = _READ[verb](text, words, topology) if len(words) >= 1 else None
    if made is None:
        raise ValueError(f"{quoted(text)} is not complete or too long; allowed: {USAGE[verb]}")
    return made


def after(topology: Topology, happened: Happening) -> Topology:
    """The topology when this has happened."""
    match happened:
        case Happening(verb="renumber", node=name, address=IPv4Interface() as public):
            others = happened.others
            return _with_gateway(
                topology, name, lambda gateway: replace(gateway, public=public, others=others)
            )
        case Happening(verb="set", node=name, settings=NaptSettings() as settings):
            return _with_gateway(topology, name, lambda gateway: replace(gateway, napt=settings))
        case Happening(verb="link", node=name, link=link):
            topology = _with_gateway(topology, name, lambda gateway: replace(gateway, link=link))
            return _with_host(topology, name, lambda host: replace(host, link=link))
        case Happening(verb="plug", node=name, site=str() as into, address=address):
            assert address is not None
            host = next(host for host in topology.hosts() if host.name == name)
            moved = replace(host, address=address, others=())
            sites = tuple(
                replace(
                    site,
                    hosts=(
                        *(other for other in site.hosts if other.name != name),
                        *([moved] if site.name == into else []),
                    ),
                )
                for site in topology.sites
            )
            return replace(topology, sites=sites)
    return topology


def _with_gateway(topology: Topology, name: str, change: Callable[[Gateway], Gateway]) -> Topology:
    sites = tuple(
        replace(site, gateway=change(site.gateway)) if site.gateway.name == name else site
        for site in topology.sites
    )
    return replace(topology, sites=sites)


def _with_host(topology: Topology, name: str, change: Callable[[Host], Host]) -> Topology:
    def changed(hosts: tuple[Host, ...]) -> tuple[Host, ...]:
        return tuple(change(host) if host.name == name else host for host in hosts)

    sites = tuple(replace(site, hosts=changed(site.hosts)) for site in topology.sites)
    return replace(topology, internet=changed(topology.internet), sites=sites)


def _node(text: str, words: list[str], topology: Topology) -> Happening | None:
    """What needs a node alone: reboot, restart, unplug."""
    if len(words) != 1:
        return None
    Roster(topology).node(words[0])
    if words[0] not in topology.node_names()[1:]:
        raise ValueError(f"nothing can happen to the router {quoted(words[0])}; allowed: a node")
    return Happening(text, text.split()[0], words[0])


def _renumber(text: str, words: list[str], topology: Topology) -> Happening | None:
    name, *given = words
    if not 1 <= len(given) <= MOST_ADDRESSES:
        return None
    site = _site_of_gateway(name, topology)
    gateway, network = site.gateway, site.gateway.public.network
    carrier = topology.upstream(site)
    router = carrier.gateway.private.ip if carrier is not None else network[1]
    taken = {address.ip for host in topology.hosts() for address in host.addresses}
    taken |= {isp.router for isp in topology.isps}
    for each in topology.sites:
        taken |= {each.gateway.private.ip}
        if each is not site or not gateway.others:
            taken |= {address.ip for address in each.gateway.addresses}
    new: list[IPv4Interface] = []
    for word in given:
        ip = interface(word).ip
        if ip not in network:
            allowed = free_addresses(network, router)
            raise ValueError(f"{ip} is outside {network}; allowed: {allowed}")
        new.append(usable(IPv4Interface((ip, network.prefixlen)), router))
        if ip in taken:
            raise ValueError(f"{ip} belongs to a node already; allowed: another address")
        taken.add(ip)
    if gateway.napt is None or (len(new) > 1 and gateway.translator):
        what = "a NAPT" if gateway.napt is None else "a NAPT that can have several addresses"
        raise ValueError(f"{name} is not {what}; allowed: {what}")
    pool = AddressPool(new, gateway.private, gateway.napt)
    for rule in gateway.napt.rules:
        if not pool.has(rule.external_address):
            raise ValueError(
                f"the explicit rule for {rule.external_address}:{rule.external_port} of {name} "
                "needs that address; allowed: addresses with it"
            )
    _must_fit(pool, topology.inside(site), gateway.napt)
    return Happening(text, "renumber", name, address=new[0], others=tuple(new[1:]))


def _must_fit(pool: AddressPool, hosts: Iterable[IPv4Address], settings: NaptSettings) -> None:
    for _, why in pool.wrong(hosts, settings.rules):
        raise ValueError(why)


def _plug(text: str, words: list[str], topology: Topology) -> Happening | None:
    if len(words) == 1:
        return _node(text, words, topology)
    if len(words) != 5 or (words[1], words[3]) != ("into", "as"):
        return None
    host = Roster(topology).host(words[0])
    assert host is not None
    if host in topology.internet:
        raise ValueError(f"{host.name} is not in a site; allowed: a host of a site")
    sites = {site.name: site for site in topology.sites}
    if words[2] not in sites:
        raise ValueError(not_one_of(f"there is no site {quoted(words[2])}", words[2], sites))
    site = sites[words[2]]
    ip = interface(words[4]).ip
    if ip not in site.network:
        raise ValueError(
            f"{ip} is outside {site.network}, the network of site {site.name}; "
            f"allowed: {free_addresses(site.network, site.gateway.private.ip)}"
        )
    others = {
        each.ip for other in site.hosts if other.name != host.name for each in other.addresses
    }
    others |= {a.ip for each in topology.behind(site) for a in each.gateway.addresses}
    if ip in others | {site.gateway.private.ip}:
        raise ValueError(f"{ip} belongs to a node already; allowed: another address")
    address = usable(IPv4Interface((ip, site.network.prefixlen)), site.gateway.private.ip)
    if (napt := site.gateway.napt) is not None:
        _must_fit(AddressPool(site.gateway.addresses, site.gateway.private, napt), [ip], napt)
    return Happening(text, "plug", host.name, address=address, site=site.name)


def _link(text: str, words: list[str], topology: Topology) -> Happening | None:
    name, *pairs = words
    if not pairs or _node(text, [name], topology) is None:
        return None
    links = {host.name: host.link for host in topology.hosts()}
    links |= {site.gateway.name: site.gateway.link for site in topology.sites}
    values: dict[str, Any] = {}
    for key, value in _pairs(pairs, _LINK):
        field, parse = _LINK[key]
        values[field] = parse(value)
    link = replace(links[name] or Link(), **values)
    if link.jitter > link.delay:
        raise ValueError("the jitter is more than the delay; allowed: at most the delay")
    return Happening(text, "link", name, link=link)


def _set(text: str, words: list[str], topology: Topology) -> Happening | None:
    name, *pairs = words
    site = _site_of_gateway(name, topology)
    gateway = site.gateway
    if gateway.napt is None or gateway.engine is not Engine.PYTHON or gateway.translator:
        raise ValueError(f"{name} cannot be set; allowed: a NAPT with engine: python")
    if not pairs:
        return None
    settings = {setting.key: setting for setting in SETTINGS}
    values = {
        settings[key].name: parser(settings[key])(value) for key, value in _pairs(pairs, settings)
    }
    changed = replace(gateway.napt, **values)
    if wrong := changed.contradiction():
        raise ValueError(f"{wrong[0]}: {wrong[1]}")
    pool = AddressPool(gateway.addresses, gateway.private, changed)
    _must_fit(pool, topology.inside(site), changed)
    return Happening(text, "set", name, settings=changed)


def _program(text: str, words: list[str], topology: Topology) -> Happening | None:
    """What needs a program: kill, start."""
    name, colon, program = words[0].partition(":")
    if len(words) != 1 or not colon:
        return None
    host = Roster(topology).host(name)
    runs = [] if host is None else host.labels
    found = [full for full in runs if program in (full, full.partition(":")[0])]
    if len(found) != 1:
        raise ValueError(not_one_of(f"{name} does not run {quoted(program)}", program, runs))
    return Happening(text, text.split()[0], name, program=found[0])


def _time(text: str, words: list[str], _topology: Topology) -> Happening | None:
    return Happening(text, "wait", seconds=_wait(words[0])) if len(words) == 1 else None


def _site_of_gateway(name: str, topology: Topology) -> Site:
    site = Roster(topology).site_behind(name)
    if site is None:
        gateways = [each.gateway.name for each in topology.sites]
        raise ValueError(not_one_of(f"{quoted(name)} is not a gateway", name, gateways))
    return site


def _pairs(words: list[str], keys: Collection[str]) -> list[tuple[str, str]]:
    pairs = []
    for word in words:
        key, equals, value = word.partition("=")
        if not equals:
            raise ValueError(f"{quoted(word)} has no value; allowed: KEY=VALUE")
        if key not in keys:
            raise ValueError(not_one_of(f"{quoted(key)} cannot be changed", key, keys))
        pairs.append((key, value))
    return pairs


_READ: dict[str, Callable[[str, list[str], Topology], Happening | None]] = {
    "reboot": _node,
    "restart": _node,
    "renumber": _renumber,
    "unplug": _node,
    "plug": _plug,
    "link": _link,
    "set": _set,
    "kill": _program,
    "start": _program,
    "wait": _time,
}
