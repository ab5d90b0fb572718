"""Two captures of one packet side by side, field by field.

 0                   1                   2                   3
|Version|  IHL  |Type of service|          Total length         |   IPv4 (RFC 791)
|         Identification        |Flags|     Fragment offset     |
|  Time to live |    Protocol   |        Header checksum        |
|                        Source address                         |
|                      Destination address                      |
|          Source port          |       Destination port        |   TCP (RFC 9293)
|                        Sequence number                        |
|                     Acknowledgment number                     |
| Offset|  Rsrvd|     Flags     |            Window             |
|            Checksum           |         Urgent pointer        |
|                    Options and data …                         |
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address

from napt_lab.labs.capture.wire import Captured

ETHERNET = 14  # bytes before the IPv4 header
HEADERS = 40  # bytes of IPv4 and TCP without options

SOURCE, DESTINATION = "source address", "destination address"
SOURCE_PORT, DESTINATION_PORT = "source port", "destination port"
TTL, HEADER_CHECKSUM, TCP_CHECKSUM = "time to live", "IPv4 header checksum", "TCP checksum"
REST = "options and data"

_FIELDS = (  # name, offset, bytes
    ("version, header length", 0, 1),
    ("type of service", 1, 1),
    ("total length", 2, 2),
    ("identification", 4, 2),
    ("flags, fragment offset", 6, 2),
    (TTL, 8, 1),
    ("protocol", 9, 1),
    (HEADER_CHECKSUM, 10, 2),
    (SOURCE, 12, 4),
    (DESTINATION, 16, 4),
    (SOURCE_PORT, 20, 2),
    (DESTINATION_PORT, 22, 2),
    ("sequence number", 24, 4),
    ("acknowledgment number", 28, 4),
    ("data offset, flags", 32, 2),
    ("window", 34, 2),
    (TCP_CHECKSUM, 36, 2),
    ("urgent pointer", 38, 2),
)


@dataclass(frozen=True, slots=True)
class Field:
    """A field of a packet as it came and as it went on."""

    name: str
    before: bytes
    after: bytes

    @property
    def differs(self) -> bool:
        return self.before != self.after

    def __str__(self) -> str:
        shown = f"{self.name:23} {_show(self.name, self.before):>15}   "
        return shown + (_show(self.name, self.after) if self.differs else "the same")


def compare(before: Captured, after: Captured) -> list[Field]:
    """All fields of one TCP packet at two places, what follows the headers as one field.

    Raises ValueError if a header has IPv4 options: none of this lab's has.
    """
    one, other = before.data[ETHERNET:], after.data[ETHERNET:]
    if one[0] != 0x45 or other[0] != 0x45:
        raise ValueError("not an IPv4 header of 20 bytes")
    fields = [Field(name, one[at : at + size], other[at : at + size]) for name, at, size in _FIELDS]
    return [*fields, Field(REST, one[HEADERS:], other[HEADERS:])]


def rewritten(fields: Iterable[Field]) -> set[str]:
    """The names of those that differ."""
    return {field.name for field in fields if field.differs}


def _show(name: str, value: bytes) -> str:
    if name in (SOURCE, DESTINATION):
        return str(IPv4Address(value))
    if name == REST:
        return f"{len(value)} bytes"
    number = int.from_bytes(value, "big")
    return f"0x{number:04x}" if "checksum" in name or "flags" in name else str(number)
