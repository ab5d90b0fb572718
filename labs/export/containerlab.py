"""As a containerlab topology: a container for each node, a link for each cable.

containerlab's links join two interfaces, and a segment joins many: so each segment is a node, too,
a switch (a container with a Linux bridge). No node has the management network: what is private
must have no other way out. Its scripts are mounted from `boot/`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml

from napt_lab.labs.export import boot
from napt_lab.labs.export.node_names import switch_names
from napt_lab.labs.export.slow_link import slow_down
from napt_lab.topologies.network.plan import Port, node_plans, segments
from napt_lab.topologies.spec.model import Topology

SEPARATOR = "-"  # stands for an underscore in names
LINKS = "carried over: slow links, by netem (tc-netem(8)) of the machine that runs the lab"
LEAK = (
    "on one machine none: no node has containerlab's management network; on a cluster "
    "clabernetes gives every pod the cluster's own network"
)


def files(
    topology: Topology, lab: str, image: str, names: Mapping[str, str]
) -> tuple[dict[str, str], str]:
    """The lab's files by name, and what runs a command on `$node`, in sh.

    The files are the topology and a script for each node.
    """
    scripts = {names[node]: script for node, script in boot.scripts(topology).items()}
    nodes: dict[str, Any] = {name: _node(image, name) for name in scripts}
    links = []
    all_segments = segments(topology)
    switches = switch_names(len(all_segments), names.values())
    for segment, switch in zip(all_segments, switches, strict=True):
        ports = [
            (names[plan.name], port)
            for plan in node_plans(topology)
            for port in plan.ports
            if port.segment == segment
        ]
        cables = {f"eth{number}": port for number, (_, port) in enumerate(ports, start=1)}
        scripts[switch] = _switch(cables)
        nodes[switch] = _node(image, switch)
        links += [
            {"endpoints": [f"{switch}:{cable}", f"{name}:{port.interface}"]}
            for cable, (name, port) in zip(cables, ports, strict=True)
        ]
    document = {"name": lab, "topology": {"nodes": nodes, "links": links}}
    text = f"# {topology.title}: containerlab deploy --topo {lab}.clab.yml\n"
    text += yaml.safe_dump(document, sort_keys=False)
    written = {f"{lab}.clab.yml": text} | {f"boot/{n}.sh": script for n, script in scripts.items()}
    return written, f'docker exec "clab-{lab}-$node"'


def _node(image: str, name: str) -> dict[str, Any]:
    return {
        "kind": "linux",
        "image": image,
        "user": "root",
        "entrypoint": "sleep infinity",
        "network-mode": "none",
        "binds": [f"boot/{name}.sh:/boot.sh:ro"],
        "exec": ["sh /boot.sh"],
    }


def _switch(cables: Mapping[str, Port]) -> str:
    """The script of a switch; `cables`: the port at the other end of each of its interfaces."""
    lines = ["#!/bin/sh", "set -e", "ip link add bridge type bridge", "ip link set bridge up"]
    lines += [f"ip link set {cable} master bridge up" for cable in cables]
    slow = (slow_down(cable, port.link) for cable, port in cables.items() if port.link)
    lines += filter(None, slow)
    return "\n".join([*lines, ""])
