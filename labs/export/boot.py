"""What a node does when it starts, as a shell script: addresses, routes, names, programs.

The same that topologies/network/builder.py does in the sandbox, in words that any engine can
carry out. Every word that comes from a topology is quoted.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from pathlib import PurePosixPath

from napt_lab.topologies.network.plan import PLAIN, QUIET, NodePlan, node_plans
from napt_lab.topologies.network.programs import gateway_command, service_command
from napt_lab.topologies.spec import kernel_nat
from napt_lab.topologies.spec.model import Engine, Gateway, Host, Topology

PYTHON = "/opt/napt-lab/bin/python"  # in the project's image
HOME = PurePosixPath("/run/napt-lab")


def scripts(topology: Topology) -> dict[str, str]:
    """The script of each node, by the node's name."""
    hosts = {host.name: host for host in topology.hosts()}
    gateways = {site.gateway.name: site for site in topology.sites}
    written = {}
    for plan in node_plans(topology):
        lines = [*_network(plan), *_names(topology)]
        if plan.name in gateways:
            site = gateways[plan.name]
            if site.gateway.engine is Engine.NFTABLES:
                lines += _kernel(site.gateway)
            lines += _background(gateway_command(site, HOME, topology.offload), "gateway")
        elif plan.name in hosts:
            lines += _services(hosts[plan.name])
        written[plan.name] = "\n".join(["#!/bin/sh", "set -e", *lines, ""])
    return written


def _network(plan: NodePlan) -> Iterator[str]:
    for name, value in (QUIET | PLAIN).items():
        # The interfaces are there already, each with what the machine has for new ones.
        if "/default/" not in name:
            files = f"/proc/sys/net/{name.replace('/all/', '/*/')}"
            yield f"for file in {files}; do [ ! -e $file ] || echo {value} > $file; done"
    for command in plan.ip_commands():
        # The engine may have given the node a default route of its own.
        yield f"ip {command.replace('route add default', 'route replace default')}"
    if plan.forwards:
        yield "echo 1 > /proc/sys/net/ipv4/ip_forward"


def _names(topology: Topology) -> Iterator[str]:
    for host in topology.internet:
        yield f"echo {shlex.quote(f'{host.address.ip} {host.name}')} >> /etc/hosts"


def _kernel(gateway: Gateway) -> Iterator[str]:
    assert gateway.napt is not None
    yield f"nft {shlex.quote(kernel_nat.ruleset(gateway, gateway.napt))}"
    for name, value in kernel_nat.sysctls(gateway.napt).items():
        yield f"echo {value} > /proc/sys/net/{name}"


def _services(host: Host) -> Iterator[str]:
    for service in host.runs:
        command = service_command(service, host, HOME)
        if service.name == "file-server":
            yield f"mkdir -p {HOME / 'files'}"
        yield from _background(command, f"{service.name}-{service.port}")


def _background(command: Sequence[str], name: str) -> Iterator[str]:
    yield f"mkdir -p {HOME}"
    yield f"{PYTHON} -P -m {shlex.join(command)} > {HOME / name}.log 2>&1 &"
