"""Writing a capture that Wireshark opens with every interface named.

pcapng (draft-ietf-opsawg-pcapng): a section header, one interface description a wire with its
name (`alice:eth0`), then one enhanced packet block a packet. scapy's writer puts a nameless
interface before the named ones and rounds time-stamps, hence these few lines.
"""

from __future__ import annotations

import shutil
import struct
from collections.abc import Iterable, Sequence
from pathlib import Path

from napt_lab.labs.capture.ring import FRAME

_SECTION, _INTERFACE, _PACKET = 0x0A0D0D0A, 1, 6
_ETHERNET = 1
_OPTION_NAME, _OPTION_RESOLUTION, _OPTION_FLAGS = 2, 9, 2
_INBOUND, _OUTBOUND = 1, 2
# Of a packet's block: what stands before its bytes, and after them.
_HEAD = struct.Struct("<IIIIIII")  # type, size, interface, time (2), bytes here, on the wire
_FOOT = struct.Struct("<HHII")  # the option with its direction (number, size, value), size


def write_pcapng(
    path: Path,
    interfaces: Sequence[str],
    packets: Iterable[tuple[int, int, bool, int, bytes]],
) -> None:
    """Packets are (index of interface, time in ns, outgoing, length on the wire, first bytes)."""
    with path.open("wb") as file:
        file.write(_block(_SECTION, struct.pack("<IHHq", 0x1A2B3C4D, 1, 0, -1)))
        for name in interfaces:
            options = _option(_OPTION_NAME, name.encode()) + _option(_OPTION_RESOLUTION, b"\x09")
            file.write(_block(_INTERFACE, struct.pack("<HHI", _ETHERNET, 0, FRAME) + options))
        for index, nanoseconds, outgoing, length, data in packets:
            padding = -len(data) % 4
            size = _HEAD.size + len(data) + padding + _FOOT.size
            stamp = (nanoseconds >> 32, nanoseconds & 0xFFFFFFFF)
            head = _HEAD.pack(_PACKET, size, index, *stamp, len(data), length)
            flags = _OUTBOUND if outgoing else _INBOUND
            foot = _FOOT.pack(_OPTION_FLAGS, 4, flags, size)
            file.write(head + data + bytes(padding) + foot)


def join_pcapng(captures: Sequence[Path], whole: Path) -> None:
    """One capture of several: a file may have any number of sections, one after another."""
    with whole.open("wb") as file:
        for capture in captures:
            with capture.open("rb") as section:
                shutil.copyfileobj(section, file)


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)


def _option(code: int, value: bytes) -> bytes:
    return struct.pack("<HH", code, len(value)) + _padded(value)


def _block(kind: int, body: bytes) -> bytes:
    length = struct.pack("<I", len(body) + 12)
    return struct.pack("<I", kind) + length + body + length
