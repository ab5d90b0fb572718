"""The behavior of one NAPT: everything that RFC 4787, 5382, 5508 and 6888 leave open.

Each setting is declared once, as a field of `Choices` or `LeaseLimits` below: name, type, default,
what it is, the RFC, and the values allowed. `SETTINGS` and `PORT_CONTROL` list these declarations.
From them derive the options of `napt run`, the keys of a topology file with their checks
(topologies/spec/gateways.py), the translator's arguments (topologies/network/programs.py) and the
rows in topologies/README.md. So a new setting is added here, and used in the translator. This file
does no I/O.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from enum import Enum, StrEnum
from typing import Any, NamedTuple

from napt_lab.nat_node.core.behavior import Behavior, parse_address, show_address

DAY = 86_400
MOST_SESSIONS = 1_000_000
_RANGE = re.compile(r"([0-9]{1,5})-([0-9]{1,5})")


class PortAssignment(StrEnum):
    """Which external port a new rule gets (RFC 4787, section 4.2)."""

    PRESERVE = "preserve"
    SEQUENTIAL = "sequential"
    RANDOM = "random"
    DETERMINISTIC = "deterministic"
    """From a block of ports that belongs to the inside host (RFC 7422)."""


class AddressPooling(StrEnum):
    """Which of several external addresses a new rule gets (RFC 4787, section 4.1)."""

    PAIRED = "paired"
    ARBITRARY = "arbitrary"


class Setting(NamedTuple):
    """The declaration of one setting."""

    name: str
    """The field's name, such as `port_hold`."""
    key: str
    """Where a topology file has it: `port-hold`, `idle.tcp`."""
    default: Any
    what: str
    """One line for people."""
    rfc: str
    unit: str
    """`s` for a time, `sessions`, `rules` or `ports` for a count, else empty."""
    least: float
    most: float

    @property
    def option(self) -> str:
        """Its word on the command line: `--port-hold`."""
        return f"--{self.name.replace('_', '-')}"

    @property
    def kind(self) -> type:
        """The type of its values: an Enum, bool, range, int or float."""
        return type(self.default)

    @property
    def allowed(self) -> str:
        """The values allowed, for people; times in seconds."""
        if issubclass(self.kind, Enum):
            return ", ".join(member.value for member in self.kind)
        if self.kind is bool:
            return "true, false"
        if self.kind is range:
            return "a range within 1-65535, such as 1024-65535"
        unit = f" {self.unit}" if self.unit else ""
        return f"{self.least:g} to {int(self.most)}{unit}"

    def words(self, value: Any) -> list[str]:
        """What says `value` on the command line."""
        if self.kind is bool:
            return [self.option if value else f"--no-{self.option[2:]}"]
        return [self.option, self.text(value)]

    def text(self, value: Any) -> str:
        """A value as text, which `parse` reads."""
        if self.kind is bool:
            return str(value).lower()
        return f"{value.start}-{value.stop - 1}" if self.kind is range else str(value)

    def parse(self, text: str) -> Any:
        """The value that a text says. Raises ValueError."""
        kind = self.kind
        try:
            if kind is range:
                return _parse_range(text)
            if kind is bool:
                return {"true": True, "false": False}[text]
            value = kind(text)
            if issubclass(kind, Enum) or self.least <= value <= self.most:
                return value
        except (ValueError, KeyError):
            pass
        raise ValueError(f"{self.option} {text}: allowed: {self.allowed}")


def _about(
    what: str, rfc: str = "", *, key: str = "", unit: str = "", least: float = 0, most: float = 0
) -> dict[str, Any]:
    """A setting's declaration; without `key` a topology file has it under the field's name."""
    return {"key": key, "what": what, "rfc": rfc, "unit": unit, "least": least, "most": most}


def _idle(key: str, of: str, rfc: str) -> dict[str, Any]:
    what = f"the rule of {of} ends after this time without packets"
    return _about(what, rfc, key=key, unit="s", least=0.1, most=DAY)


@dataclass(frozen=True, slots=True, kw_only=True)
class Choices:
    """The settings that the owner of a NAPT chooses. Times are in seconds."""

    mapping: Behavior = field(
        default=Behavior.ENDPOINT_INDEPENDENT,
        metadata=_about(
            "which sessions of an inside endpoint share an external port", "RFC 4787, 4.1"
        ),
    )
    filtering: Behavior = field(
        default=Behavior.ADDRESS_AND_PORT_DEPENDENT,
        metadata=_about("which remote endpoints may send to that port", "RFC 4787, 5"),
    )
    hairpinning: bool = field(
        default=True,
        metadata=_about("hosts inside reach each other at the external address", "RFC 4787, 6"),
    )
    # A port that cannot be guessed cannot be attacked blindly (RFC 6056).
    port_assignment: PortAssignment = field(
        default=PortAssignment.RANDOM,
        metadata=_about("which external port a new rule gets", "RFC 4787, 4.2"),
    )
    address_pooling: AddressPooling = field(
        default=AddressPooling.PAIRED,
        metadata=_about(
            "whether all rules of an inside host have one external address, if there are several",
            "RFC 4787, REQ-2",
        ),
    )
    port_parity: bool = field(
        default=False,
        metadata=_about("an even inside port gets an even external port", "RFC 4787, REQ-4"),
    )
    # The well-known ports are left to explicit rules.
    ports: range = field(
        default=range(1024, 65536), metadata=_about("the external ports for new rules")
    )
    # What is still sent to a port's old owner must not reach a new one (RFC 6888: 120 s).
    port_hold: float = field(
        default=0.0,
        metadata=_about(
            "how long a UDP or ICMP port stays unused after its rule, if filtering is "
            "endpoint-independent",
            "RFC 6888, REQ-8",
            unit="s",
            most=DAY,
        ),
    )
    tcp_idle: float = field(
        default=7440.0,
        metadata=_idle("idle.tcp", "an established TCP connection", "RFC 5382, REQ-5"),
    )
    tcp_transitory_idle: float = field(
        default=240.0,
        metadata=_idle(
            "idle.tcp-transitory", "a TCP connection that is not established", "RFC 5382, REQ-5"
        ),
    )
    udp_idle: float = field(
        default=300.0, metadata=_idle("idle.udp", "a UDP session", "RFC 4787, REQ-5")
    )
    icmp_idle: float = field(
        default=60.0, metadata=_idle("idle.icmp", "an ICMP query", "RFC 5508, REQ-2")
    )
    closing_hold: float = field(
        default=240.0,
        metadata=_about(
            "how long a closed TCP connection keeps its rule", "RFC 7857, 2", unit="s", most=DAY
        ),
    )
    # The sender is told late: at once, it would give up a simultaneous open.
    refuse_syn: bool = field(
        default=True,
        metadata=_about("answer an unsolicited SYN with an ICMP error", "RFC 5382, REQ-4"),
    )
    refuse_after: float = field(
        default=6.0,
        metadata=_about(
            "how long after the SYN that error is sent", "RFC 5382, REQ-4", unit="s", most=60
        ),
    )
    # A quarter of all ports: one host cannot take the whole pool from the others, not even with
    # connections that are never answered. For a pool much smaller than the default, set it lower.
    host_limit: int = field(
        default=16_384,
        metadata=_about(
            "sessions of one inside host",
            "RFC 6888, REQ-4",
            unit="sessions",
            least=1,
            most=MOST_SESSIONS,
        ),
    )
    ports_per_subscriber: int = field(
        default=0,
        metadata=_about(
            "external ports of each protocol that one inside host may have; 0: no such limit",
            "RFC 6888, REQ-4",
            unit="ports",
            most=65_535,
        ),
    )
    session_limit: int = field(
        default=131_072,
        metadata=_about(
            "sessions of all hosts together", unit="sessions", least=1, most=MOST_SESSIONS
        ),
    )

    def contradiction(self) -> tuple[str, str] | None:
        """Two choices that do not go together: the key of one, and what is wrong; else None."""
        size, ports = self.ports_per_subscriber, len(self.ports)
        deterministic = self.port_assignment is PortAssignment.DETERMINISTIC
        if deterministic and not size:
            return (
                "port-assignment",
                "deterministic needs ports-per-subscriber (RFC 7422); "
                f"allowed: ports-per-subscriber of 1 to {ports}",
            )
        if deterministic and self.address_pooling is AddressPooling.ARBITRARY:
            return (
                "address-pooling",
                "arbitrary is not possible with port-assignment deterministic; allowed: paired",
            )
        if size > ports:
            return (
                "ports-per-subscriber",
                f"{size} is more than the number of ports; allowed: at most {ports}",
            )
        return None


@dataclass(frozen=True, slots=True)
class Settings(Choices):
    """The choices, and the addresses of one NAPT as numbers."""

    external: int
    """The NAPT's address on the public side, or the first of several."""
    internal: int
    """The NAPT's address on the private side."""
    internal_mask: int
    """The private network's mask."""
    hosts: frozenset[int] = frozenset()
    """The inside hosts that explicit rules may lead to; empty: any inside address."""
    others: tuple[int, ...] = ()
    """The NAPT's other addresses on the public side."""
    ours: frozenset[int] = field(init=False, repr=False)
    """All of its addresses there."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "ours", frozenset(self.addresses))

    @property
    def addresses(self) -> tuple[int, ...]:
        """All of its addresses there, in their order."""
        return (self.external, *self.others)

    def is_inside(self, address: int) -> bool:
        """Whether the address belongs to the private network."""
        return (address ^ self.internal) & self.internal_mask == 0

    def is_host(self, address: int) -> bool:
        """Whether an address of the private network can be one host's.

        The first one names the network, the last one all its hosts.
        """
        return address & ~self.internal_mask not in (0, ~self.internal_mask & 0xFFFFFFFF)

    def is_not_routable(self, address: int) -> bool:
        """Whether no packet from or to this address may be on the public side.

        A NAPT whose own external address is private (RFC 1918) or shared (RFC 6598) stands
        behind another one: such addresses are then the ordinary ones out there.
        """
        if is_unroutable(address) or self.is_inside(address):
            return True
        if is_private(address):
            return not is_private(self.external)
        return is_shared(address) and not (is_shared(self.external) or is_private(self.external))


@dataclass(frozen=True, slots=True)
class LeaseLimits:
    """What inside hosts may get by PCP and NAT-PMP. Lifetimes are in whole seconds."""

    min_lifetime: int = field(
        default=120,
        metadata=_about(
            "the shortest lifetime that is granted",
            "RFC 6887, 15",
            key="port-control.min-lifetime",
            unit="s",
            least=1,
            most=DAY,
        ),
    )
    max_lifetime: int = field(
        default=DAY,
        metadata=_about(
            "the longest lifetime that is granted",
            "RFC 6887, 15",
            key="port-control.max-lifetime",
            unit="s",
            least=1,
            most=DAY,
        ),
    )
    quota: int = field(
        default=32,
        metadata=_about(
            "rules that one inside host may ask for",
            "RFC 6887, 17.2",
            key="port-control.quota",
            unit="rules",
            least=1,
            most=1000,
        ),
    )
    leases: int = 4096
    """Such rules in all."""


def _declared(settings: type) -> Iterator[Setting]:
    for each in fields(settings):
        if declared := dict(each.metadata):
            key = declared.pop("key") or each.name.replace("_", "-")
            yield Setting(each.name, key, each.default, **declared)


SETTINGS = tuple(_declared(Choices))
"""The settings that a NAPT's owner can choose."""
PORT_CONTROL = tuple(_declared(LeaseLimits))
"""Those of port control."""


HOSTS = "hosts"


def changed(settings: Settings, changes: Mapping[str, str]) -> Settings:
    """The same settings with other choices: their keys, and texts for `Setting.parse`.

    The key `hosts` has the addresses of hosts that came later, with spaces between. Raises
    ValueError.
    """
    known = {setting.key: setting for setting in SETTINGS}
    values: dict[str, Any] = {}
    for key, text in changes.items():
        if key == HOSTS:
            # Without a list any address inside may be that of a host.
            came = map(parse_address, text.split()) if settings.hosts else ()
            values[key] = settings.hosts.union(came)
            continue
        if key not in known:
            raise ValueError(f"{key} cannot be set: {', '.join(known)}")
        values[known[key].name] = known[key].parse(text)
    made = replace(settings, **values)
    if wrong := made.contradiction():
        raise ValueError(f"{wrong[0]}: {wrong[1]}")
    return made


def not_ours(address: int, settings: Settings) -> str:
    """What to say of an external address that a NAPT does not have."""
    own = " or ".join(map(show_address, settings.addresses))
    return f"{show_address(address)} is not this NAPT's external address {own}"


def _parse_range(text: str) -> range:
    match = _RANGE.fullmatch(text)
    if match is None or not 1 <= int(match[1]) <= int(match[2]) <= 65535:
        raise ValueError
    return range(int(match[1]), int(match[2]) + 1)


def _network(text: str, length: int) -> tuple[int, int]:
    mask = (0xFFFFFFFF << (32 - length)) & 0xFFFFFFFF
    return parse_address(text), mask


_SHARED = _network("100.64.0.0", 10)
_PRIVATE = (_network("10.0.0.0", 8), _network("172.16.0.0", 12), _network("192.168.0.0", 16))
_UNROUTABLE = (
    _network("0.0.0.0", 8),  # this network
    _network("127.0.0.0", 8),  # loopback
    _network("169.254.0.0", 16),  # link-local
    _network("224.0.0.0", 3),  # multicast, reserved, broadcast
)


def is_private(address: int) -> bool:
    """RFC 1918."""
    return any(address & mask == network for network, mask in _PRIVATE)


def is_shared(address: int) -> bool:
    """Between a site and its carrier's NAPT (RFC 6598)."""
    return address & _SHARED[1] == _SHARED[0]


def is_unroutable(address: int) -> bool:
    """Not the address of any single host elsewhere (RFC 6890)."""
    return any(address & mask == network for network, mask in _UNROUTABLE)
