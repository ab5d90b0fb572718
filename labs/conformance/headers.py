"""Packets made byte by byte: a test can choose every field of the headers.

Theory of operation. A NAPT must handle packets that a conforming host never sends: fragments out of
order, a checksum of 0, an ICMP error whose quotation is damaged. So the tests build their packets
here, byte by byte (IPv4, RFC 791; UDP, RFC 768; TCP, RFC 9293; ICMP, RFC 792 and
RFC 4884), and send them through raw sockets. labs/capture/packets.py is the other direction.

Each packet carries a `mark`: bytes that pass a NAPT unchanged and that no other packet has, by
which it is found again at every interface of the network.
"""

from __future__ import annotations

import itertools
import os
import struct
from dataclasses import dataclass
from ipaddress import IPv4Address

from napt_lab.labs.capture.packets import (
    ACK,
    ECHO,
    ECHO_REPLY,
    FIN,
    ICMP,
    RST,
    SYN,
    TCP,
    UDP,
    UNREACHABLE,
    Endpoint,
    checksum,
    show,
)

URG = 0x20
SOURCE_QUENCH, REDIRECT, PARAMETER_PROBLEM = 4, 5, 12
MARK = 8  # bytes at the beginning of a payload

_serial = itertools.count(1)
_run = os.urandom(4)


@dataclass(frozen=True, slots=True)
class Probe:
    """A packet to be sent: its bytes, its mark, and its name in the evidence."""

    data: bytes
    mark: bytes
    what: str

    @property
    def protocol(self) -> int:
        return self.data[9]


@dataclass(frozen=True, slots=True)
class IpFields:
    """The choices for an IPv4 header; 0 as `identification` means a new one."""

    ttl: int = 64
    tos: int = 0
    identification: int = 0
    dont_fragment: bool = True
    more_fragments: bool = False
    offset: int = 0  # bytes
    options: bytes = b""


USUAL = IpFields()
MAY_BE_CUT = IpFields(dont_fragment=False)


def fresh(length: int = 24) -> bytes:
    """A payload that no other packet has, of `length` bytes (at least 8)."""
    token = _run + struct.pack("!I", next(_serial))
    return (token * (length // MARK + 1))[:length]


def ipv4(
    source: str, destination: str, protocol: int, payload: bytes, fields: IpFields = USUAL
) -> bytes:
    """An IPv4 packet."""
    options = fields.options + bytes(-len(fields.options) % 4)
    length = 20 + len(options)
    identification = fields.identification or next(_serial) % 0xFFFF + 1
    flags = fields.dont_fragment << 14 | fields.more_fragments << 13 | fields.offset // 8
    header = struct.pack(
        "!BBHHHBBH4s4s", 0x40 | length // 4, fields.tos, length + len(payload), identification,
        flags, fields.ttl, protocol, 0, _packed(source), _packed(destination),
    )  # fmt: skip
    header += options
    return header[:10] + struct.pack("!H", checksum(header)) + header[12:] + payload


def udp(
    source: Endpoint,
    destination: Endpoint,
    data: bytes | None = None,
    fields: IpFields = USUAL,
    *,
    summed: bool = True,
) -> Probe:
    """A datagram; not `summed`: with a checksum of 0, which means none (RFC 768)."""
    data = fresh() if data is None else data
    segment = udp_segment(source, destination, data, summed=summed)
    packet = ipv4(source[0], destination[0], UDP, segment, fields)
    return Probe(packet, data[:MARK], f"UDP {show(source)} > {show(destination)}")


def udp_segment(
    source: Endpoint, destination: Endpoint, data: bytes, *, summed: bool = True
) -> bytes:
    """A UDP header and its data, to be cut into fragments for instance."""
    length = 8 + len(data)
    head = struct.pack("!HHHH", source[1], destination[1], length, 0)
    if not summed:
        return head + data
    pseudo = _packed(source[0]) + _packed(destination[0]) + struct.pack("!HH", UDP, length)
    return head[:6] + struct.pack("!H", checksum(pseudo + head + data) or 0xFFFF) + data


def tcp(
    source: Endpoint,
    destination: Endpoint,
    flags: int,
    sequence: int,
    acknowledgment: int = 0,
    data: bytes = b"",
    options: bytes = b"",
    fields: IpFields = USUAL,
    *,
    urgent: int = 0,
) -> Probe:
    """A segment; its mark is its sequence and acknowledgment number."""
    options += bytes(-len(options) % 4)
    words = (20 + len(options)) // 4
    head = struct.pack(
        "!HHIIBBHHH", source[1], destination[1], sequence, acknowledgment, words << 4, flags,
        0xFFFF, 0, urgent,
    )  # fmt: skip
    segment = head + options + data
    pseudo = _packed(source[0]) + _packed(destination[0]) + struct.pack("!HH", TCP, len(segment))
    segment = segment[:16] + struct.pack("!H", checksum(pseudo + segment)) + segment[18:]
    packet = ipv4(source[0], destination[0], TCP, segment, fields)
    mark = struct.pack("!II", sequence, acknowledgment)
    named = {SYN: "SYN", FIN: "FIN", RST: "RST", ACK: "ACK"}
    name = "-".join(word for bit, word in named.items() if flags & bit) or "segment"
    return Probe(packet, mark, f"TCP {name} {show(source)} > {show(destination)}")


def icmp(
    source: str,
    destination: str,
    kind: int,
    code: int,
    rest: int,
    body: bytes,
    fields: IpFields = USUAL,
    *,
    damaged: bool = False,
) -> bytes:
    """An ICMP message; `damaged`: with a wrong checksum."""
    head = struct.pack("!BBHI", kind, code, 0, rest)
    total = checksum(head + body) ^ (0x5555 if damaged else 0)
    message = head[:2] + struct.pack("!H", total) + head[4:] + body
    return ipv4(source, destination, ICMP, message, fields)


def echo(
    source: str,
    destination: str,
    identifier: int,
    fields: IpFields = USUAL,
    *,
    reply: bool = False,
    data: bytes | None = None,
) -> Probe:
    """An echo request or reply."""
    data = fresh() if data is None else data
    kind = ECHO_REPLY if reply else ECHO
    packet = icmp(source, destination, kind, 0, identifier << 16 | 1, data, fields)
    name = "reply" if reply else "request"
    return Probe(packet, data[:MARK], f"echo {name} {source} > {destination}")


def icmp_error(
    source: str,
    destination: str,
    about: bytes,
    mark: bytes,
    *,
    kind: int = UNREACHABLE,
    code: int = 3,
    rest: int = 0,
    extension: bytes = b"",
    damaged: bool = False,
    fields: IpFields = USUAL,
) -> Probe:
    """An ICMP error that quotes the packet `about`, whose mark is `mark`.

    With an `extension` the quotation is padded with zeros to 128 bytes and its length is told in
    the header (RFC 4884, section 4.1).
    """
    quoted = about
    if extension:
        quoted = about[:128].ljust(128, b"\0")
        rest |= len(quoted) // 4 << 16
    packet = icmp(
        source, destination, kind, code, rest, quoted + extension, fields, damaged=damaged
    )
    return Probe(packet, mark, f"ICMP {kind}/{code} {source} > {destination}")


def extension_object(data: bytes) -> bytes:
    """An ICMP extension structure with one object (RFC 4884, section 7)."""
    body = struct.pack("!HBB", 4 + len(data), 1, 1) + data
    whole = struct.pack("!BBH", 0x20, 0, 0) + body
    return whole[:2] + struct.pack("!H", checksum(whole)) + body


def fragments(packet: bytes, *sizes: int) -> list[Probe]:
    """Cut a packet with a payload of marked bytes: pieces of `sizes` bytes, and the rest.

    Sizes are multiples of 8 and at least 16, so that each piece has a mark of its own: its last
    8 bytes.
    """
    header, payload = packet[:20], packet[20:]
    identification, _, ttl, protocol = struct.unpack_from("!HHBB", packet, 4)
    source, destination = str(IPv4Address(header[12:16])), str(IPv4Address(header[16:20]))
    pieces, at = [], 0
    for size in (*sizes, len(payload) - sum(sizes)):
        part = payload[at : at + size]
        fields = IpFields(ttl, header[1], identification, False, at + size < len(payload), at)
        data = ipv4(source, destination, protocol, part, fields)
        pieces.append(Probe(data, part[-MARK:], f"fragment at {at} {source} > {destination}"))
        at += size
    return pieces


def _packed(address: str) -> bytes:
    return IPv4Address(address).packed
