"""The Internet checksum, and how to update it without reading the payload.

Theory of operation
-------------------
The checksum of IPv4, TCP, UDP and ICMP is the complement of the *one's complement sum* of the
data, taken as 16-bit words (RFC 1071). One's complement addition of 16-bit words is addition
modulo 65,535 (0xFFFF): the end-around carry is what makes it so. Because 65,536 leaves the
remainder 1, a whole block of words, read as one big number, has the same remainder as the sum
of its words. So Python's integers can do the work in one step.

The sum has two ways to write zero, 0x0000 and 0xFFFF. Data that is not all zero never adds up
to 0x0000, so a remainder of 0 stands for 0xFFFF (RFC 1624, section 3, is about getting this
wrong).

A translator changes a few bytes and must not read the rest: the new checksum follows from the
old one and from the *difference* between new and old bytes (RFC 1624, equation 3).
"""

from __future__ import annotations

MODULUS = 0xFFFF


def checksum(data: bytes | bytearray | memoryview) -> int:
    """The Internet checksum of `data` (an odd last byte is padded with zero)."""
    total = int.from_bytes(data, "big")
    if len(data) % 2:
        total <<= 8
    return MODULUS - (total % MODULUS or MODULUS) if total else MODULUS


def difference(old: int, new: int) -> int:
    """What replacing `old` by `new` adds to the sum, 0..65,534.

    Both are whole 16-bit words (or several, read as one big-endian number).
    """
    return (new - old) % MODULUS


def update(field: int, change: int) -> int:
    """The checksum field after the sum it covers has grown by `change` (RFC 1624, eqn. 3)."""
    return MODULUS - ((MODULUS - field + change) % MODULUS or MODULUS)


def update_partial(field: int, change: int) -> int:
    """The same for a *partial* checksum: the plain sum of the pseudo-header alone.

    A kernel that leaves the rest of the sum to the hardware writes this into the field.
    """
    return (field + change) % MODULUS or MODULUS
