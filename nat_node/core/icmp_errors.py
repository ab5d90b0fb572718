"""ICMP errors about translated packets (RFC 792 through a NAPT: RFC 5508, section 4).

An ICMP error *quotes* the packet it is about: its IPv4 header and at least 8 bytes more, which
hold the ports. The receiver of the error must find in it the packet as it was sent, so the
translator undoes inside the quotation what it did to the packet:

    a PC sends        10.0.0.7:40000  -> 151.101.1.69:80
    we made of it     24.9.3.7:1025   -> 151.101.1.69:80          some router drops it and writes:
    error to us       router          -> 24.9.3.7    quoting 24.9.3.7:1025  -> 151.101.1.69:80
    error to the PC   router          -> 10.0.0.7    quoting 10.0.0.7:40000 -> 151.101.1.69:80

The quoted packet runs the other way than the error, so its session is looked up with source and
destination exchanged. A router discards a packet whose IPv4 header is damaged, so an error that
quotes a damaged header is forged or damaged itself. An error in fragments is translated as it
comes; only its receiver can check it, since the checksum is over all of it.

An error never makes a rule, never keeps one alive and never ends one
(RFC 5508, REQ-4 to REQ-6; RFC 5382, REQ-9 and REQ-10).
"""

from __future__ import annotations

from napt_lab.nat_node.core.behavior import Endpoint
from napt_lab.nat_node.core.icmp import answer_echo
from napt_lab.nat_node.core.identification import Identifications
from napt_lab.nat_node.core.packet import (
    ECHO_REQUEST,
    ICMP,
    ICMP_ERRORS,
    ICMP_QUERIES,
    OUTSIDE,
    Malformed,
    Packet,
)
from napt_lab.nat_node.core.settings import Settings, is_unroutable
from napt_lab.nat_node.core.table import Table
from napt_lab.nat_node.core.verdict import Drop

ICMP_HEADER = 8


class IcmpErrors:
    """Translates ICMP errors by the rules and sessions of a table."""

    def __init__(self, settings: Settings, table: Table, identifications: Identifications) -> None:
        self._settings = settings
        self._table = table
        self._identifications = identifications

    def translate(self, packet: Packet) -> list[Packet] | Drop:
        """An error about a packet that we translated: undo the translation in the quotation."""
        before = packet.body_checksum()
        if before and not packet.is_fragment:
            return Drop.BAD_CHECKSUM
        try:
            quoted = quotation(packet)
        except Malformed:
            return Drop.MALFORMED
        if not quoted.header_checksum_holds():
            return Drop.BAD_CHECKSUM
        if quoted.has_source_route():
            return Drop.SOURCE_ROUTED
        if packet.side is OUTSIDE:
            translated = self._inbound(packet, quoted)
        else:
            translated = self._outbound(packet, quoted)
        if translated == [packet]:
            packet.carry_into_icmp_checksum(before)
        return translated

    def _outbound(self, packet: Packet, quoted: Packet) -> list[Packet] | Drop:
        """An error from the inside: outside, the quotation must show our external endpoint."""
        settings = self._settings
        own = packet.source == settings.internal or packet.source in settings.ours
        if not own and not settings.is_inside(packet.source):
            return Drop.SPOOFED_SOURCE
        if settings.is_not_routable(packet.destination):
            return Drop.PRIVATE_DESTINATION
        # An error goes to the sender of the packet that it quotes (RFC 1122, section 3.2.2).
        # Otherwise a quotation could carry any address out.
        if packet.destination != quoted.source:
            return Drop.ICMP_UNRELATED
        hairpin = packet.destination in settings.ours
        if own and not hairpin and quoted.destination in settings.ours:
            # Our own kernel, about a packet that has not been translated yet.
            if _is_whole_ping(quoted):
                # A ping to us whose time to live was just enough to get here.
                return answer_echo(Packet(bytearray(quoted.data), OUTSIDE))
            packet.rewrite_source((quoted.destination, 0))
            return [packet]
        source, destination = quoted_endpoints(quoted)
        mapping = self._table.received_by(quoted.protocol, destination, source)
        if mapping is None:
            return Drop.ICMP_UNRELATED
        if quoted.protocol == ICMP:
            quoted.rewrite_identifier(mapping.external[1])
        quoted.rewrite_destination(mapping.external)
        packet.rewrite_source(mapping.external)
        if hairpin:
            return self._inbound(packet, quoted)
        return [packet]

    def _inbound(self, packet: Packet, quoted: Packet) -> list[Packet] | Drop:
        """An error to us: inside, the quotation must show the internal endpoint."""
        settings = self._settings
        if packet.destination not in settings.ours:
            return Drop.NOT_FOR_US
        # Our own kernel writes from our inside address, about a packet that it could not send on.
        own = packet.source == settings.internal
        forged = settings.is_inside(packet.source) or is_unroutable(packet.source)
        if packet.side is OUTSIDE and forged and not own:
            return Drop.SPOOFED_SOURCE
        source, destination = quoted_endpoints(quoted)
        if source[0] != packet.destination:  # an error goes to the sender of what it quotes
            return Drop.ICMP_UNRELATED
        if own and packet.side is OUTSIDE and settings.is_inside(destination[0]):
            # A hairpinned packet: its sender knows the receiver by an external endpoint.
            receiver = self._table.received_by(quoted.protocol, destination, source)
            if receiver is None:
                return Drop.ICMP_UNRELATED
            destination = receiver.external
            quoted.rewrite_destination(destination)
        session = self._table.incoming(quoted.protocol, source, destination)
        if session is None:
            return Drop.ICMP_UNRELATED
        internal = session.mapping.internal
        if quoted.protocol == ICMP:
            quoted.rewrite_identifier(internal[1])
        if not quoted.is_atomic:  # an atomic packet has kept its Identification
            given = quoted.destination, quoted.protocol, quoted.identification
            quoted.rewrite_identification(self._identifications.before(*given))
        quoted.rewrite_source(internal)
        packet.rewrite_destination(internal)
        return [packet]


def _is_whole_ping(quoted: Packet) -> bool:
    if quoted.protocol != ICMP or quoted.icmp_type != ECHO_REQUEST or quoted.is_fragment:
        return False
    return int.from_bytes(quoted.data[2:4], "big") == len(quoted.data)


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
    """Source and destination of a quoted packet; a query's identifier is our side's port.

    A request was sent by our side, a reply goes to our side.
    """
    if quoted.protocol != ICMP:
        return quoted.source_endpoint, quoted.destination_endpoint
    identifier = quoted.icmp_identifier
    if quoted.icmp_type in ICMP_QUERIES:
        return (quoted.source, identifier), (quoted.destination, 0)
    return (quoted.source, 0), (quoted.destination, identifier)
