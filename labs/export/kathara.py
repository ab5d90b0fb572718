"""As a Kathara network scenario: lab.conf says who is on which segment, `NODE.startup` the rest.

Kathara's segments are collision domains, which join as many interfaces as there are. It names a
node's interfaces eth0, eth1, …; they get the names that the topology has for them first.
"""

from __future__ import annotations

from napt_lab.labs.export import boot
from napt_lab.topologies.network.plan import NodePlan, node_plans
from napt_lab.topologies.spec.model import Topology


def files(topology: Topology, lab: str, image: str) -> dict[str, str]:
    """The files of the lab of this name, by theirs: lab.conf, and a startup script a node."""
    # Its parser knows no way to say these in a value.
    title = topology.title.replace('"', "").replace("=", ":")
    lines = [
        "# sudo kathara lstart --privileged: a translator makes devices and sets the kernel up.",
        "# Kathara runs a node as its image's user, who must be root for that: docs/engineer.md",
        f'LAB_NAME="{lab}"',
        f'LAB_DESCRIPTION="{title}"',
        "",
    ]
    scripts = boot.scripts(topology)
    written = {}
    for plan in node_plans(topology):
        for number, port in enumerate(plan.ports):
            lines.append(f'{plan.name}[{number}]="{port.segment.replace(".", "_")}"')
        lines.append(f'{plan.name}[image]="{image}"')
        lines.append(f'{plan.name}[entrypoint]="sleep infinity"')
        lines.append(f'{plan.name}[bridged]="false"')
        lines.append("")
        written[f"{plan.name}.startup"] = _renamed(plan) + scripts[plan.name]
    return {"lab.conf": "\n".join(lines), **written}


def _renamed(plan: NodePlan) -> str:
    lines = []
    for number, port in enumerate(plan.ports):
        if port.interface != f"eth{number}":
            lines += [
                f"ip link set eth{number} down",
                f"ip link set eth{number} name {port.interface}",
            ]
    return "".join(f"{line}\n" for line in lines)
