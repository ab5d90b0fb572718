"""A captured packet read in full: every field that a translator may or may not change.

`labs/capture/packets.py` reads just enough of a packet to tell its story; whether a translation
is right takes the rest: checksums, options, fragments, and the packet that an ICMP error quotes.
Nothing here is shared with the translator: a checksum that both got wrong would look right.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import Enum
from ipaddress import IPv4Address

from napt_lab.labs.conformance.headers import ICMP, TCP, UDP, Endpoint, checksum

_ERRORS = frozenset({3, 4, 5, 11, 12})
_ETHERNET = 14


class Sum(Enum):
    """What can be said of a checksum."""

    HOLDS = "holds"
    WRONG = "wrong"
    ABSENT = "0, which means none"
    UNKNOWN = "not to be known: not all of the packet is here"


@dataclass(slots=True)
class Ip:
    """An IPv4 packet. Offsets and lengths are in bytes; ports of a later fragment are 0."""

    raw: bytes
    tos: int
    length: int
    identification: int
    dont_fragment: bool
    more_fragments: bool
    offset: int
    ttl: int
    protocol: int
    header_sum: Sum
    source: str
    destination: str
    options: bytes
    payload: bytes
    sum: Sum = Sum.UNKNOWN
    source_port: int = 0
    destination_port: int = 0
    flags: int = 0
    sequence: int = 0
    acknowledgment: int = 0
    tcp_options: bytes = b""
    urgent: int = 0
    data: bytes = b""
    icmp: tuple[int, int] | None = None
    rest: int = 0
    quoted: Ip | None = None

    @property
    def sender(self) -> Endpoint:
        """Source address and port."""
        return self.source, self.source_port

    @property
    def receiver(self) -> Endpoint:
        """Destination address and port."""
        return self.destination, self.destination_port

    @property
    def identifier(self) -> int:
        """Of an ICMP query."""
        return self.rest >> 16

    def __str__(self) -> str:
        names = {ICMP: "icmp", TCP: "tcp", UDP: "udp"}
        name = names.get(self.protocol, str(self.protocol))
        if self.offset:
            return f"{self.source} > {self.destination} {name} fragment at {self.offset}"
        if self.icmp is not None:
            about = f" about [{self.quoted}]" if self.quoted is not None else ""
            identifier = "" if self.quoted is not None else f" id {self.identifier}"
            kind, code = self.icmp
            return f"{self.source} > {self.destination} icmp {kind}/{code}{identifier}{about}"
        return (
            f"{self.source}:{self.source_port} > {self.destination}:{self.destination_port} {name}"
        )


def read_frame(frame: bytes) -> Ip | None:
    """The IPv4 packet in an Ethernet frame, of which only the first bytes may be there."""
    if frame[12:14] != b"\x08\x00":
        return None
    return read_ipv4(frame[_ETHERNET:])


def read_ipv4(data: bytes) -> Ip | None:
    """The packet that begins here; None if there is no whole IPv4 header."""
    if len(data) < 20 or data[0] >> 4 != 4:
        return None
    header = (data[0] & 0x0F) * 4
    if header < 20 or len(data) < header:
        return None
    tos, length, identification, flags, ttl, protocol = struct.unpack_from("!xBHHHBB", data)
    whole = data[: max(length, header)]
    packet = Ip(
        raw=whole,
        tos=tos,
        length=length,
        identification=identification,
        dont_fragment=bool(flags & 0x4000),
        more_fragments=bool(flags & 0x2000),
        offset=(flags & 0x1FFF) * 8,
        ttl=ttl,
        protocol=protocol,
        header_sum=Sum.WRONG if checksum(data[:header]) else Sum.HOLDS,
        source=str(IPv4Address(data[12:16])),
        destination=str(IPv4Address(data[16:20])),
        options=data[20:header],
        payload=whole[header:],
    )
    if not packet.offset:
        complete = len(data) >= length and not packet.more_fragments
        _READERS.get(protocol, _read_nothing)(packet, complete)
    return packet


def _read_udp(packet: Ip, complete: bool) -> None:
    if len(packet.payload) < 8:
        return
    packet.source_port, packet.destination_port, _, total = struct.unpack_from(
        "!HHHH", packet.payload
    )
    packet.data = packet.payload[8:]
    if total == 0:
        packet.sum = Sum.ABSENT
    elif complete:
        packet.sum = _with_pseudo_header(packet)


def _read_tcp(packet: Ip, complete: bool) -> None:
    if len(packet.payload) < 8:
        return
    packet.source_port, packet.destination_port, packet.sequence = struct.unpack_from(
        "!HHI", packet.payload
    )
    if len(packet.payload) < 20:
        return
    packet.acknowledgment, words, packet.flags, packet.urgent = struct.unpack_from(
        "!8xIBB4xH", packet.payload
    )
    header = (words >> 4) * 4
    packet.tcp_options, packet.data = packet.payload[20:header], packet.payload[header:]
    if complete:
        packet.sum = _with_pseudo_header(packet)


def _read_icmp(packet: Ip, complete: bool) -> None:
    if len(packet.payload) < 8:
        return
    kind, code, packet.rest = struct.unpack_from("!BBxxI", packet.payload)
    packet.icmp = kind, code
    packet.data = packet.payload[8:]
    if complete:
        packet.sum = Sum.WRONG if checksum(packet.payload) else Sum.HOLDS
    if kind in _ERRORS:
        packet.quoted = read_ipv4(packet.data)


def _read_nothing(_packet: Ip, _complete: bool) -> None:
    pass


_READERS = {UDP: _read_udp, TCP: _read_tcp, ICMP: _read_icmp}


def _with_pseudo_header(packet: Ip) -> Sum:
    pseudo = packet.raw[12:20] + struct.pack("!HH", packet.protocol, len(packet.payload))
    return Sum.WRONG if checksum(pseudo + packet.payload) else Sum.HOLDS
