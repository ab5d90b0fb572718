"""A captured packet's headers, as fields.

Ethernet; ARP (RFC 826); IPv4 (RFC 791); TCP (RFC 9293); UDP (RFC 768); ICMP (RFC 792).

Theory of operation. A lab asks thousands of packets the same few questions: from whom, to
whom, which flags, which sequence number? These fields are read at once. The others (options,
fragment fields, checksums) are properties, read from `raw` when they are asked for. An ICMP error
quotes the packet that it is about; the quotation is read likewise. A packet that is cut off or
damaged has the fields up to there, and None for the rest.

Nothing here is shared with the translator: a checksum that both got wrong would look right.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import Enum
from ipaddress import IPv4Network
from socket import inet_aton, inet_ntoa

ICMP, TCP, UDP = 1, 6, 17
PROTOCOLS = {ICMP: "icmp", TCP: "tcp", UDP: "udp"}
FIN, SYN, RST, PSH, ACK = 0x01, 0x02, 0x04, 0x08, 0x10
_FLAG_NAMES = ((SYN, "SYN"), (FIN, "FIN"), (RST, "RST"), (PSH, "PSH"), (ACK, "ACK"))
ECHO_REPLY, UNREACHABLE, ECHO, TIME_EXCEEDED = 0, 3, 8, 11
SOURCE_QUENCH, REDIRECT, PARAMETER_PROBLEM = 4, 5, 12
_ICMP_ERRORS = {UNREACHABLE, SOURCE_QUENCH, REDIRECT, TIME_EXCEEDED, PARAMETER_PROBLEM}
_TYPES = {
    ECHO_REPLY: "echo reply",
    UNREACHABLE: "destination unreachable",
    SOURCE_QUENCH: "source quench",
    REDIRECT: "redirect",
    ECHO: "echo request",
    TIME_EXCEEDED: "time exceeded",
    PARAMETER_PROBLEM: "parameter problem",
}
_CODES = {
    (UNREACHABLE, 0): "network",
    (UNREACHABLE, 1): "host",
    (UNREACHABLE, 2): "protocol",
    (UNREACHABLE, 3): "port",
    (UNREACHABLE, 4): "fragmentation needed",
    (UNREACHABLE, 5): "source route failed",
    (UNREACHABLE, 6): "network unknown",
    (UNREACHABLE, 7): "host unknown",
    (UNREACHABLE, 8): "source host isolated",
    (UNREACHABLE, 9): "network administratively prohibited",
    (UNREACHABLE, 10): "host administratively prohibited",
    (UNREACHABLE, 11): "network, for this type of service",
    (UNREACHABLE, 12): "host, for this type of service",
    (UNREACHABLE, 13): "communication administratively prohibited",
    (UNREACHABLE, 14): "host precedence violation",
    (UNREACHABLE, 15): "precedence cutoff in effect",
    (TIME_EXCEEDED, 1): "fragment reassembly",
}
_ETHERTYPE_IPV4, _ETHERTYPE_ARP = 0x0800, 0x0806
_DONT_FRAGMENT, _MORE_FRAGMENTS = 0x4000, 0x2000
_SUM_AT = {"icmp": 2, "tcp": 16, "udp": 6}  # in the header behind IPv4's

Endpoint = tuple[str, int]


class Sum(Enum):
    """What can be said of a checksum."""

    HOLDS = "holds"
    WRONG = "wrong"
    ABSENT = "0, which means none"
    UNKNOWN = "not known: part of the packet is missing"


def show(endpoint: Endpoint) -> str:
    """`24.9.3.7:4711`."""
    return f"{endpoint[0]}:{endpoint[1]}"


def checksum(data: bytes) -> int:
    """The Internet checksum (RFC 1071)."""
    if len(data) % 2:
        data += b"\0"
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


@dataclass(slots=True)
class Packet:
    """One packet's header fields; addresses as text, numbers as on the wire.

    `raw`: the packet from its IPv4 header on, as far as it was captured.
    """

    raw: bytes = b""
    arp: str | None = None  # "who-has" or "is-at"
    source: str | None = None
    destination: str | None = None
    ttl: int | None = None
    protocol: str | None = None
    source_port: int | None = None
    destination_port: int | None = None
    flags: int = 0
    sequence: int | None = None
    acknowledgment: int | None = None
    payload: int = 0  # how many bytes of data follow the TCP or UDP header on the wire
    icmp: tuple[int, int] | None = None  # type and code
    quoted: Packet | None = None

    def is_tcp(self, *, flags: int, among: int = SYN | ACK | FIN | RST) -> bool:
        """Whether this is TCP and exactly `flags` are set among the flags that matter."""
        return self.protocol == "tcp" and self.flags & among == flags

    def names_any_of(self, network: IPv4Network) -> bool:
        """Whether an address of `network` is in the headers, or in those that it quotes."""
        among, mask = int(network.network_address), int(network.netmask)
        addresses = (self.source, self.destination)
        return any(a and int.from_bytes(inet_aton(a)) & mask == among for a in addresses) or (
            self.quoted is not None and self.quoted.names_any_of(network)
        )

    @property
    def from_(self) -> str:
        """The source endpoint."""
        return _endpoint(self.source, self.source_port)

    @property
    def to(self) -> str:
        """The destination endpoint."""
        return _endpoint(self.destination, self.destination_port)

    @property
    def sender(self) -> Endpoint:
        """Source address and port, 0 where there is none."""
        return self.source or "", self.source_port or 0

    @property
    def receiver(self) -> Endpoint:
        """Destination address and port, 0 where there is none."""
        return self.destination or "", self.destination_port or 0

    # -- read when asked for: only of a packet whose IPv4 header is complete ------------------

    @property
    def tos(self) -> int:
        return self.raw[1]

    @property
    def length(self) -> int:
        """The total length on the wire, in bytes."""
        return int.from_bytes(self.raw[2:4])

    @property
    def identification(self) -> int:
        return int.from_bytes(self.raw[4:6])

    @property
    def dont_fragment(self) -> bool:
        return bool(self._fragment & _DONT_FRAGMENT)

    @property
    def more_fragments(self) -> bool:
        return bool(self._fragment & _MORE_FRAGMENTS)

    @property
    def offset(self) -> int:
        """Of a fragment, in bytes."""
        return (self._fragment & 0x1FFF) * 8

    @property
    def options(self) -> bytes:
        """IPv4's options."""
        return self.raw[20 : self._header]

    @property
    def header_sum(self) -> Sum:
        return Sum.WRONG if checksum(self.raw[: self._header]) else Sum.HOLDS

    @property
    def body(self) -> bytes:
        """What follows the IPv4 header."""
        return self.raw[self._header :]

    @property
    def tcp_options(self) -> bytes:
        return self.body[20 : self._above]

    @property
    def urgent(self) -> int:
        """TCP's urgent pointer."""
        return int.from_bytes(self.body[18:20])

    @property
    def rest(self) -> int:
        """The second word of an ICMP header."""
        return int.from_bytes(self.body[4:8])

    @property
    def identifier(self) -> int:
        """Of an ICMP query."""
        return self.rest >> 16

    @property
    def data(self) -> bytes:
        """What follows the TCP, UDP or ICMP header."""
        return b"" if self.offset else self.body[self._above :]

    @property
    def sum(self) -> Sum:
        """The checksum of TCP, UDP or ICMP."""
        body, at = self.body, _SUM_AT.get(self.protocol or "")
        if at is None or self.offset or len(body) < at + 2:
            return Sum.UNKNOWN
        if self.protocol == "udp" and not any(body[at : at + 2]):
            return Sum.ABSENT
        if self.more_fragments or len(self.raw) < self.length:
            return Sum.UNKNOWN
        if self.protocol != "icmp":  # the pseudo-header (RFC 9293, section 3.1)
            body = self.raw[12:20] + struct.pack("!HH", self.raw[9], len(body)) + body
        return Sum.WRONG if checksum(body) else Sum.HOLDS

    @property
    def _header(self) -> int:
        return (self.raw[0] & 0x0F) * 4

    @property
    def _fragment(self) -> int:
        return int.from_bytes(self.raw[6:8])

    @property
    def _above(self) -> int:
        """The length of the header behind IPv4's."""
        if self.protocol == "tcp":
            return (self.body[12] >> 4) * 4 if len(self.body) > 12 else 8
        return 8 if self.protocol in ("udp", "icmp") else 0

    def __str__(self) -> str:
        if self.arp == "who-has":
            return f"ARP who has {self.destination}? tell {self.source}"
        if self.arp == "is-at":
            return f"ARP {self.source} is here"
        if self.source is None:
            return "not IPv4"
        words = f"{self.from_} → {self.to} {self.protocol or ''}"
        if self.offset:
            return f"{words} fragment at {self.offset}"
        if self.protocol == "tcp":
            words += " " + (",".join(n for bit, n in _FLAG_NAMES if self.flags & bit) or "no flags")
            words += f" seq {self.sequence}"
        if self.icmp is not None:
            words += f" {icmp_name(*self.icmp)}"
            words += f" id {self.identifier}" if self.icmp[0] in (ECHO, ECHO_REPLY) else ""
        if self.quoted is not None:
            words += f" [about {self.quoted}]"
        return words


def icmp_name(kind: int, code: int) -> str:
    """What an ICMP type and code say (RFC 792, RFC 1122, section 3.2.2.1, RFC 1812, 5.2.7.1)."""
    meaning = _CODES.get((kind, code))
    if kind in (UNREACHABLE, PARAMETER_PROBLEM):
        meaning = meaning or f"code {code}"
    name = _TYPES.get(kind, f"type {kind}")
    return f"{name} ({meaning})" if meaning else name


def decode_frame(data: bytes) -> Packet:
    """Read an Ethernet frame, of which only the first bytes may be there."""
    if len(data) >= 14:
        (ethertype,) = struct.unpack_from("!H", data, 12)
        if ethertype == _ETHERTYPE_IPV4:
            return decode_ipv4(data[14:])
        if ethertype == _ETHERTYPE_ARP and len(data) >= 42:
            packet = Packet()
            _read_arp(packet, data)
            return packet
    return Packet()


def _read_arp(packet: Packet, data: bytes) -> None:
    (operation,) = struct.unpack_from("!H", data, 20)
    packet.arp = {1: "who-has", 2: "is-at"}.get(operation)
    packet.source = inet_ntoa(data[28:32])
    packet.destination = inet_ntoa(data[38:42])


def decode_ipv4(data: bytes) -> Packet:
    """Read an IPv4 packet; without a complete header, it has no `raw` and no addresses."""
    packet = Packet()
    if len(data) < 20 or data[0] >> 4 != 4:
        return packet
    header = (data[0] & 0x0F) * 4
    if header < 20 or len(data) < header:
        return packet
    total, fragment, packet.ttl, protocol = struct.unpack_from("!2xH2xHBB", data)
    packet.raw = data[: max(total, header)]  # short frames are padded
    packet.source = inet_ntoa(data[12:16])
    packet.destination = inet_ntoa(data[16:20])
    packet.protocol = PROTOCOLS.get(protocol, str(protocol))
    if fragment & 0x1FFF:  # a later fragment has no header of the next layer
        return packet
    there, length = len(packet.raw) - header, total - header
    if protocol == TCP and there >= 14:
        _read_tcp(packet, data, header, length)
    elif protocol == UDP and there >= 8:
        packet.source_port, packet.destination_port = struct.unpack_from("!HH", data, header)
        packet.payload = max(0, length - 8)
    elif protocol == TCP and there >= 8:  # all that an ICMP error needs to quote
        packet.source_port, packet.destination_port, packet.sequence = struct.unpack_from(
            "!HHI", data, header
        )
    elif protocol == ICMP and there >= 8:
        packet.icmp = (data[header], data[header + 1])
        if data[header] in _ICMP_ERRORS:
            quoted = decode_ipv4(packet.raw[header + 8 :])
            packet.quoted = quoted if quoted.raw else None
    return packet


def _read_tcp(packet: Packet, data: bytes, at: int, length: int) -> None:
    (
        packet.source_port,
        packet.destination_port,
        packet.sequence,
        packet.acknowledgment,
        offset,
        packet.flags,
    ) = struct.unpack_from("!HHIIBB", data, at)
    packet.payload = max(0, length - (offset >> 4) * 4)


def _endpoint(address: str | None, port: int | None) -> str:
    return f"{address}:{port}" if port is not None else str(address)
