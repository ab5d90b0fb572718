"""The headers of a captured packet, read just far enough to tell its story.

Theory of operation. A lab asks thousands of packets the same few questions: from whom, to
whom, which flags, which sequence number? So the fixed fields are read at their offsets and
nothing else (Ethernet; ARP, RFC 826; IPv4, RFC 791; TCP, RFC 9293; UDP, RFC 768; ICMP,
RFC 792). An ICMP error quotes the packet that it is about; the quotation is read likewise.
A packet that is cut off or makes no sense has the fields up to there, and None for the rest.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network

ICMP, TCP, UDP = 1, 6, 17
PROTOCOLS = {ICMP: "icmp", TCP: "tcp", UDP: "udp"}
FIN, SYN, RST, PSH, ACK = 0x01, 0x02, 0x04, 0x08, 0x10
_FLAG_NAMES = ((SYN, "SYN"), (FIN, "FIN"), (RST, "RST"), (PSH, "PSH"), (ACK, "ACK"))
ECHO_REPLY, UNREACHABLE, ECHO, TIME_EXCEEDED = 0, 3, 8, 11
_ICMP_ERRORS = {UNREACHABLE, 4, 5, TIME_EXCEEDED, 12}
_ETHERTYPE_IPV4, _ETHERTYPE_ARP = 0x0800, 0x0806


@dataclass(slots=True)
class Packet:
    """One packet's header fields; addresses as text, numbers as on the wire."""

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
    payload: int = 0  # bytes of data behind the TCP or UDP header
    icmp: tuple[int, int] | None = None  # type and code
    quoted: Packet | None = None

    def is_tcp(self, *, flags: int, among: int = SYN | ACK | FIN | RST) -> bool:
        """Whether this is TCP and exactly `flags` are set among the flags that matter."""
        return self.protocol == "tcp" and self.flags & among == flags

    def names_any_of(self, network: IPv4Network) -> bool:
        """Whether an address of `network` is in the headers, or in those that it quotes."""
        addresses = (self.source, self.destination)
        return any(a is not None and IPv4Address(a) in network for a in addresses) or (
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

    def __str__(self) -> str:
        if self.arp == "who-has":
            return f"ARP who has {self.destination}? tell {self.source}"
        if self.arp == "is-at":
            return f"ARP {self.source} is here"
        if self.source is None:
            return "not IPv4"
        words = f"{self.from_} → {self.to} {self.protocol or ''}"
        if self.protocol == "tcp":
            words += " " + (",".join(n for bit, n in _FLAG_NAMES if self.flags & bit) or "no flags")
            words += f" seq {self.sequence}"
        if self.icmp is not None:
            words += f" {icmp_name(*self.icmp)}"
        if self.quoted is not None:
            words += f" [about {self.quoted}]"
        return words


def icmp_name(kind: int, code: int) -> str:
    """What an ICMP type and code say (RFC 792)."""
    if kind == UNREACHABLE:
        codes = {0: "network", 1: "host", 2: "protocol", 3: "port", 4: "fragmentation needed"}
        return f"destination unreachable ({codes.get(code, code)})"
    names = {ECHO: "echo request", ECHO_REPLY: "echo reply", TIME_EXCEEDED: "time exceeded"}
    return names.get(kind, f"type {kind}")


def decode_frame(data: bytes) -> Packet:
    """Read an Ethernet frame."""
    packet = Packet()
    if len(data) >= 14:
        (ethertype,) = struct.unpack_from("!H", data, 12)
        if ethertype == _ETHERTYPE_IPV4:
            _read_ipv4(packet, data, 14)
        elif ethertype == _ETHERTYPE_ARP and len(data) >= 42:
            _read_arp(packet, data)
    return packet


def _read_arp(packet: Packet, data: bytes) -> None:
    (operation,) = struct.unpack_from("!H", data, 20)
    packet.arp = {1: "who-has", 2: "is-at"}.get(operation)
    packet.source = str(IPv4Address(data[28:32]))
    packet.destination = str(IPv4Address(data[38:42]))


def _read_ipv4(packet: Packet, data: bytes, at: int) -> None:
    if len(data) < at + 20 or data[at] >> 4 != 4:
        return
    header = (data[at] & 0x0F) * 4
    total, fragment, packet.ttl, protocol = struct.unpack_from("!2xH2xHBB", data, at)
    packet.source = str(IPv4Address(data[at + 12 : at + 16]))
    packet.destination = str(IPv4Address(data[at + 16 : at + 20]))
    packet.protocol = PROTOCOLS.get(protocol, str(protocol))
    if header < 20 or fragment & 0x1FFF:  # a later fragment has no header of the next layer
        return
    above, length = at + header, total - header
    if protocol == TCP and len(data) >= above + 14:
        _read_tcp(packet, data, above, length)
    elif protocol == UDP and len(data) >= above + 8:
        packet.source_port, packet.destination_port = struct.unpack_from("!HH", data, above)
        packet.payload = max(0, length - 8)
    elif protocol == TCP and len(data) >= above + 8:  # all that an ICMP error needs to quote
        packet.source_port, packet.destination_port, packet.sequence = struct.unpack_from(
            "!HHI", data, above
        )
    elif protocol == ICMP and len(data) >= above + 8:
        packet.icmp = (data[above], data[above + 1])
        if data[above] in _ICMP_ERRORS:
            packet.quoted = Packet()
            _read_ipv4(packet.quoted, data, above + 8)


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
