"""The Identification of IPv4 packets that leave the inside (RFC 6864, section 5.3.1).

A receiver knows the fragments of one datagram by their source, destination, protocol and
Identification (RFC 791). Behind a NAPT all packets have one source. Two hosts inside, which number
their packets independently, will sooner or later send two datagrams with one Identification to one
server. If both are fragmented, the server puts one datagram together from two halves:

    10.0.0.7 -> 151.101.1.69  udp  id 7  ─┐              24.9.3.7 -> 151.101.1.69  udp  id 7
                                          ├─ translated
    10.0.0.8 -> 151.101.1.69  udp  id 7  ─┘              24.9.3.7 -> 151.101.1.69  udp  id 7  (!)

So the NAPT gives these packets an Identification of its own, as if it had sent them itself. Only
packets that are fragments, or may become fragments, get one. With Don't Fragment a packet keeps its
Identification, which has no use then.

The original Identification is remembered for the last few thousand packets, since an ICMP error
must quote a packet as its sender knows it (RFC 5508, REQ-4a).
"""

from __future__ import annotations

from array import array
from collections.abc import Callable

REMEMBERED = 4096
_COUNTERS = 256
_SHORTEST_SEGMENT = 512  # bytes: of what the kernel cuts a large TCP segment into
_SPREAD = 0x9E3779B1  # so that neighbors do not share a counter (Knuth's multiplicative hashing)


class Identifications:
    """Gives Identifications; `below(n)` gives a random number from 0 to n - 1.

    The destinations share some counters, each with a random start: a receiver cannot learn from
    its own packets how many go elsewhere.
    """

    def __init__(self, below: Callable[[int], int]) -> None:
        self._counters = array("H", (below(65536) for _ in range(_COUNTERS)))
        self._salt = below(1 << 32)
        # A place for each number, modulo their count; destination, protocol, number, and before.
        self._given: list[tuple[int, int, int, int]] = [(0, 0, 0, 0)] * REMEMBERED

    def give(self, destination: int, protocol: int, before: int, length: int) -> int:
        """The Identification for a packet of `length` bytes that its sender numbered `before`.

        A large TCP segment uses up several: the kernel will make several packets of it.
        """
        counters = self._counters
        which = ((destination + protocol ^ self._salt) * _SPREAD >> 16) % _COUNTERS
        number = counters[which]
        counters[which] = (number + 1 + length // _SHORTEST_SEGMENT) & 0xFFFF
        self._given[number % REMEMBERED] = (destination, protocol, number, before)
        return number

    def before(self, destination: int, protocol: int, number: int) -> int:
        """The Identification that a packet's sender gave it; `number` itself if not known."""
        *given, before = self._given[number % REMEMBERED]
        return before if given == [destination, protocol, number] else number
