"""How a packet is recognized at the next interface, although a NAPT has rewritten it.

Theory of operation. A NAPT rewrites addresses, ports and checksums. It does not change the
IPv4 identification, and of TCP the sequence and acknowledgment numbers, flags and length; of
ICMP and UDP, the data. In an ICMP error it also rewrites the packet that is quoted, up to its
Identification (a NAPT gives some packets one of its own); the quoted length stays the same.
"""

from __future__ import annotations

from collections.abc import Hashable

from napt_lab.labs.capture.packets import ECHO, ECHO_REPLY, Packet

SAME_SECONDS = 1.0  # an equal packet that comes later is another one


def identity(packet: Packet, segment: str) -> Hashable:
    """The fields that a packet keeps from its source to its destination.

    `segment` is the network where it was seen: ARP does not leave it.
    """
    if not packet.raw:
        return segment, packet.arp, packet.source, packet.destination
    known = packet.protocol, packet.identification, packet.offset
    if packet.protocol == "tcp":
        return *known, packet.sequence, packet.acknowledgment, packet.flags, packet.payload
    if packet.quoted is not None:
        quoted = packet.quoted
        return *known, packet.icmp, quoted.protocol, quoted.length, quoted.sequence
    if packet.icmp is not None:
        return *known, packet.icmp, packet.body[6:24]  # from the sequence number on
    return *known, packet.payload, packet.body[8:40]


def endpoints(packet: Packet) -> tuple[str, str]:
    """Source and destination; an echo's identifier is what its port would be (RFC 5508)."""
    source, destination = packet.from_, packet.to
    if packet.icmp is not None and packet.icmp[0] in (ECHO, ECHO_REPLY):
        identifier = f" id {packet.identifier}"
        if packet.icmp[0] == ECHO:
            source += identifier
        else:
            destination += identifier
    return source, destination
