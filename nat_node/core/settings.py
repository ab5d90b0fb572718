"""The behavior of one NAPT: everything that RFC 4787, 5382 and 5508 leave open."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from napt_lab.nat_node.core.behavior import Behavior, parse_address


class PortAssignment(Enum):
    """Which external port a new rule gets (RFC 4787, section 4.2)."""

    PRESERVE = "preserve"
    SEQUENTIAL = "sequential"
    RANDOM = "random"


@dataclass(frozen=True, slots=True)
class Settings:
    """Addresses are numbers, times are in seconds."""

    external: int
    """The NAPT's address on the public side."""
    internal: int
    """The NAPT's address on the private side."""
    internal_mask: int
    """The private network's mask."""

    mapping: Behavior = Behavior.ENDPOINT_INDEPENDENT
    filtering: Behavior = Behavior.ADDRESS_AND_PORT_DEPENDENT
    hairpinning: bool = True
    """Inside hosts reach each other by the external address (RFC 4787, REQ-9)."""

    port_assignment: PortAssignment = PortAssignment.RANDOM
    """Random by default: a port that cannot be guessed cannot be attacked blindly (RFC 6056)."""
    port_parity: bool = False
    """An even port gets an even one, an odd one an odd one (RFC 4787, REQ-4; RFC 7857, 8)."""
    ports: range = range(1024, 65536)
    """The pool: well-known ports are left to explicit rules."""
    port_hold: float = 0.0
    """How long a port that UDP or ICMP has left stays unused, where filtering lets anyone in: what
    is still sent to the old owner must not reach a new one (RFC 6888, REQ-8: 120 s)."""

    tcp_idle: float = 7440.0
    """An established connection that nobody uses: 2 h 4 min (RFC 5382, REQ-5)."""
    tcp_transitory_idle: float = 240.0
    """A connection that is not yet established: 4 min (RFC 5382, REQ-5)."""
    closing_hold: float = 240.0
    """How long a closed connection keeps its rule: 4 min (RFC 7857, section 2)."""
    udp_idle: float = 300.0
    """5 min (RFC 4787, REQ-5)."""
    icmp_idle: float = 60.0
    """60 s (RFC 5508, REQ-2)."""

    refuse_syn: bool = True
    """Whoever sends a SYN that nobody asked for is told, but not at once (RFC 5382, REQ-4)."""

    session_limit: int = 131_072
    host_limit: int = 65_536
    """Sessions in all, and of one inside host, so that one cannot starve the others (RFC 6888)."""

    hosts: frozenset[int] = frozenset()
    """The inside hosts that explicit rules may lead to; empty: any inside address."""

    def is_inside(self, address: int) -> bool:
        """Whether the address belongs to the private network."""
        return (address ^ self.internal) & self.internal_mask == 0

    def is_host(self, address: int) -> bool:
        """Whether an address of the private network is one host's: neither all's nor its own."""
        return address & ~self.internal_mask not in (0, ~self.internal_mask & 0xFFFFFFFF)

    def means_nothing_outside(self, address: int) -> bool:
        """Whether no packet from or to this address may be on the public side.

        A NAPT whose own external address is private stands behind another one: private
        addresses are then the ordinary ones out there.
        """
        if is_unroutable(address) or self.is_inside(address):
            return True
        return is_private(address) and not is_private(self.external)


def _network(text: str, length: int) -> tuple[int, int]:
    mask = (0xFFFFFFFF << (32 - length)) & 0xFFFFFFFF
    return parse_address(text), mask


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


def is_unroutable(address: int) -> bool:
    """Not the address of any single host elsewhere (RFC 6890)."""
    return any(address & mask == network for network, mask in _UNROUTABLE)
