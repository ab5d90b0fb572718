"""ICMP (RFC 792) through a NAPT (RFC 5508): errors about translated packets, and pings.

An ICMP error *quotes* the packet it is about: its IPv4 header and at least 8 bytes more, which
hold the ports. To the one who receives the error the quotation must look as he sent it, so the
translator undoes inside the quotation what it did to the packet:

    a PC sends        10.0.0.7:40000  -> 151.101.1.69:80
    we made of it     24.9.3.7:1025   -> 151.101.1.69:80          some router drops it and writes:
    error to us       router          -> 24.9.3.7    quoting 24.9.3.7:1025  -> 151.101.1.69:80
    error to the PC   router          -> 10.0.0.7    quoting 10.0.0.7:40000 -> 151.101.1.69:80

The quoted packet runs the other way than the error, so its session is looked up with source and
destination exchanged. An error never makes a rule, never keeps one alive and never ends one
(RFC 5508, REQ-4 to REQ-6; RFC 5382, REQ-9 and REQ-10).
"""

from __future__ import annotations

from struct import pack

from nat_node.behavior import Endpoint
from nat_node.packet import (
    ECHO_REPLY,
    ECHO_REQUEST,
    ICMP,
    ICMP_ERRORS,
    UNREACHABLE,
    Malformed,
    Packet,
    Side,
)
from nat_node.verdict import Drop

ICMP_HEADER = 8
INITIAL_TTL = 64
PROHIBITED = 13
_MULTICAST = 0xE0000000  # 224.0.0.0; what lies above is multicast, reserved, and broadcast


def quotation(error: Packet) -> Packet:
    """The packet that an ICMP error quotes, as a view on the error's own bytes.

    Raises Malformed if it is itself about an ICMP error (RFC 1122 forbids such), a later
    fragment, or too short.
    """
    view = memoryview(error.data)[error.header_length + ICMP_HEADER :]
    quoted = Packet(view, error.side, quoted=True)
    if quoted.is_later_fragment:
        raise Malformed("quotes a fragment without ports")
    if quoted.protocol == ICMP and quoted.icmp_type in ICMP_ERRORS:
        raise Malformed("an ICMP error about an ICMP error")
    return quoted


def quoted_endpoints(quoted: Packet) -> tuple[Endpoint, Endpoint]:
    """Source and destination of a quoted packet; an echo's identifier is our side's port.

    An echo request was sent by its source, a reply goes to the one who asked.
    """
    if quoted.protocol != ICMP:
        return quoted.source_endpoint, quoted.destination_endpoint
    identifier = quoted.icmp_identifier
    if quoted.icmp_type == ECHO_REQUEST:
        return (quoted.source, identifier), (quoted.destination, 0)
    return (quoted.source, 0), (quoted.destination, identifier)


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
