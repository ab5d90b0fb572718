"""What is wrong with a packet that a student's translator returns.

The packet is sent as it was returned, and the next router or host drops it, as on the Internet: a
lab shows what happens on the wire. Here the student is told what will happen to it, and why.
"""

from __future__ import annotations

from collections.abc import Iterator

from napt_lab.nat_node.core.behavior import show_address
from napt_lab.nat_node.core.checksum import checksum
from napt_lab.nat_node.core.packet import ICMP, PROTOCOL_NAMES, TCP, UDP, Malformed, Packet, Side
from napt_lab.nat_node.core.settings import Settings

_LONGEST = 65_535  # bytes of an IPv4 packet


def problems(data: bytearray | memoryview, side: Side, settings: Settings) -> Iterator[str]:
    """Each thing that is wrong with a packet to be sent, in words; nothing if it is good."""
    if len(data) > _LONGEST:
        yield f"it has {len(data)} bytes; an IPv4 packet has at most {_LONGEST}"
        return
    try:
        packet = Packet(data, side)
    except Malformed as error:
        claimed = int.from_bytes(data[2:4], "big")
        more = f" (it claims {claimed} bytes and has {len(data)})" if claimed != len(data) else ""
        yield f"it is not an IPv4 packet now: {error}{more}"
        return
    if checksum(data[: packet.header_length]) != 0:
        yield "the checksum of its IPv4 header is wrong: the next router or host drops it"
    if not packet.is_fragment and not _transport_checksum_holds(packet):
        name = PROTOCOL_NAMES[packet.protocol].upper()
        why = "it covers the addresses as well (pseudo-header)" if packet.protocol != ICMP else ""
        yield f"its {name} checksum is wrong{': ' + why if why else ''}"
    yield from _wrong_way(packet, settings)


def _wrong_way(packet: Packet, settings: Settings) -> Iterator[str]:
    source, destination = show_address(packet.source), show_address(packet.destination)
    if packet.destination == settings.external:
        yield (
            f"it is still addressed to the NAPT itself, {destination}: "
            "write the inside host's endpoint into `destination`, or drop it"
        )
    elif settings.is_inside(packet.destination):
        if packet.side is Side.INSIDE and settings.is_inside(packet.source):
            return  # a refusal for its sender
        if settings.is_inside(packet.source) and packet.protocol != ICMP:
            yield f"it goes inside with the private source {source}, to which no answer comes back"
    elif settings.is_inside(packet.source):
        yield (
            f"a private source leaks: {source} -> {destination} would be on the Internet; "
            f"write {show_address(settings.external)} and a port into `source`"
        )
    elif settings.is_not_routable(packet.destination):
        yield f"its destination {destination} is private: the Internet has no route to it"
    elif packet.source != settings.external:
        ours = show_address(settings.external)
        yield f"its source {source} is not ours: on the Internet we have only {ours}"


def _transport_checksum_holds(packet: Packet) -> bool:
    segment = packet.data[packet.header_length :]
    if packet.protocol == ICMP:
        return checksum(segment) == 0
    if packet.protocol not in (TCP, UDP):
        return True
    if packet.protocol == UDP and bytes(segment[6:8]) == b"\0\0":
        return True  # "no checksum" (RFC 768)
    pseudo = bytes(packet.data[12:20]) + packet.protocol.to_bytes(2, "big")
    return checksum(pseudo + len(segment).to_bytes(2, "big") + bytes(segment)) == 0
