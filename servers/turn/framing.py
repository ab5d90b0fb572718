"""Where one message ends and the next begins in a TCP stream (RFC 8656, section 12.5).

Theory of operation. STUN messages and ChannelData messages follow each other with nothing in
between. Both carry their length in bytes 3 and 4; the first two bits tell them apart: 00 is
STUN, 01 is ChannelData (channel numbers 0x4000 to 0x4FFF).

     0                   1                   2                   3
     0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
    +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
    |         Channel Number        |            Length             |
    +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
    /       Application data; over TCP padded to a multiple of 4    /
    +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+

Over UDP the padding may be missing, and Length does not count it.
"""

from __future__ import annotations

import struct

from napt_lab.servers.stun.stun_message import HEADER_LENGTH

CHANNEL_HEADER = struct.Struct("!HH")
CHANNEL_HEADER_LENGTH = 4  # bytes
CHANNELS = range(0x4000, 0x5000)
RFC5766_CHANNELS = range(0x4000, 0x8000)
"""The numbers that older clients choose from; RFC 8656, section 12, reserves 0x5000 and above."""


class Desynchronised(ValueError):
    """The stream holds something that is neither, so the next message cannot be found."""


def channel_data(number: int, data: bytes, *, pad: bool) -> bytes:
    """A ChannelData message; `pad` over TCP."""
    padding = bytes(-len(data) % 4) if pad else b""
    return CHANNEL_HEADER.pack(number, len(data)) + data + padding


class Deframer:
    """Cuts a stream into messages, and holds at most one unfinished message."""

    def __init__(self, limit: int) -> None:
        """`limit`: bytes that one message may have; may be raised later."""
        self.limit = limit
        self._stream = memoryview(b"")

    def feed(self, data: bytes) -> None:
        """Add what was received; before the next call, `next_message()` must have returned None."""
        self._stream = memoryview(bytes(self._stream) + data if self._stream else data)

    def next_message(self) -> memoryview | None:
        """The next complete message, ChannelData with its padding; None: more is needed.

        Raises Desynchronised on what cannot be a message or is longer than the limit.
        """
        stream = self._stream
        if len(stream) < CHANNEL_HEADER_LENGTH:
            return None
        length = stream[2] << 8 | stream[3]
        kind = stream[0] >> 6
        if kind == 0b00 and length % 4 == 0:
            size = HEADER_LENGTH + length
        elif kind == 0b01:
            size = CHANNEL_HEADER_LENGTH + length + -length % 4
        else:
            raise Desynchronised("neither STUN nor ChannelData")
        if size > self.limit:
            raise Desynchronised(f"a message of {size} bytes")
        if size > len(stream):
            return None
        self._stream = stream[size:]
        return stream[:size]

    def rest(self) -> bytes:
        """Take what was not cut yet."""
        rest, self._stream = bytes(self._stream), memoryview(b"")
        return rest
