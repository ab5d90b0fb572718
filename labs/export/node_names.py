"""The names that nodes and switches have on other engines.

A node becomes a host of a cluster, so its name is a DNS label (RFC 1123): no underscore. And
clabernetes names an interface of its machine NODE-INTERFACE, for which Linux has 15 characters.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable

from napt_lab.topologies.network.plan import node_plans
from napt_lab.topologies.spec.model import Topology

INTERFACE_NAME = 15  # characters (IFNAMSIZ in linux/if.h, without the final zero byte)


def node_names(topology: Topology, separator: str) -> dict[str, str]:
    """Every node's name there; `separator` stands for an underscore."""
    names: dict[str, str] = {}
    for plan in node_plans(topology):
        longest = max(len(port.interface) for port in plan.ports)
        wanted = plan.name.strip("_").replace("_", separator)
        room = INTERFACE_NAME - 1 - longest
        names[plan.name] = _free(wanted, room, names.values())
    return names


def switch_names(count: int, taken: Iterable[str]) -> list[str]:
    """Names for so many switches: s1, s2 … as far as no node is called so."""
    nodes = set(taken)
    free = (name for number in itertools.count(1) if (name := f"s{number}") not in nodes)
    return list(itertools.islice(free, count))


def _free(wanted: str, room: int, taken: Iterable[str]) -> str:
    """The name, cut to `room` characters, with a number at its end where it is taken."""
    name, number = wanted[:room].strip("-"), 1
    while name in taken:
        number += 1
        name = f"{wanted[: room - len(str(number))].strip('-')}{number}"
    return name
