"""The moving picture of README.md, and what makes it."""

from __future__ import annotations

import struct
import zlib

import pytest

from docs.animation import SIGNATURE, _chunk, _chunks, animated
from tests.unit.house.test_house import ROOT


def png(red, size=2):
    rows = b"".join(b"\0" + bytes([red, 0, 0]) * size for _ in range(size))
    head = struct.pack("!IIBBBBB", size, size, 8, 2, 0, 0, 0)
    parts = [(b"IHDR", head), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    return SIGNATURE + b"".join(_chunk(*part) for part in parts)


def numbers(picture):
    return [struct.unpack_from("!I", data)[0] for kind, data in _chunks(picture)
            if kind in (b"fcTL", b"fdAT")]  # fmt: skip


def test_pictures_become_one_that_moves():
    moving = animated([png(1), png(2), png(3)], 200)
    kinds = [kind for kind, _ in _chunks(moving)]
    assert kinds == [
        b"IHDR",
        b"acTL",
        b"fcTL",
        b"IDAT",
        b"fcTL",
        b"fdAT",
        b"fcTL",
        b"fdAT",
        b"IEND",
    ]
    assert numbers(moving) == [0, 1, 2, 3, 4]
    assert dict(_chunks(moving))[b"acTL"] == struct.pack("!II", 3, 0)


def test_pictures_of_different_sizes_are_refused():
    with pytest.raises(ValueError, match="differ in size"):
        animated([png(1), png(1, size=3)], 200)


def test_the_moving_picture_of_the_readme_is_one():
    picture = (ROOT / "docs" / "view-9c.png").read_bytes()
    (frames, _) = struct.unpack("!II", dict(_chunks(picture))[b"acTL"])
    assert frames > 10
    assert numbers(picture) == list(range(len(numbers(picture))))
    assert len(picture) < 1_500_000
