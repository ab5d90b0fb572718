"""How a packet is known again at the next interface, although a NAPT has rewritten it.

Theory of operation. A NAPT rewrites addresses, ports and checksums. What it leaves alone: the
IPv4 identification, and of TCP the sequence and acknowledgment numbers, flags and length; of
ICMP and UDP, the data.
"""

from __future__ import annotations

import struct
from collections.abc import Hashable

from napt_lab.labs.capture.packets import ECHO, ECHO_REPLY, Packet

SAME_SECONDS = 1.0  # the same packet later than that is another one


def identity(packet: Packet, data: bytes, segment: str) -> Hashable:
    """What a packet (decoded from the frame `data`) keeps from its source to its destination.

    `segment` is the network where it was seen: ARP does not leave it.
    """
    if packet.arp is not None:
        return segment, packet.arp, packet.source, packet.destination
    identification, fragment = struct.unpack_from("!HH", data, 18)
    known = (packet.protocol, identification, fragment & 0x1FFF)
    if packet.protocol == "tcp":
        return *known, packet.sequence, packet.acknowledgment, packet.flags, packet.payload
    above = 14 + (data[14] & 0x0F) * 4
    if packet.quoted is not None:
        quoted = data[above + 12 : above + 14]  # the identification of the packet in question
        return *known, packet.icmp, quoted, packet.quoted.sequence
    if packet.icmp is not None:
        return *known, packet.icmp, data[above + 6 : above + 24]  # from the sequence number on
    return *known, packet.payload, data[above + 8 : above + 40]


def endpoints(packet: Packet, data: bytes) -> tuple[str, str]:
    """Source and destination; an echo's identifier is what its port would be (RFC 5508)."""
    source, destination = packet.from_, packet.to
    if packet.icmp is not None and packet.icmp[0] in (ECHO, ECHO_REPLY):
        at = 14 + (data[14] & 0x0F) * 4 + 4
        identifier = f" id {int.from_bytes(data[at : at + 2])}"
        if packet.icmp[0] == ECHO:
            source += identifier
        else:
            destination += identifier
    return source, destination
