"""Valid packets from the headers' own descriptions (RFC 791, 768, 792, 9293), without scapy.

scapy takes a millisecond for a packet, and a million of them are wanted. The sum is computed
word by word as RFC 1071 says; the translator does it in one division.
"""

from __future__ import annotations

import struct

ICMP, TCP, UDP = 1, 6, 17
FIN, SYN, RST, PSH, ACK = 1, 2, 4, 8, 16
DF, MF = 0x4000, 0x2000

Endpoint = tuple[int, int]


def add_up(data: bytes) -> int:
    """The one's complement sum of 16-bit words."""
    if len(data) % 2:
        data += b"\0"
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    return total


def checksum(data: bytes) -> int:
    return add_up(data) ^ 0xFFFF


def pseudo_header(packet: bytes, length: int) -> bytes:
    """What TCP and UDP also add up: addresses, protocol, length."""
    return packet[12:20] + struct.pack("!HH", packet[9], length)


def header(
    protocol: int, source: int, destination: int, length: int, *, tos: int = 0, ident: int = 1,
    fragment: int = 0, ttl: int = 63, options: bytes = b"",
) -> bytes:  # fmt: skip
    """An IPv4 header for a payload of `length` bytes."""
    size = 20 + len(options)
    draft = struct.pack(
        "!BBHHHBBHII", 0x40 | size // 4, tos, size + length, ident, fragment, ttl, protocol, 0,
        source, destination,
    ) + options  # fmt: skip
    return with_header_checksum(draft)


def with_header_checksum(packet: bytes) -> bytes:
    """A packet whose header adds up."""
    size = min((packet[0] & 15) * 4, len(packet))
    cleared = packet[:10] + b"\0\0" + packet[12:]
    return cleared[:10] + checksum(cleared[:size]).to_bytes(2, "big") + cleared[12:]


def transport(
    protocol: int, source: Endpoint, destination: Endpoint, body: bytes, at: int, **ip: int | bytes
) -> bytes:
    """A packet with its transport checksum, `at` bytes into `body`."""
    packet = header(protocol, source[0], destination[0], len(body), **ip)  # type: ignore[arg-type]
    sum_ = checksum(pseudo_header(packet, len(body)) + body)
    if protocol == UDP:
        sum_ = sum_ or 0xFFFF
    return packet + body[:at] + sum_.to_bytes(2, "big") + body[at + 2 :]


def tcp(
    source: Endpoint, destination: Endpoint, flags: int, payload: bytes = b"",
    tcp_options: bytes = b"", numbers: tuple[int, int] = (1000, 2000), **ip: int | bytes,
) -> bytes:  # fmt: skip
    """A segment; `numbers` are its sequence and acknowledgment numbers."""
    offset = (20 + len(tcp_options)) << 2
    body = struct.pack("!HHIIBBHHH", source[1], destination[1], *numbers, offset, flags, 512, 0, 0)
    return transport(TCP, source, destination, body + tcp_options + payload, 16, **ip)


def udp(
    source: Endpoint, destination: Endpoint, payload: bytes = b"", summed: bool = True,
    **ip: int | bytes,
) -> bytes:  # fmt: skip
    body = struct.pack("!HHHH", source[1], destination[1], 8 + len(payload), 0) + payload
    packet = transport(UDP, source, destination, body, 6, **ip)
    if summed:
        return packet
    start = (packet[0] & 15) * 4
    return packet[: start + 6] + b"\0\0" + packet[start + 8 :]


def icmp(
    source: int, destination: int, kind: int, code: int, rest: bytes, **ip: int | bytes
) -> bytes:
    """`rest` begins behind the checksum."""
    body = struct.pack("!BBH", kind, code, 0) + rest
    body = body[:2] + checksum(body).to_bytes(2, "big") + body[4:]
    return header(ICMP, source, destination, len(body), **ip) + body  # type: ignore[arg-type]


def echo(
    source: int, destination: int, identifier: int, kind: int = 8, data: bytes = b"",
    **ip: int | bytes,
) -> bytes:  # fmt: skip
    return icmp(source, destination, kind, 0, struct.pack("!HH", identifier, 1) + data, **ip)


def error(
    source: int, destination: int, kind: int, code: int, about: bytes, **ip: int | bytes
) -> bytes:
    """An ICMP error that quotes `about`."""
    return icmp(source, destination, kind, code, bytes(4) + about, **ip)


def with_partial_checksum(packet: bytes) -> bytes:
    """As a kernel leaves a TCP or UDP packet to the hardware: only the pseudo-header is summed."""
    start = (packet[0] & 15) * 4
    at = start + {TCP: 16, UDP: 6}[packet[9]]
    sum_ = add_up(pseudo_header(packet, len(packet) - start))
    return packet[:at] + sum_.to_bytes(2, "big") + packet[at + 2 :]


def fragments(packet: bytes, size: int) -> list[bytes]:
    """A packet in pieces of `size` bytes (a multiple of 8) of its payload."""
    start = (packet[0] & 15) * 4
    body, pieces = packet[start:], []
    for at in range(0, len(body), size):
        more = MF if at + size < len(body) else 0
        part = body[at : at + size]
        head = (
            packet[:2] + struct.pack("!H2sH", start + len(part), packet[4:6], more | at // 8)
            + packet[8:start]
        )  # fmt: skip
        pieces.append(with_header_checksum(head) + part)
    return pieces
