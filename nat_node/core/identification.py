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
_SPREAD = 0x9E3779B1  # so that neighbors do not share a counter (Knuth's multiplicative hashing)


class Identifications:
    """Numbers for packets; `below(n)` gives a random number from 0 to n - 1.

    There are some counters that all destinations share, each from a random start: a receiver
    learns nothing from its own numbers of how many packets go elsewhere.
    """

    def __init__(self, below: Callable[[int], int]) -> None:
        self._counters = array("H", (below(65536) for _ in range(_COUNTERS)))
        self._salt = below(1 << 32)
        # A place for each number, modulo their count; destination, protocol, number, and before.
        self._given: list[tuple[int, int, int, int]] = [(0, 0, 0, 0)] * REMEMBERED

    def give(self, destination: int, protocol: int, before: int, length: int) -> int:
        """A number for a packet of `length` bytes that was number `before` to its sender.

        A large TCP segment, of which the kernel will make several packets, uses up several.
        """
        counters = self._counters
        which = ((destination + protocol ^ self._salt) * _SPREAD >> 16) % _COUNTERS
        number = counters[which]
        counters[which] = (number + 1 + length // _SHORTEST_SEGMENT) & 0xFFFF
        self._given[number % REMEMBERED] = (destination, protocol, number, before)
        return number

    def before(self, destination: int, protocol: int, number: int) -> int:
        """What a packet's number was, as far as that is known; else what it is."""
        *given, before = self._given[number % REMEMBERED]
        return before if given == [destination, protocol, number] else number
