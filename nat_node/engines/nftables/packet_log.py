"""The packets that a rule of nftables logs before it drops them (nflog).

    ip daddr 24.9.3.7 ct state new log prefix "no-rule" group 7 drop

The rule's prefix is the name of the reason. The kernel hands over the packet itself, from its
IPv4 header on, as far as it is asked to.
"""

from __future__ import annotations

from collections.abc import Iterator
from struct import pack
from typing import NamedTuple

from napt_lab.nat_node.core.events import describe
from napt_lab.nat_node.core.packet import Malformed, Packet
from napt_lab.nat_node.system.netlink import Netlink, attribute, attributes, number

GROUP = 7
_CONFIG, _PACKET = 0x401, 0x400
_COMMAND, _MODE, _DELAY = 1, 2, 4
_BIND, _COPY_PACKET = b"\1", 2
_HUNDREDTHS = 1  # of a second: how long the kernel gathers packets (it would be a whole one)
_INTERFACE, _PAYLOAD, _PREFIX = 4, 9, 10
#: An IPv4 header with all its options, and the ports and flags behind it.
_BYTES = 60 + 20


def listen(group: int = GROUP) -> Netlink:
    """A socket that is told of every packet logged for `group`. Raises OSError."""
    netlink = Netlink()
    for setting in (
        attribute(_COMMAND, _BIND),
        attribute(_MODE, pack("!IBx", _BYTES, _COPY_PACKET)),
        attribute(_DELAY, pack("!I", _HUNDREDTHS)),
    ):
        netlink.ask(_CONFIG, setting, resource=group)
    return netlink


class Logged(NamedTuple):
    """A logged packet: the rule's prefix, the index of the interface it came by, and its text."""

    prefix: str
    interface: int
    packet: str


def logged(netlink: Netlink) -> Iterator[Logged | None]:
    """What has been logged; None for a message that is not a logged packet."""
    for kind, data in netlink.told():
        found = attributes(data)
        if kind != _PACKET or _PAYLOAD not in found:
            yield None
            continue
        prefix = found.get(_PREFIX, b"").rstrip(b"\0").decode("ascii", "replace")
        try:
            packet = describe(Packet(bytearray(found[_PAYLOAD]), quoted=True))
        except Malformed as error:
            packet = str(error)
        yield Logged(prefix, number(found.get(_INTERFACE)), packet)
