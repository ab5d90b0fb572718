"""What Tab offers at the prompt: the words that can stand next in a line."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from napt_lab.topologies.spec.happening import USAGE
from napt_lab.topologies.spec.model import Engine, Topology

PROGRAMS = ("curl", "ip", "nc", "ping", "python", "ss", "traceroute")
PROTOCOLS = ("tcp", "udp")


@dataclass(frozen=True)
class Vocabulary:
    """The names of one network, as words of a line."""

    nodes: dict[str, list[str]]  # to its interfaces
    napts: dict[str, tuple[str, list[str]]]  # to its public address, and its hosts' addresses
    addresses: list[str]
    commands: list[str] = field(default_factory=list)
    following: dict[str, list[str]] = field(
        default_factory=lambda: {"rule": ["add", "del"], "event": list(USAGE)}
    )

    def candidates(self, before: Sequence[str]) -> list[str]:
        """The words that may follow those in `before`."""
        match before:
            case []:
                return [*self.commands, *self.nodes]
            case ["why"]:
                return ["all", *self.napts]
            case ["rules"] | ["rule", "add" | "del"]:
                return list(self.napts)
            case ["rule", _, napt] if napt in self.napts:
                return list(PROTOCOLS)
            case ["rule", _, napt, _] if napt in self.napts:
                return [f"{self.napts[napt][0]}:"]
            case ["rule", "add", napt, _, _] if napt in self.napts:
                return [f"{inside}:" for inside in self.napts[napt][1]]
            case (
                ["shell" | "packets" | "watch"] | ["packets" | "watch", *_, "while"] | ["event", _]
            ):
                return list(self.nodes)
            case ["packets" | "watch", *_, "while", _]:
                return list(PROGRAMS)
            case ["packets" | "watch", node] if node in self.nodes:
                return [*self.nodes[node], "while"]
            case ["packets" | "watch", node, interface] if interface in self.nodes.get(node, ()):
                return ["while"]
            case ["time" | "help", *rest] if before[0] == "time" or not rest:
                return self.candidates(rest)
            case [node] if node in self.nodes:
                return list(PROGRAMS)
            case [word] if word in self.following:
                return self.following[word]
            case [node, *_] if node in self.nodes:
                return [*self.addresses, *(f"http://{address}:" for address in self.addresses)]
        return []


def vocabulary(topology: Topology, interfaces: dict[str, list[str]]) -> Vocabulary:
    """The words of `topology`, whose nodes have these interfaces."""
    napts = {
        site.gateway.name: (
            str(site.gateway.public.ip),
            [str(address) for address in topology.inside(site)],
        )
        for site in topology.sites
        if site.gateway.napt is not None and site.gateway.engine is Engine.PYTHON
    }
    addresses = [str(each.ip) for host in topology.internet for each in host.addresses]
    for site in topology.sites:
        hosts = (address for host in site.hosts for address in host.addresses)
        ours = (*site.gateway.addresses, site.gateway.private, *hosts)
        addresses += [str(address.ip) for address in ours]
    return Vocabulary(interfaces, napts, list(dict.fromkeys(addresses)))
