"""The settings of one NAPT, as a topology file gives them.

The behavior (mapping, filtering, times, limits) is declared once, in the translator's
nat_node/core/settings.py: from these declarations derive the keys of a topology file and their
checks (gateways.py), the translator's arguments (programs.py) and the rows in the README. Here are
only the explicit rules and port control, which the translator gets in another form.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address

from napt_lab.nat_node.core.behavior import Behavior
from napt_lab.nat_node.core.settings import (
    PORT_CONTROL,
    SETTINGS,
    AddressPooling,
    Choices,
    LeaseLimits,
    PortAssignment,
    Setting,
)

__all__ = [
    "PORT_CONTROL",
    "SETTINGS",
    "AddressPooling",
    "Behavior",
    "LeaseLimits",
    "NaptSettings",
    "PortAssignment",
    "Setting",
    "StaticRule",
]


@dataclass(frozen=True, slots=True)
class StaticRule:
    """An explicit NAPT rule (port forwarding): external port -> internal endpoint."""

    protocol: str  # "tcp" or "udp"
    external_port: int
    internal_address: IPv4Address
    internal_port: int
    external_address: IPv4Address | None = None
    """None: the address outside that the host inside has."""


@dataclass(frozen=True, slots=True)
class NaptSettings(Choices):
    """The behavior of one NAPT, its explicit rules, and what port control (PCP) may grant."""

    rules: tuple[StaticRule, ...] = ()
    port_control: LeaseLimits | None = None  # None: off
