"""ICMP messages that a NAPT sends itself (RFC 792): answers to pings, and refusals.

A ping in fragments need not be put together to be answered: its first fragment becomes the answer's
first fragment, and fragments.py turns the later ones round in the same way. Errors about translated
packets are in icmp_errors.py.
"""

from __future__ import annotations

from struct import pack

from napt_lab.nat_node.core.packet import (
    ECHO_REPLY,
    ICMP,
    ICMP_ERRORS,
    OUTSIDE,
    UNREACHABLE,
    Packet,
)
from napt_lab.nat_node.core.verdict import Drop

INITIAL_TTL = 64
LONGEST_ERROR = 576
PORT_UNREACHABLE, PROHIBITED = 3, 13
_MULTICAST = 0xE0000000  # 224.0.0.0; what lies above is multicast, reserved, and broadcast


def answer_echo(request: Packet) -> list[Packet] | Drop:
    """Turn an echo request to one of our own addresses into its reply, in place.

    A damaged one is dropped if it is whole: the checksum of a fragment cannot be checked here.
    """
    before = request.body_checksum()
    if before and not request.is_fragment:
        return Drop.BAD_CHECKSUM
    source, destination = request.source, request.destination
    request.rewrite_source((destination, 0))
    request.rewrite_destination((source, 0))
    request.data[8] = INITIAL_TTL
    request.data[request.header_length] = ECHO_REPLY
    request.carry_into_icmp_checksum(before)
    request.refresh_header_checksum()
    return [request]


def may_be_told(about: Packet) -> bool:
    """Whether the sender of a packet from the inside may be sent an ICMP error about it.

    RFC 1122, section 3.2.2: never about an error, a later fragment, or what was sent to many.
    """
    return not (
        about.side is OUTSIDE
        or about.is_later_fragment
        or (about.protocol == ICMP and about.icmp_type in ICMP_ERRORS)
        or about.destination >= _MULTICAST
    )


def unreachable(about: Packet, code: int, sender: int) -> Packet:
    """Destination unreachable (type 3), to the sender of a packet that may not pass.

    It quotes as much as fits into a datagram of 576 bytes (RFC 1812, section 4.3.2.3), and has the
    same class of service as the packet (RFC 5508, section 7.7).
    """
    quoted = bytes(about.data[: LONGEST_ERROR - 28])
    service = about.data[1] & 0xFC  # without ECN, which is about one packet only
    header = pack(
        "!BBHHHBBHII", 0x45, service, 28 + len(quoted), 0, 0, INITIAL_TTL, ICMP, 0,
        sender, about.source,
    )  # fmt: skip
    error = Packet(bytearray(header + pack("!BBHI", UNREACHABLE, code, 0, 0) + quoted), about.side)
    error.refresh_icmp_checksum()
    error.refresh_header_checksum()
    return error


class Budget:
    """Limits the errors that are sent: `rate` a second, at most `burst` at once.

    An answer to every packet of a flood would double it (RFC 1812, section 4.3.2.8).
    """

    def __init__(self, rate: float, burst: float) -> None:
        self._rate, self._burst = rate, burst
        self._left, self._at = burst, 0.0

    def spend(self, now: float) -> bool:
        """Whether one more may be sent now; counts it."""
        self._left = min(self._burst, self._left + (now - self._at) * self._rate)
        self._at = now
        if self._left < 1:
            return False
        self._left -= 1
        return True
