"""`firewall:` of a gateway: what it does not let through.

    firewall: {blocks: [udp, "tcp 25"], allows: ["udp 53"]}   # from the hosts inside
    firewall: {inbound: deny, allows: ["tcp 443"]}            # only answers, and this, come in

A packet that is dropped has the reason `blocked`. The same ruleset of nftables works for each kind
of gateway: it sees packets with the addresses of the inside, before or after a NAPT's translation.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import IPv4Interface

from napt_lab.topologies.spec.errors import quoted
from napt_lab.topologies.spec.scalars import one_of, port
from napt_lab.topologies.spec.yaml_nodes import Entry

REASON = "blocked"
LOG = 8  # the group of nflog on which nat_node/engines/nftables/firewall.py listens
_TRAFFIC = re.compile(r"(tcp|udp|icmp)(?: +([0-9]{1,9}))?")


class Inbound(StrEnum):
    """What may come in from outside that no host inside has asked for."""

    ALLOW = "allow"
    DENY = "deny"


@dataclass(frozen=True, slots=True)
class Traffic:
    """A protocol, or one destination port of it."""

    protocol: str
    port: int | None = None

    @property
    def match(self) -> str:
        """In the words of nftables."""
        if self.port is None:
            return f"meta l4proto {self.protocol}"
        return f"{self.protocol} dport {self.port}"


@dataclass(frozen=True, slots=True)
class Firewall:
    """What a gateway drops: traffic from inside, and what nobody inside has asked for."""

    inbound: Inbound = Inbound.ALLOW
    blocks: tuple[Traffic, ...] = ()
    allows: tuple[Traffic, ...] = ()

    def ruleset(self, external: Iterable[IPv4Interface]) -> str:
        """The table for `nft -f`; `external` are the gateway's own addresses outside."""
        drop = f'log prefix "{REASON}" group {LOG} drop'
        lines = [f"{traffic.match} accept" for traffic in self.allows]
        lines += [f'iifname "lan0" {traffic.match} {drop}' for traffic in self.blocks]
        if self.inbound is Inbound.DENY:
            # What hairpins comes from inside, with an external address as its source.
            own = ", ".join(str(address.ip) for address in external)
            new = f"ip saddr != {{ {own} }} ct state new"
            lines.append(f'iifname != "lan0" oifname "lan0" {new} {drop}')
        rules = "\n".join(f"    {line}" for line in lines)
        return f"""table ip firewall {{
  chain through {{
    type filter hook forward priority filter - 1;
{rules}
  }}
}}
"""


def read_firewall(entry: Entry) -> Firewall:
    """The firewall at `entry`; problems are noted there."""
    section = entry.section("inbound", "blocks", "allows")
    blocks, allows = (
        tuple(
            traffic
            for item in (section[key].items() if key in section else ())
            if (traffic := item.read(_traffic)) is not None
        )
        for key in ("blocks", "allows")
    )
    inbound = section.value_or("inbound", one_of(Inbound), Inbound.ALLOW)
    if entry.is_mapping() and not section.keys() & {"inbound", "blocks"}:
        entry.refuse("this firewall lets everything through; allowed: inbound, blocks or both")
    return Firewall(inbound, blocks, allows)


def _traffic(text: str) -> Traffic:
    match = _TRAFFIC.fullmatch(text)
    if not match or (match[1] == "icmp" and match[2]):
        raise ValueError(
            f"{quoted(text)} is no kind of packets; allowed: tcp, udp, icmp, or with a destination "
            "port, as in 'tcp 25'"
        )
    return Traffic(match[1], port(match[2]) if match[2] else None)
