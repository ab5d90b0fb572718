"""An animated PNG (PNG, third edition, section 11.3.6) of screenshots that have the same size."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator, Sequence

SIGNATURE = b"\x89PNG\r\n\x1a\n"


def animated(pictures: Sequence[bytes], milliseconds: int) -> bytes:
    """One picture that shows these PNGs one after the other, again and again."""
    first = dict(_chunks(pictures[0]))
    width, height = struct.unpack_from("!II", first[b"IHDR"])
    parts = [SIGNATURE, _chunk(b"IHDR", first[b"IHDR"])]
    parts.append(_chunk(b"acTL", struct.pack("!II", len(pictures), 0)))
    number = 0
    for index, picture in enumerate(pictures):
        control = (number, width, height, 0, 0, milliseconds, 1000, 0, 0)
        parts.append(_chunk(b"fcTL", struct.pack("!IIIIIHHBB", *control)))
        number += 1
        for kind, data in _chunks(picture):
            if kind == b"IHDR" and data != first[b"IHDR"]:
                raise ValueError("the pictures differ in size or in kind")
            if kind == b"IDAT" and index == 0:
                parts.append(_chunk(kind, data))
            elif kind == b"IDAT":
                parts.append(_chunk(b"fdAT", struct.pack("!I", number) + data))
                number += 1
    return b"".join([*parts, _chunk(b"IEND", b"")])


def _chunks(png: bytes) -> Iterator[tuple[bytes, bytes]]:
    at = len(SIGNATURE)
    while at < len(png):
        (length,) = struct.unpack_from("!I", png, at)
        yield png[at + 4 : at + 8], png[at + 8 : at + 8 + length]
        at += 12 + length


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack("!I", len(data)) + kind + data + struct.pack("!I", zlib.crc32(kind + data))
