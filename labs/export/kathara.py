"""As a Kathara network scenario: lab.conf says who is on which segment, `NODE.startup` the rest.

Kathara's segments are collision domains, which join as many interfaces as there are.
"""

from __future__ import annotations

from collections.abc import Mapping

from napt_lab.labs.export import boot
from napt_lab.topologies.network.plan import node_plans
from napt_lab.topologies.spec.model import Topology

SEPARATOR = ""  # Kathara's names have neither underscores (Megalos changes them) nor hyphens
LINKS = (
    "carried over in part: slow links, by netem (tc-netem(8)) of the machine that runs the lab; "
    "only what leaves a node is slow, since Kathara's segments have no place for what comes in"
)
LEAK = (
    "on one machine none: no node is `bridged`; on a cluster Megalos gives every node an eth0 in "
    "the cluster's own network, which reaches what the cluster reaches"
)


def files(
    topology: Topology, lab: str, image: str, names: Mapping[str, str]
) -> tuple[dict[str, str], str]:
    """The lab's files by name, and what runs a command on `$node`, in sh; `$here` is the folder.

    The files are lab.conf and a startup script for each node.
    """
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
        name = names[plan.name]
        for number, port in enumerate(plan.ports):
            lines.append(f'{name}[{number}]="{port.segment.replace(".", "")}"')
        lines.append(f'{name}[image]="{image}"')
        lines.append(f'{name}[entrypoint]="sleep infinity"')
        lines.append(f'{name}[bridged]="false"')
        lines.append("")
        written[f"{name}.startup"] = scripts[plan.name]
    return {"lab.conf": "\n".join(lines), **written}, 'kathara exec -d "$here" "$node" --'
