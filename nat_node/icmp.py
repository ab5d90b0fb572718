"""What a NAPT says by itself in ICMP (RFC 792): answers to pings, and refusals.

A ping that comes in fragments is not answered: it would have to be put together for that.
Errors about packets that it has translated are another matter: icmp_errors.py.
"""

from __future__ import annotations

from struct import pack

from nat_node.packet import (
    ECHO_REPLY,
    ICMP,
    ICMP_ERRORS,
    UNREACHABLE,
    Packet,
    Side,
)
from nat_node.verdict import Drop

INITIAL_TTL = 64
PROHIBITED = 13
_MULTICAST = 0xE0000000  # 224.0.0.0; what lies above is multicast, reserved, and broadcast


def answer_echo(request: Packet) -> list[Packet] | Drop:
    """Turn an echo request to one of our own addresses into its reply, in place.

    A damaged one is dropped: its reply would be damaged too, under a checksum that holds.
    """
    if not request.icmp_checksum_holds():
        return Drop.BAD_CHECKSUM
    source, destination = request.source, request.destination
    request.rewrite_source((destination, 0))
    request.rewrite_destination((source, 0))
    request.data[8] = INITIAL_TTL
    request.data[request.header_length] = ECHO_REPLY
    request.refresh_icmp_checksum()
    request.refresh_header_checksum()
    return [request]


def may_be_told(about: Packet) -> bool:
    """Whether the sender of a packet from the inside may be sent an ICMP error about it.

    RFC 1122, section 3.2.2: never about an error, a later fragment, or what was sent to many.
    """
    return not (
        about.side is Side.OUTSIDE
        or about.is_later_fragment
        or (about.protocol == ICMP and about.icmp_type in ICMP_ERRORS)
        or about.destination >= _MULTICAST
    )


def prohibited(about: Packet, sender: int) -> Packet:
    """Destination unreachable, communication administratively prohibited (type 3, code 13).

    What the sender of a packet that may not pass is told (RFC 5508, REQ-8): without it he would
    wait and try again.
    """
    quoted = bytes(about.data[: about.header_length + 8])
    header = pack(
        "!BBHHHBBHII", 0x45, 0, 28 + len(quoted), 0, 0, INITIAL_TTL, ICMP, 0, sender, about.source
    )
    error = Packet(
        bytearray(header + pack("!BBHI", UNREACHABLE, PROHIBITED, 0, 0) + quoted), about.side
    )
    error.refresh_icmp_checksum()
    error.refresh_header_checksum()
    return error
