"""The programs of a topology: a translator or a proxy on each gateway, services on the hosts.

All programs are started at once; then each must report that it is ready. If one ends before that,
the error shows the end of its stderr. A NAPT's engine is either our nat_node or the kernel's own
NAT (kernel_nat.py).

A proxy serves its site, not the Internet: it listens on the gateway's inside interface and private
address, and connects from the public one. The gateway itself forwards no packets.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from ipaddress import IPv4Address
from pathlib import PurePath

from napt_lab.topologies.network import namespaces
from napt_lab.topologies.network.napt_control import PROGRAM, NaptControl
from napt_lab.topologies.network.node import Node
from napt_lab.topologies.network.own_programs import program
from napt_lab.topologies.network.processes import Process
from napt_lab.topologies.spec import kernel_nat
from napt_lab.topologies.spec.firewall import LOG, Inbound
from napt_lab.topologies.spec.model import (
    Datapath,
    Engine,
    Gateway,
    GatewayKind,
    Host,
    Site,
    Topology,
)
from napt_lab.topologies.spec.napt_settings import PORT_CONTROL, SETTINGS, NaptSettings
from napt_lab.topologies.spec.services import SERVICES, Option, Service

READY_SECONDS = 30.0  # time for a program to become ready
PROXY_PORT = 3128  # of an explicit proxy
FIREWALL = "firewall"  # the name of the program that reports what one drops
FIREWALL_COMMAND = (
    "napt_lab.nat_node.engines.nftables.firewall",
    *("--group", str(LOG), "--inside", "lan0"),
)
INTERCEPTED_PORT = 80  # a transparent proxy intercepts connections to this port
TURN_REALM = "napt.lab"
CONTROL, FILES = "control.sock", "files"  # in the node's folder


class ProgramError(Exception):
    """A program of the topology cannot run; the message says which and why."""


def start_programs(topology: Topology, nodes: Mapping[str, Node]) -> list[Process]:
    """Start all programs of the topology, and return them when all are ready.

    Raises ProgramEnded if a program ends before that, DeadlinePassed if it takes too long,
    ProgramError if there is no such program.
    """
    starting: list[Process] = []
    for site in topology.sites:
        starting += gateway_programs(site, nodes[site.gateway.name], topology)
    for host in topology.hosts():
        starting += host_programs(host, nodes[host.name], topology)
    for process in starting:
        process.await_ready(READY_SECONDS)
    return starting


def common_modules(topology: Topology) -> set[str]:
    """What the topology's programs import: for the process that they are forked from."""
    gateways = [site.gateway for site in topology.sites if not site.gateway.is_router]
    modules = {"napt_lab.nat_node.startup"} if any(g.napt for g in gateways) else set()
    if any(host.runs for host in topology.hosts()) or any(not g.napt for g in gateways):
        modules.add("asyncio")
    if any(service.name == "file-server" for host in topology.hosts() for service in host.runs):
        modules.add("napt_lab.servers.files.application")  # with aiohttp
    return modules


def gateway_programs(
    site: Site, node: Node, topology: Topology, *, fresh: bool = True
) -> Iterator[Process]:
    """Start the programs of a gateway; without `fresh` the kernel keeps its rules and sessions."""
    gateway = site.gateway
    if gateway.firewall is not None:
        _load(gateway.firewall.ruleset(gateway.addresses), node, "firewall.nft")
        yield node.start_program(program(*FIREWALL_COMMAND), name=FIREWALL)
    if gateway.is_router:
        return
    name = gateway.kind.value
    if gateway.napt is not None:
        name = PROGRAM
        node.napt = NaptControl(gateway.name, node.home / CONTROL)
        if gateway.engine is Engine.NFTABLES and fresh:
            _start_kernel(gateway, gateway.napt, node, topology.inside(site))
    argv = program(*gateway_command(site, node.home, topology))
    yield node.start_program(argv, name=name)


def _start_kernel(
    gateway: Gateway, settings: NaptSettings, node: Node, hosts: Iterable[IPv4Address]
) -> None:
    _load(kernel_nat.ruleset(gateway, settings, hosts), node, "nat.nft")
    times = kernel_nat.sysctls(settings)
    namespaces.visit(node.pid, lambda: namespaces.write_sysctls(times))


def _load(ruleset: str, node: Node, name: str) -> None:
    """Load a table of nftables in place of the one before; it stays on the node as a file."""
    table = ruleset.partition(" {")[0]
    rules = node.home / name
    rules.write_text(f"{table}\ndelete {table}\n{ruleset}")
    loaded = node.run(["nft", "-f", str(rules)])
    if loaded.status != 0:
        raise ProgramError(f"{node.name}: nft: {loaded.stderr.strip()}")


def gateway_command(site: Site, home: PurePath, topology: Topology) -> list[str]:
    """The command line after `python -m` of a gateway's program; `home` is the node's folder."""
    gateway = site.gateway
    if gateway.napt is None:
        return proxy_command(gateway)
    flags = nat_node_flags(site, gateway.napt, home / CONTROL, topology.inside(site))
    if gateway.engine is Engine.NFTABLES:
        flags += ["--engine", "nftables"]
    elif gateway.translator is None:
        remembers = gateway.firewall is not None and gateway.firewall.inbound is Inbound.DENY
        usual = Datapath.KERNEL if topology.offload and not remembers else Datapath.PYTHON
        flags += ["--datapath", (gateway.datapath or usual).value]
    return ["napt_lab.nat_node", "run", *flags]


def proxy_command(gateway: Gateway) -> list[str]:
    """The command line after `python -m` of a gateway that is a proxy."""
    # The address alone would not do: the gateway takes packets to it from the Internet's side, too.
    inside = ["--listen", str(gateway.private.ip), "--device", "lan0"]
    own = [*inside, "--source", str(gateway.public.ip)]
    if gateway.kind is GatewayKind.TRANSPARENT_PROXY:
        return [
            "napt_lab.servers.proxy.transparent",
            *own,
            "--intercept",
            f"lan0:{INTERCEPTED_PORT}",
        ]
    return ["napt_lab.servers.proxy.explicit", *own, "--port", str(PROXY_PORT)]


def host_programs(host: Host, node: Node, topology: Topology) -> Iterator[Process]:
    """Start the services of a host, and the user's programs there."""
    for service in host.runs:
        if service.name == "file-server":
            (node.home / FILES).mkdir(exist_ok=True)
        argv = program(*service_command(service, host, node.home, topology))
        yield node.start_program(argv, name=service.label)
    for own in host.programs:
        try:
            yield node.start(own.argv, folder=own.folder, name=own.label, ready=own.ready)
        except OSError as error:
            raise ProgramError(str(error)) from error


def service_command(service: Service, host: Host, home: PurePath, topology: Topology) -> list[str]:
    """The command line after `python -m` of a service; `home` is the node's folder."""
    argv = [SERVICES[service.name].module, "--port", str(service.port)]
    if service.name == "file-server":
        argv += ["--folder", str(home / FILES)]
    if service.name == "stun":  # with more than two, it serves on the first two
        for address in host.addresses[:2]:
            argv += ["--address", str(address.ip)]
    if service.name == "dns":
        for name, known in names_known_to(host, topology):
            argv += ["--record", f"{name}={known}"]
    if service.name == "turn":
        argv += ["--realm", TURN_REALM, "--relay-address", str(host.address.ip)]
    return [*argv, *_option_flags(service.options)]


def names_known_to(host: Host, topology: Topology) -> Iterator[tuple[str, IPv4Address]]:
    """The nodes that a DNS server on this host knows, each with an address.

    They are those whose addresses mean something there: all public ones, and in a site also the
    site's own. A gateway is known by its address on that side.
    """
    for each in (*topology.internet, *_routed_hosts(topology)):
        yield from ((each.name, address.ip) for address in each.addresses)
    home = next((site for site in topology.sites if host in site.hosts), None)
    for site in topology.behind(None):
        if site is not home:
            yield from ((site.gateway.name, address.ip) for address in site.gateway.addresses)
    if home is None:
        return
    yield home.gateway.name, home.gateway.private.ip
    if not home.gateway.is_router:
        for each in home.hosts:
            yield from ((each.name, address.ip) for address in each.addresses)
    for site in topology.behind(home):
        yield from ((site.gateway.name, outside.ip) for outside in site.gateway.addresses)


def _routed_hosts(topology: Topology) -> Iterator[Host]:
    for site in topology.sites:
        if site.gateway.is_router:
            yield from site.hosts


def _option_flags(options: Mapping[str, Option]) -> list[str]:
    flags = []
    for name, value in options.items():
        if value is True:
            flags.append(f"--{name}")
        elif value is not False:
            for each in value if isinstance(value, tuple) else (value,):
                flags += [f"--{name}", str(each)]
    return flags


def nat_node_flags(
    site: Site,
    settings: NaptSettings,
    control: PurePath,
    hosts: Iterable[IPv4Address],
) -> list[str]:
    """The command line after `napt run`; `hosts` are the addresses inside.

    The file's rules hold while their hosts are plugged in elsewhere: it knows those, too.
    """
    gateway = site.gateway
    flags = {
        "inside": "lan0",
        "outside": "wan0",
        "internal": str(gateway.private),
        "control": str(control),
    }
    argv = [word for name, value in flags.items() for word in (f"--{name}", value)]
    for own in gateway.addresses:
        argv += ["--external", str(own.ip)]
    for setting in SETTINGS:
        argv += setting.words(getattr(settings, setting.name))
    for address in dict.fromkeys([*hosts, *(rule.internal_address for rule in settings.rules)]):
        argv += ["--host", str(address)]
    for rule in settings.rules:
        inside = f"{rule.internal_address}:{rule.internal_port}"
        at = f"{rule.external_address}:" if rule.external_address else ""
        argv += ["--rule", f"{rule.protocol} {at}{rule.external_port} -> {inside}"]
    if settings.port_control is not None:
        argv.append("--port-control")
        for setting in PORT_CONTROL:
            argv += setting.words(getattr(settings.port_control, setting.name))
    if gateway.translator is not None:
        argv += ["--translator", str(gateway.translator.resolve())]
    return argv
