"""What the sockets of one server share, and what they report to (see sockets.py)."""

from __future__ import annotations

import asyncio
import socket
from typing import Protocol

from napt_lab.servers.stun.attributes import Address, FiveTuple
from napt_lab.servers.turn.allocation import Allocation


class Hub(Protocol):
    """The center between the clients' sockets, the relayed transport addresses and the rules."""

    loop: asyncio.AbstractEventLoop
    buffer: bytearray
    view: memoryview
    """Of the buffer, into which each datagram is received."""
    datagrams: socket.socket
    """On which clients that use UDP send and receive."""

    def receive(self, five_tuple: FiveTuple, data: bytes) -> None:
        """A message came from a client."""

    def receive_from_peer(self, allocation: Allocation, peer: Address, data: bytes) -> None:
        """A datagram came from a peer that has no channel."""

    def peer_accepted(self, allocation: Allocation, peer: Address, accepted: socket.socket) -> None:
        """A peer connected to a relayed transport address."""

    def stream_opened(self, five_tuple: FiveTuple, stream: asyncio.Protocol) -> None:
        """A client connected by TCP; `stream` is its ControlStream."""

    def stream_closed(self, five_tuple: FiveTuple) -> None:
        """A client's TCP connection is gone."""

    def write(self, five_tuple: FiveTuple, data: bytes) -> None:
        """Send relayed datagrams to a client that came by TCP, or drop them."""
