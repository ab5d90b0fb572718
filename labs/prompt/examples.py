"""What can be typed at a prompt, by example, with the names that the network has."""

from __future__ import annotations

import re

from napt_lab.topologies.spec.model import Topology

Examples = tuple[tuple[str, str], ...]

EXAMPLES: Examples = (  # what is typed, what it does
    ("bob ping -c 1 10.0.0.1", "run a command on a node"),
    ("bob ip route | head -1 > got", "… with pipes and files, by its shell"),
    ("alice COMMAND &", "… in the background"),
    ("shell bob", "a shell on a node"),
    ("draw", "the network with its addresses"),
    ("nodes", "the nodes and their interfaces"),
    ("rules napt_a", "list a NAPT's rules (all NAPTs' without a name)"),
    ("rule add napt_a tcp 24.9.3.7:8080 10.0.0.7:8080", "add an explicit rule"),
    ("rule add napt_a tcp 8080 10.0.0.7:8080", "… the same, without the NAPT's address"),
    ("rule del napt_a tcp 24.9.3.7:8080", "… and take it away (8080 alone will do)"),
    ("packets", "the NAPTs' packets, live, until Enter"),
    ("packets while bob COMMAND", "… until the command ends"),
    ("packets bob eth0", "a node's packets"),
    ("watch bob eth0", "… (the same as packets)"),
    ("packets bob while alice COMMAND", "… until the command on the other node ends"),
    ("why", "what went wrong with the last command, and where"),
    ("why all", "… with all commands so far"),
    ("why napt_a", "what one NAPT has dropped so far"),
    ("pingall", "each node pings each other node"),
    ("event reboot napt_a", "something happens (`event` alone lists what can)"),
    ("quit", "leave (so do exit, q and Ctrl-D)"),
)


def suited(text: str, topology: Topology) -> str:
    """An example with the names and addresses of `topology` in the place of the usual ones."""
    inside = [host for site in topology.sites for host in site.hosts]
    hosts = inside or list(topology.internet)
    names: dict[str, str] = {}
    if hosts:
        names |= {"alice": hosts[0].name, "bob": hosts[-1].name}
    for site in topology.sites[:1]:
        names |= {
            "napt_a": site.gateway.name,
            "24.9.3.7": str(site.gateway.public.ip),
            "10.0.0.1": str(site.gateway.private.ip),
        }
        if site.hosts:
            names["10.0.0.7"] = str(site.hosts[0].address.ip)
    if not names:
        return text
    known = "|".join(map(re.escape, names))
    return re.sub(rf"\b(?:{known})\b", lambda match: names[match[0]], text)
