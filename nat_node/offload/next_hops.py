"""The next hop of a packet, as the kernel's routing would choose it.

Flows that the kernel carries (kernel_datapath.py) go from one device to the other without being
routed. So the kernel is asked beforehand what its routing would do:

    to the inside    every host there is a neighbor: the packet's destination is its next hop
    to the outside   the most specific route says it (RFC 1812, section 5.2.4.3): a gateway, or
                     the destination itself; a broadcast address or one of our own has no
                     next hop

There is no next hop either where nothing is forwarded, or where the next link takes smaller packets
than the one before it: then a router must tell the sender (RFC 1191).
"""

from __future__ import annotations

import fcntl
import socket
import struct
import sys
from pathlib import Path
from typing import NamedTuple

from napt_lab.nat_node.core.behavior import parse_address
from napt_lab.nat_node.system.netlink import (
    Attributes,
    Netlink,
    attribute,
    attributes,
    is_overrun,
    number,
)
from napt_lab.nat_node.system.routing import NAT_IN, Interfaces

_NEIGHBORS = Path("/proc/self/net/arp")
_FORWARDING = "/proc/sys/net/ipv4/conf/{}/forwarding"
_SIOCGIFMTU = 0x8921
_REQUEST = struct.Struct("16si20x")  # struct ifreq
_ROUTE = struct.Struct("=BBBBBBBBI")  # struct rtmsg
_GET_ROUTE, _UNICAST = 26, 1
_CHANGES = (1, 5, 7, 8)  # groups: links, addresses of IPv4, its routes, its rules
_DESTINATION, _SOURCE, _CAME_BY, _LEAVES_BY, _GATEWAY, _METRICS, _MTU = 1, 2, 3, 4, 5, 8, 2


class Device(NamedTuple):
    """What a device is now; all zeros if it is gone. The MTU is in bytes."""

    number: int
    mtu: int
    forwards: bool


class NextHops:
    """The next hops of what comes from the other side of a NAPT."""

    def __init__(self, interfaces: Interfaces) -> None:
        self._interfaces = interfaces
        self._external = parse_address(interfaces.external[0])
        self._netlink = Netlink(protocol=socket.NETLINK_ROUTE)
        self._news = Netlink(*_CHANGES, protocol=socket.NETLINK_ROUTE)
        self._silent: frozenset[tuple[str, str]] = frozenset()
        self.devices = Device(0, 0, False), Device(0, 0, False)
        self.look()

    def look(self) -> bool:
        """Look around anew; whether anything but the neighbors has changed since the last time."""
        before = self.devices
        self.devices = _device(self._interfaces.inside), _device(self._interfaces.outside)
        neighbors = [line.split() for line in _NEIGHBORS.read_text("ascii").splitlines()[1:]]
        # Address, hardware type, flags (none without an answer), …, device.
        self._silent = frozenset((line[0], line[-1]) for line in neighbors if line[2] == "0x0")
        return self._is_news() or before != self.devices

    def _is_news(self) -> bool:
        """Whether links, addresses, routes or rules have changed. Reads all that was told."""
        try:
            return len(list(self._news.told())) > 0
        except OSError as error:
            if not is_overrun(error):
                raise
            return True

    def answers(self, hop: str, outward: bool) -> bool:
        """Whether a neighbor is not known to be silent."""
        side = self._interfaces.outside if outward else self._interfaces.inside
        return (hop, side) not in self._silent

    def inward(self, address: int) -> int | None:
        """The next hop of a packet to an address inside."""
        inside, outside = self.devices
        fits = inside.mtu >= outside.mtu > 0
        return address if fits and outside.forwards else None

    def outward(self, address: int) -> int | None:
        """The next hop of a translated packet to an address outside."""
        inside, outside = self.devices
        if not 0 < inside.mtu <= outside.mtu or not inside.forwards:
            return None
        kind, route = self._ask(address)
        mtu = _native(attributes(route.get(_METRICS, b"")).get(_MTU)) or outside.mtu
        if kind != _UNICAST or _native(route.get(_LEAVES_BY)) != outside.number or inside.mtu > mtu:
            return None
        return number(route.get(_GATEWAY)) or address

    def _ask(self, address: int) -> tuple[int, Attributes]:
        """The kind of route and its attributes; nothing if the kernel has none or refuses."""
        # As it is asked for every packet that our translator gives back.
        question = _ROUTE.pack(socket.AF_INET, 32, 32, 0, 0, 0, 0, 0, 0)
        question += attribute(_DESTINATION, address.to_bytes(4, "big"))
        question += attribute(_SOURCE, self._external.to_bytes(4, "big"))
        try:
            came_by = socket.if_nametoindex(NAT_IN).to_bytes(4, sys.byteorder)
            (answer,) = self._netlink.exchange(_GET_ROUTE, question + attribute(_CAME_BY, came_by))
        except OSError:
            return 0, {}
        return answer[7], attributes(answer[_ROUTE.size :])


def _device(name: str) -> Device:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        try:
            answer = fcntl.ioctl(asking, _SIOCGIFMTU, _REQUEST.pack(name.encode(), 0))
            forwards = Path(_FORWARDING.format(name)).read_text(encoding="ascii") == "1\n"
            return Device(socket.if_nametoindex(name), _REQUEST.unpack(answer)[1], forwards)
        except OSError:
            return Device(0, 0, False)


def _native(data: bytes | None) -> int:
    return int.from_bytes(data or b"", sys.byteorder)
