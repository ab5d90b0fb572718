"""How much the kernel's maps have moved: the counter of each element, by netlink.

nftables' library can list elements as well, but it reads everything that there is to find one.

    NFT_MSG_GETSETELEM  table, map [, the key of one element]
    the answer          elements [ key │ expression "counter" [ bytes, packets ] ]

A key is what the map's `typeof` says, each part filled up to 4 bytes:

    +----------------+---------------------+-------------+----+------------------+----+
    | source address | destination address | source port | 00 | destination port | 00 |
    +----------------+---------------------+-------------+----+------------------+----+
"""

from __future__ import annotations

from collections.abc import Iterator
from struct import Struct

from napt_lab.nat_node.core.behavior import Endpoint, show_address
from napt_lab.nat_node.system.netlink import (
    ACK,
    DUMP,
    NESTED,
    Netlink,
    attribute,
    attributes,
    each_attribute,
    number,
)

_GET_ELEMENTS = 10 << 8 | 13  # of nf_tables
_NETDEV = 5
_TABLE, _MAP, _ELEMENTS, _ELEMENT = 1, 2, 3, 1
_KEY, _EXPRESSION, _VALUE, _PARAMETERS = 1, 7, 1, 2
_BYTES, _PACKETS = 1, 2
_TUPLE = Struct("!IIH2xH2x")


def key(source: Endpoint, destination: Endpoint) -> bytes:
    """The key of a packet's addresses and ports."""
    return _TUPLE.pack(source[0], destination[0], source[1], destination[1])


def show_key(data: bytes) -> str:
    """A key as nft writes it."""
    source, destination, *ports = _TUPLE.unpack(data)
    return f"{show_address(source)} . {show_address(destination)} . {ports[0]} . {ports[1]}"


class MapCounters:
    """The counters of the maps of one netdev table. What the kernel does not tell is not there."""

    def __init__(self, table: str) -> None:
        self._table = attribute(_TABLE, table.encode() + b"\0")
        self._netlink = Netlink()

    def one(self, name: str, wanted: bytes) -> tuple[int, int] | None:
        """Packets and bytes of one element of a map, by its key."""
        element = attribute(NESTED | _KEY, attribute(_VALUE, wanted))
        elements = attribute(NESTED | _ELEMENTS, attribute(NESTED | _ELEMENT, element))
        for _, packets, size in self._ask(name, elements, ACK):
            return packets, size
        return None

    def all(self, name: str) -> Iterator[tuple[bytes, int, int]]:
        """Key, packets and bytes of each element of a map."""
        return self._ask(name, b"", DUMP)

    def _ask(self, name: str, elements: bytes, flags: int) -> Iterator[tuple[bytes, int, int]]:
        question = self._table + attribute(_MAP, name.encode() + b"\0") + elements
        try:
            answers = self._netlink.ask(_GET_ELEMENTS, question, flags=flags, family=_NETDEV)
        except OSError:  # the element, or the table, has just gone
            return
        for answer in answers:
            for _, element in each_attribute(attributes(answer).get(_ELEMENTS, b"")):
                parts = attributes(element)
                counter = attributes(attributes(parts[_EXPRESSION])[_PARAMETERS])
                yield (
                    attributes(parts[_KEY])[_VALUE],
                    number(counter[_PACKETS]),
                    number(counter[_BYTES]),
                )
