"""Reading a capture back: of each step the packets that tell something, and how many the rest.

Theory of operation. One pass over the pcapng that pcapng.py wrote. A transfer is a thousand
segments of which the first few tell it all. So of the segments without SYN, FIN or RST, at each
interface and for each direction of a connection, only the first with data and the first without
are kept; of UDP, the first few. TURN's messages are kept as well, up to a bound. As packets of one
connection keep their order on the way, the same ones are kept at all interfaces. The others are
counted. What is still too much for a step is cut out of its middle. A file that ends in the middle
of a block is read up to there.
"""

from __future__ import annotations

import mmap
import struct
from bisect import bisect_right
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from napt_lab.labs.capture.packets import TCP, UDP
from napt_lab.labs.capture.turn_message import has_turn_port, turn_message

HEAD, TAIL = 2400, 800  # packets of a step that are looked at, from its two ends
UDP_KEPT = 6  # datagrams of each direction
MESSAGES_KEPT = 30  # of TURN's messages of each direction
_INTERFACE, _PACKET = 1, 6
_OUTBOUND = 2
_FIN_SYN_RST = 0x07
_BLOCK, _HEAD = struct.Struct("<II"), struct.Struct("<IIII")


class Frame(NamedTuple):
    """A captured frame at `where` (`node:interface`)."""

    where: str
    nanoseconds: int
    outgoing: bool
    data: bytes


@dataclass(slots=True)
class Counted:
    """Packets of one kind and direction at one place: how many are still kept, and the others."""

    allowed: int = 0
    messages: int = 0  # of TURN's, which are kept beyond `allowed`
    folded: int = 0
    folded_bytes: int = 0


@dataclass(slots=True)
class Window:
    """What was picked of one step; times in ns since 1970."""

    began: int
    ended: int
    frames: list[Frame] = field(default_factory=list)
    total: int = 0  # all frames
    gap: tuple[int, int] | None = None  # from when to when frames were cut out
    _cut: bool = False
    _tail: deque[Frame] = field(default_factory=lambda: deque(maxlen=TAIL))
    _counted: dict[tuple[str, bytes, bool], Counted] = field(default_factory=dict)

    def offer(self, frame: Frame) -> None:
        """Keep it, or count it."""
        self.total += 1
        if self.is_more_of_the_same(frame.where, frame.data):
            return
        if len(self.frames) < HEAD:
            self.frames.append(frame)
        else:
            self._cut = self._cut or len(self._tail) == TAIL
            self._tail.append(frame)

    def close(self) -> None:
        """Nothing more comes."""
        if self._cut:
            self.gap = (self.frames[-1].nanoseconds, self._tail[0].nanoseconds)
        self.frames += self._tail
        self._tail.clear()

    def folded(self, where: str, ends: bytes) -> tuple[int, int]:
        """Packets at a place that were only counted, and the bytes of their TCP or UDP data.

        `ends` are addresses and ports of one direction, as on the wire: 12 bytes.
        """
        kinds = (self._counted.get((where, ends, data), Counted()) for data in (False, True))
        without, with_data = kinds
        return without.folded + with_data.folded, with_data.folded_bytes

    def take_folded(self, where: str, data: bytes) -> int:
        """How many packets like this one were only counted; asked once, for then it is told."""
        kind = _kind(where, data)
        counted = self._counted.get(kind[0]) if kind is not None else None
        if counted is None:
            return 0
        folded, counted.folded = counted.folded, 0
        return folded

    def is_more_of_the_same(self, where: str, data: bytes) -> bool:
        """Whether a frame tells nothing new; then it is only counted.

        Called for every frame of a transfer, also while the lab runs.
        """
        kind = _kind(where, data)
        if kind is None:
            return False
        key, allowed, payload = kind
        counted = self._counted.get(key)
        if counted is None:
            turn = payload and has_turn_port(data)
            counted = self._counted[key] = Counted(allowed, MESSAGES_KEPT if turn else 0)
        if counted.allowed:
            counted.allowed -= 1
            return False
        if counted.messages and turn_message(data):
            counted.messages -= 1
            return False
        counted.folded += 1
        counted.folded_bytes += payload
        return True


def _kind(where: str, data: bytes) -> tuple[tuple[str, bytes, bool], int, int] | None:
    """What is alike: a key of such packets, how many are kept, and the bytes of this one's data.

    None for what is always kept.
    """
    if len(data) < 48 or data[12:15] != b"\x08\x00\x45":  # IPv4 without options
        return None
    protocol = data[23]
    if protocol == TCP and not data[47] & _FIN_SYN_RST:
        payload = (data[16] << 8 | data[17]) - 20 - (data[46] >> 4) * 4
        allowed = 1
    elif protocol == UDP:
        payload = (data[38] << 8 | data[39]) - 8
        allowed = UDP_KEPT
    else:
        return None
    return (where, data[26:38], payload > 0), allowed, payload


def pick(path: Path, windows: Sequence[tuple[float, float]]) -> list[Window]:
    """The packets of each of the windows (seconds since 1970, in order, apart)."""
    picked = [Window(int(began * 1e9), int(ended * 1e9)) for began, ended in windows]
    begins = [window.began for window in picked]
    for frame in read_pcapng(path):
        number = bisect_right(begins, frame.nanoseconds) - 1
        if number >= 0 and frame.nanoseconds < picked[number].ended:
            picked[number].offer(frame)
    for window in picked:
        window.close()
    return picked


def read_pcapng(path: Path) -> Iterator[Frame]:
    """All packets of a file that write_pcapng wrote."""
    if not path.exists() or path.stat().st_size == 0:
        return
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        places: list[str] = []
        at, end = 0, len(data)
        block, head = _BLOCK.unpack_from, _HEAD.unpack_from
        while at + 12 <= end:
            kind, length = block(data, at)
            if length < 12 or at + length > end:
                return
            if kind == _PACKET:
                index, high, low, captured = head(data, at + 8)
                option = at + 28 + captured + (-captured) % 4
                outgoing = data[option + 4] == _OUTBOUND
                frame = data[at + 28 : at + 28 + captured]
                yield Frame(places[index], high << 32 | low, outgoing, frame)
            elif kind == _INTERFACE:
                _, size = struct.unpack_from("<HH", data, at + 16)
                places.append(data[at + 20 : at + 20 + size].decode())
            at += length
