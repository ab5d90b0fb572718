"""The packets that tests send, built by scapy from endpoints as text.

scapy shares no line with the translator, the captures or the report, so that a mistake of theirs
is not repeated here. Two builders stay beside this one: tests/fuzz/packets.py, for a million
packets that need not a millisecond each, and the scripts that tests run on nodes, which have
nothing but Python's own library.

Each takes fields of the IP header by scapy's names (`ttl`, `id`, `tos`, `flags`, `frag`).
"""

from __future__ import annotations

from typing import Any

from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.l2 import Ether
from scapy.packet import Raw
from scapy.utils import checksum


def split(endpoint: str) -> tuple[str, int]:
    address, _, port = endpoint.partition(":")
    return address, int(port or 0)


def _ip(source: str, destination: str, **fields: Any) -> IP:
    usual: dict[str, Any] = {"ttl": 63, "id": 1}
    return IP(**usual | {"src": split(source)[0], "dst": split(destination)[0]} | fields)


def tcp(
    source: str, destination: str, segment: str = "S", payload: bytes = b"", *,
    seq: int = 0, ack: int = 0, window: int = 8192, **ip: Any,
) -> bytes:  # fmt: skip
    """A segment with the flags of `segment`."""
    head = TCP(sport=split(source)[1], dport=split(destination)[1], flags=segment, seq=seq, ack=ack)
    head.window = window
    return bytes(_ip(source, destination, **ip) / head / Raw(payload))


def udp(source: str, destination: str, payload: bytes = b"hello", **ip: Any) -> bytes:
    head = UDP(sport=split(source)[1], dport=split(destination)[1])
    return bytes(_ip(source, destination, **ip) / head / Raw(payload))


def ping(
    source: str, destination: str, ident: int = 77, kind: int = 8, data: bytes = b"abc", **ip: Any
) -> bytes:
    """An echo request (or with kind 0 its reply)."""
    return bytes(_ip(source, destination, **ip) / ICMP(type=kind, id=ident, seq=1) / Raw(data))


def pong(source: str, destination: str, ident: int = 77, **ip: Any) -> bytes:
    return ping(source, destination, ident, kind=0, **ip)


def error(
    source: str,
    destination: str,
    about: bytes,
    kind: tuple[int, int] = (3, 3),
    quote: int | None = 28,
    **ip: Any,
) -> bytes:
    """An ICMP error that quotes the first `quote` bytes (None: all) of a packet."""
    icmp = ICMP(type=kind[0], code=kind[1])
    return bytes(_ip(source, destination, **ip) / icmp / Raw(about[:quote]))


def fragments(packet: bytes, *sizes: int) -> list[bytes]:
    """A packet cut behind these many bytes of its IP payload (multiples of 8), and at the end."""
    whole = IP(packet)
    body = bytes(whole.payload)
    pieces, start = [], 0
    for end in (*sizes, len(body)):
        piece = IP(packet)
        piece.remove_payload()
        piece.flags, piece.frag = ("MF" if end < len(body) else 0), start // 8
        del piece.len, piece.chksum
        pieces.append(bytes(piece / Raw(body[start:end])))
        start = end
    return pieces


def reassemble(pieces: list[bytes]) -> bytes:
    """The packet that its receiver makes of the pieces."""
    parts = sorted((IP(piece) for piece in pieces), key=lambda part: part.frag)
    body = b"".join(bytes(part.payload) for part in parts)
    whole = parts[0]
    whole.remove_payload()
    whole.flags = 0
    del whole.len, whole.chksum
    return bytes(whole / Raw(body))


def set_bytes(packet: bytes, at: int, new: bytes) -> bytes:
    """A packet with some bytes replaced, and no checksum mended."""
    return packet[:at] + new + packet[at + len(new) :]


def with_right_header_checksum(packet: bytes) -> bytes:
    cleared = set_bytes(packet, 10, b"\0\0")
    size = (packet[0] & 15) * 4
    return set_bytes(cleared, 10, checksum(cleared[:size]).to_bytes(2, "big"))


def ethernet(
    packet: bytes, destination: str = "02:00:00:00:00:02", source: str = "02:00:00:00:00:01"
) -> bytes:
    """The frame that carries an IPv4 packet."""
    # Without addresses scapy would ask this machine's network for them, by ARP.
    return bytes(Ether(dst=destination, src=source, type=0x0800) / Raw(packet))
