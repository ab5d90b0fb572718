"""The Identification of IPv4 packets that leave the inside (RFC 6864, section 5.3.1).

The pieces of a datagram are told from other pieces by their source, destination, protocol and
Identification (RFC 791). Behind a NAPT, all have one source. Two hosts inside who number their
packets each for himself will, sooner or later, send two datagrams to one server under one
number; and if both are cut on the way, the server makes one datagram out of two halves:

    10.0.0.7 -> 151.101.1.69  udp  id 7  ─┐              24.9.3.7 -> 151.101.1.69  udp  id 7
                                          ├─ translated
    10.0.0.8 -> 151.101.1.69  udp  id 7  ─┘              24.9.3.7 -> 151.101.1.69  udp  id 7  (!)

So the NAPT numbers them anew, as if it had sent them itself. Only those that can be cut or have
been: a packet with Don't Fragment is whole for ever, nobody looks at its number, and it keeps it.

What a number was before is remembered for the last few thousand, for an ICMP error must quote
the packet as its sender knows it (RFC 5508, REQ-4a).
"""

from __future__ import annotations

from array import array
from collections.abc import Callable

REMEMBERED = 4096
_COUNTERS = 256
_SHORTEST_SEGMENT = 512  # bytes: of what the kernel cuts a large TCP segment into

#: Destination, protocol, and a number that we gave.
Given = tuple[int, int, int]


class Identifications:
    """Numbers for packets; `below(n)` gives a random number from 0 to n - 1.

    There are some counters that all destinations share, each from a random start: a receiver
    learns nothing from its own numbers of how many packets go elsewhere.
    """

    def __init__(self, below: Callable[[int], int]) -> None:
        self._counters = array("H", (below(65536) for _ in range(_COUNTERS)))
        self._salt = below(1 << 32)
        self._before: dict[Given, int] = {}

    def give(self, destination: int, protocol: int, before: int, length: int) -> int:
        """A number for a packet of `length` bytes that was number `before` to its sender.

        A large TCP segment, of which the kernel will make several packets, uses up several.
        """
        counter = hash((destination, protocol, self._salt)) % _COUNTERS
        number = self._counters[counter]
        self._counters[counter] = (number + 1 + length // _SHORTEST_SEGMENT) & 0xFFFF
        given = (destination, protocol, number)
        self._before.pop(given, None)
        if len(self._before) >= REMEMBERED:
            del self._before[next(iter(self._before))]
        self._before[given] = before
        return number

    def before(self, destination: int, protocol: int, number: int) -> int:
        """What a packet's number was, as far as that is known; else what it is."""
        return self._before.get((destination, protocol, number), number)
