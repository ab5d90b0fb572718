"""Netlink messages, such as netfilter's (nfnetlink): attributes within attributes.

 struct nlmsghdr              struct nfgenmsg           then attributes, 4 bytes aligned
+--------+------+-------+-----+--------+---------+-----+------+------+---------
| length | type | flags | ... | family | version | id  | len  | type | value …
+--------+------+-------+-----+--------+---------+-----+------+------+---------
 machine's byte order                          network's       machine's   mostly network's
"""

from __future__ import annotations

import errno
import os
import socket
import sys
from collections.abc import Iterator
from struct import Struct, pack

NETFILTER = 12
REQUEST, ACK, DUMP = 1, 4, 0x300
ERROR, DONE = 2, 3
NESTED = 0x8000
SOL_NETLINK, ADD_MEMBERSHIP = 270, 1

_HEADER, _ATTRIBUTE = Struct("=IHHII"), Struct("=HH")
_PREFIX = _HEADER.size + 4
_RECEIVE = 1 << 20

Attributes = dict[int, bytes]


def attribute(kind: int, value: bytes) -> bytes:
    """One attribute."""
    return _ATTRIBUTE.pack(4 + len(value), kind) + value + bytes(-len(value) % 4)


def each_attribute(data: bytes) -> Iterator[tuple[int, bytes]]:
    """The attributes of a message, or within an attribute, with their types."""
    at = 0
    while at + 4 <= len(data):
        length, kind = _ATTRIBUTE.unpack_from(data, at)
        if length < 4:
            break
        yield kind & 0x3FFF, data[at + 4 : at + length]
        at += length + 3 & ~3


def attributes(data: bytes) -> Attributes:
    """The same by their types, where none comes twice."""
    return dict(each_attribute(data))


def number(data: bytes | None) -> int:
    """A number in network byte order; 0 if it is not there."""
    return int.from_bytes(data or b"", "big")


class Netlink:
    """A socket to the kernel; it is sent the events of `groups`. Raises OSError."""

    def __init__(self, *groups: int, protocol: int = NETFILTER) -> None:
        self.socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, protocol)
        self.socket.bind((0, 0))
        for group in groups:
            self.socket.setsockopt(SOL_NETLINK, ADD_MEMBERSHIP, group)

    def close(self) -> None:
        """Close the socket."""
        self.socket.close()

    def ask(
        self,
        kind: int,
        body: bytes,
        *,
        flags: int = ACK,
        resource: int = 0,
        family: int = socket.AF_INET,
    ) -> list[bytes]:
        """Send a request of netfilter's; gives the attributes of each message of the answer."""
        payload = pack("!BBH", family, 0, resource) + body
        return [data[4:] for data in self.exchange(kind, payload, flags)]

    def exchange(self, kind: int, payload: bytes, flags: int = ACK) -> list[bytes]:
        """Send a request; gives what comes back until the kernel has said that this was all."""
        header = _HEADER.pack(16 + len(payload), kind, REQUEST | flags, 1, 0)
        self.socket.send(header + payload)
        found: list[bytes] = []
        while True:
            for answer, data in _messages(self.socket.recv(_RECEIVE)):
                if answer == ERROR:
                    code = -int.from_bytes(data[:4], sys.byteorder, signed=True)
                    if code:
                        raise OSError(code, os.strerror(code))
                if answer in (ERROR, DONE):
                    return found
                found.append(data)

    def told(self) -> Iterator[tuple[int, bytes]]:
        """The events that have come: type and attributes. Raises ENOBUFS if some were lost."""
        while self.socket.fileno() >= 0:  # the caller may close it meanwhile
            try:
                data = self.socket.recv(_RECEIVE, socket.MSG_DONTWAIT)
            except BlockingIOError:
                return
            for kind, body in _messages(data):
                if kind not in (ERROR, DONE):
                    yield kind, body[4:]


def is_overrun(error: OSError) -> bool:
    """Whether messages were lost because they were not read in time."""
    return error.errno == errno.ENOBUFS


def _messages(data: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at + _HEADER.size <= len(data):
        length, kind, *_ = _HEADER.unpack_from(data, at)
        if length < _HEADER.size:
            break
        yield kind, data[at + 16 : at + length]
        at += length + 3 & ~3
