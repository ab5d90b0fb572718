"""What a node does when it starts, as a shell script: addresses, routes, names, programs.

The same that topologies/network/builder.py does in the sandbox, in words that any engine can
carry out. Every word that comes from a topology is quoted.

Each engine names interfaces in its own way: containerlab as we tell it, Kathara eth0, eth1, …,
Megalos net0, net1, …, beside an eth0 that leads to the cluster's own network. So a script looks
for net0 first. A gateway's and the router's interfaces are then renamed to lan0, wan0, isp1 …,
because their programs are told these names; a host's keep what they are called.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from ipaddress import IPv4Address
from pathlib import PurePosixPath

from napt_lab.labs.export.slow_link import slow_down
from napt_lab.topologies.network.plan import PLAIN, QUIET, NodePlan, mtu_commands, node_plans
from napt_lab.topologies.network.programs import (
    FIREWALL_COMMAND,
    gateway_command,
    service_command,
)
from napt_lab.topologies.spec import kernel_nat
from napt_lab.topologies.spec.model import Engine, Gateway, Host, Topology

PYTHON = "/opt/napt-lab/bin/python"  # in the project's image
HOME = PurePosixPath("/run/napt-lab")
_FIND_PORT = """\
find_port() {  # NUMBER NAME: the name of an interface, on whichever engine this runs
  for port in "net$1" "$2" "eth$1"; do
    [ ! -e "/sys/class/net/$port" ] || return 0
  done
  echo "this node has no interface net$1, $2 or eth$1" >&2
  exit 1
}
rename() {  # NAME: the interface that was found
  [ "$port" != "$1" ] || return 0
  ip link set "$port" down
  ip link set "$port" name "$1"
}"""


def scripts(topology: Topology) -> dict[str, str]:
    """The script of each node, by the node's name in the topology."""
    hosts = {host.name: host for host in topology.hosts()}
    gateways = topology.by_gateway()
    written = {}
    plans = list(node_plans(topology))
    mtus = mtu_commands(plans)
    for plan in plans:
        lines = [*_network(plan, is_host=plan.name in hosts), *_names(topology)]
        if plan.name not in hosts:
            lines += [f"ip {route.replace('add', 'replace', 1)}" for route in mtus[plan.name]]
        if plan.name in gateways:
            site = gateways[plan.name]
            if site.gateway.engine is Engine.NFTABLES:
                lines += _kernel(site.gateway, topology.inside(site))
            if site.gateway.firewall is not None:
                firewall = site.gateway.firewall.ruleset(site.gateway.addresses)
                lines.append(f"nft {shlex.quote(firewall)}")
                lines += _background(FIREWALL_COMMAND, "firewall")
            if not site.gateway.is_router:
                lines += _background(gateway_command(site, HOME, topology), "gateway")
        elif plan.name in hosts:
            lines += _services(hosts[plan.name], topology)
        written[plan.name] = "\n".join(["#!/bin/sh", "set -e", *lines, ""])
    return written


def _network(plan: NodePlan, *, is_host: bool) -> Iterator[str]:
    for name, value in (QUIET | PLAIN).items():
        # The interfaces are there already, each with what the machine has for new ones.
        if "/default/" not in name:
            files = f"/proc/sys/net/{name.replace('/all/', '/*/')}"
            yield f"for file in {files}; do [ ! -e $file ] || echo {value} > $file; done"
    yield _FIND_PORT
    for number, port in enumerate(plan.ports):
        yield f"find_port {number} {port.interface}"
        if not is_host:
            yield f"rename {port.interface}"
    if is_host:
        (port,) = plan.ports
        plan = replace(plan, ports=(replace(port, interface='"$port"'),))
    for command in plan.ip_commands():
        # The engine may have given the node a default route of its own.
        yield f"ip {command.replace('route add', 'route replace')}"
    for port in plan.ports:
        if port.link is not None and (line := slow_down(port.interface, port.link)):
            yield line
    if plan.forwards:
        yield "echo 1 > /proc/sys/net/ipv4/ip_forward"


def _names(topology: Topology) -> Iterator[str]:
    for host in topology.internet:
        yield f"echo {shlex.quote(f'{host.address.ip} {host.name}')} >> /etc/hosts"


def _kernel(gateway: Gateway, hosts: Iterable[IPv4Address]) -> Iterator[str]:
    assert gateway.napt is not None
    yield f"nft {shlex.quote(kernel_nat.ruleset(gateway, gateway.napt, hosts))}"
    for name, value in kernel_nat.sysctls(gateway.napt).items():
        yield f"echo {value} > /proc/sys/net/{name}"


def _services(host: Host, topology: Topology) -> Iterator[str]:
    for service in host.runs:
        command = service_command(service, host, HOME, topology)
        if service.name == "file-server":
            yield f"mkdir -p {HOME / 'files'}"
        yield from _background(command, f"{service.name}-{service.port}")


def _background(command: Sequence[str], name: str) -> Iterator[str]:
    yield f"mkdir -p {HOME}"
    yield f"{PYTHON} -P -m {shlex.join(command)} > {HOME / name}.log 2>&1 &"
