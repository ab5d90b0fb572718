"""Events that the translator tells: a rule's life, and every dropped packet."""

from __future__ import annotations

from dataclasses import dataclass

from napt_lab.nat_node.core.behavior import show, show_address
from napt_lab.nat_node.core.mapping import Mapping
from napt_lab.nat_node.core.packet import ICMP, PROTOCOL_NAMES, TCP, Packet, protocol_name
from napt_lab.nat_node.core.verdict import Drop


@dataclass(frozen=True, slots=True)
class RuleAdded:
    """A rule was made: by a packet, by hand or by request."""

    mapping: Mapping


@dataclass(frozen=True, slots=True)
class RuleEnded:
    """A rule is gone. `why`: closed, reset, idle, removed, expired, deleted."""

    mapping: Mapping
    why: str


@dataclass(frozen=True, slots=True)
class RuleChanged:
    """A rule's lease: leased (until then it was a packet's rule), renewed, expired, deleted."""

    mapping: Mapping
    why: str


@dataclass(frozen=True, slots=True)
class Dropped:
    """A packet was dropped. Its text is made from the packet before it is reused."""

    reason: Drop
    packet: str
    side: str


Event = RuleAdded | RuleChanged | RuleEnded | Dropped


def describe(packet: Packet) -> str:
    """One line about a packet, as people read it."""
    name = protocol_name(packet.protocol)
    if packet.is_later_fragment or packet.protocol not in PROTOCOL_NAMES:
        return f"{name} {show_address(packet.source)} > {show_address(packet.destination)}"
    if packet.protocol == ICMP:
        return (
            f"icmp type {packet.icmp_type} {show_address(packet.source)} > "
            f"{show_address(packet.destination)}"
        )
    ends = f"{show(packet.source_endpoint)} > {show(packet.destination_endpoint)}"
    if packet.protocol == TCP and packet.has_tcp_flags:
        return f"tcp {flag_names(packet.tcp_flags)} {ends}"
    return f"{name} {ends}"


def flag_names(flags: int) -> str:
    """TCP flags as people name them, such as SYN-ACK."""
    names = [name for bit, name in ((2, "SYN"), (1, "FIN"), (4, "RST"), (16, "ACK")) if flags & bit]
    return "-".join(names) or "none"
