"""Whom a packet is handed to on its way out: what the kernel's routing would say.

Flows that the kernel carries (kernel_datapath.py) go from one device to the other without being
routed, so their next hop must be known beforehand: the one of the most specific route in the
kernel's main table (RFC 1812, section 5.2.4.3), or the destination itself where there is no
gateway. For the same reason nobody would tell a sender that its packet is too large
(RFC 1191), so there is no way on where the next link takes less than the one before it.
"""

from __future__ import annotations

import fcntl
import socket
import struct
import sys
from dataclasses import dataclass
from pathlib import Path

from nat_node.routing import Interfaces

ROUTES = Path("/proc/self/net/route")
_UP, _GATEWAY, _REJECT = 1, 2, 0x200
_SIOCGIFMTU = 0x8921
_REQUEST = struct.Struct("16si20x")  # struct ifreq


@dataclass(frozen=True, slots=True)
class Route:
    """One line of the main table. Addresses are numbers; `mtu` is in bytes, 0 if it sets none."""

    interface: str
    destination: int
    gateway: int
    flags: int
    metric: int
    mask: int
    mtu: int


@dataclass(frozen=True, slots=True)
class NextHops:
    """What was so when it was looked at: equal if nothing has changed since."""

    outside: str
    inside_mtu: int
    outside_mtu: int
    routes: tuple[Route, ...]

    def inward(self) -> bool:
        """Whether what has come in from the outside is small enough for the inside."""
        return self.inside_mtu >= self.outside_mtu > 0

    def outward(self, address: int) -> int | None:
        """The next hop's address; None if it is not on the outside, or takes smaller packets."""
        fitting = (
            route
            for route in self.routes
            if route.flags & _UP and address & route.mask == route.destination
        )
        best = max(fitting, key=lambda route: (route.mask, -route.metric), default=None)
        if best is None or best.interface != self.outside or best.flags & _REJECT:
            return None
        if not 0 < self.inside_mtu <= (best.mtu or self.outside_mtu):
            return None
        return best.gateway if best.flags & _GATEWAY else address


def look(interfaces: Interfaces) -> NextHops:
    """The next hops as they are now."""
    return NextHops(
        interfaces.outside,
        _mtu(interfaces.inside),
        _mtu(interfaces.outside),
        parse(ROUTES.read_text(encoding="ascii")),
    )


def parse(table: str) -> tuple[Route, ...]:
    """The routes of /proc/net/route, whose addresses stand in the machine's byte order."""
    routes = []
    for line in table.splitlines()[1:]:
        interface, destination, gateway, flags, _, _, metric, mask, mtu, *_ = line.split()
        routes.append(
            Route(
                interface, _address(destination), _address(gateway), int(flags, 16), int(metric),
                _address(mask), int(mtu),
            )
        )  # fmt: skip
    return tuple(routes)


def _address(text: str) -> int:
    return int.from_bytes(int(text, 16).to_bytes(4, sys.byteorder), "big")


def _mtu(interface: str) -> int:
    """Bytes; 0 if the device is gone."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        try:
            answer = fcntl.ioctl(asking, _SIOCGIFMTU, _REQUEST.pack(interface.encode(), 0))
        except OSError:
            return 0
    mtu: int = _REQUEST.unpack(answer)[1]
    return mtu
