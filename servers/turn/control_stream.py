"""A client's TCP connection: its control connection, or later a data connection (RFC 6062).

Theory of operation. The stream is cut into messages. Until the client has an allocation, a
message may have 4 KiB: that is all that a stranger can make the server hold. A client that does
not read what it is sent is dropped once a bounded amount waits for it. After a ConnectionBind
the socket leaves asyncio's transport, and its bytes are not cut into messages any more.
"""

from __future__ import annotations

import asyncio
import os
import socket

from napt_lab.servers.shared.splice import reset_when_closed
from napt_lab.servers.stun.attributes import FiveTuple, Transport
from napt_lab.servers.turn.allocation import Allocation
from napt_lab.servers.turn.framing import CHANNEL_HEADER_LENGTH, Deframer, Desynchronised
from napt_lab.servers.turn.hub import Hub
from napt_lab.servers.turn.relayed_addresses import UdpRelay

STRANGERS_MESSAGE = 4096  # bytes
LARGEST_MESSAGE = 20 + 65_535  # bytes
MAX_UNREAD_DATA = 256 << 10  # bytes; beyond this, relayed datagrams are dropped
MAX_UNREAD = 512 << 10  # bytes; beyond this, the connection is reset


class ControlStream(asyncio.Protocol):
    """One TCP connection from a client."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._deframer = Deframer(STRANGERS_MESSAGE)
        self._allocation: Allocation | None = None
        self._relay: UdpRelay
        self._transport: asyncio.Transport
        self._detached = False
        self.five_tuple: FiveTuple

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self.five_tuple = FiveTuple(
            Transport.TCP,
            transport.get_extra_info("peername"),
            transport.get_extra_info("sockname"),
        )
        self._hub.stream_opened(self.five_tuple, self)

    def connection_lost(self, _error: Exception | None) -> None:
        if not self._detached:
            self._hub.stream_closed(self.five_tuple)

    def data_received(self, data: bytes) -> None:
        self._deframer.feed(data)
        try:
            while not self._detached and (message := self._deframer.next_message()) is not None:
                self._receive(message)
        except Desynchronised:
            self.abort()

    def route(self, allocation: Allocation, relay: UdpRelay) -> None:
        """The client has an allocation of datagrams now: its channel data goes there."""
        self._allocation, self._relay = allocation, relay
        self._deframer.limit = LARGEST_MESSAGE

    def write(self, data: bytes, *, droppable: bool) -> None:
        """Send to the client. Drop data (never responses) when the client reads too slowly."""
        unread = self._transport.get_write_buffer_size()
        if unread > MAX_UNREAD:
            self.abort()
        elif unread <= MAX_UNREAD_DATA or not droppable:
            self._transport.write(data)

    def abort(self) -> None:
        """Reset: a client that does not read could delay an orderly end forever."""
        reset_when_closed(self._transport.get_extra_info("socket"))
        self._transport.abort()

    def detach(self) -> tuple[socket.socket, bytes] | None:
        """The bare socket, and what it received beyond the last message.

        None if no file descriptor is left, or if the client has not yet read its responses.
        """
        if self._transport.get_write_buffer_size():
            return None
        try:
            # The transport closes its own descriptor; the connection goes on through ours.
            descriptor = os.dup(self._transport.get_extra_info("socket").fileno())
        except OSError:
            return None
        self._detached = True
        bare = socket.socket(fileno=descriptor)
        bare.setblocking(False)
        self._transport.abort()
        return bare, self._deframer.rest()

    def _receive(self, message: memoryview) -> None:
        if message[0] >> 6 != 0b01:
            self._hub.receive(self.five_tuple, bytes(message))
        elif self._allocation is not None and not self._allocation.ended:
            found = self._allocation.unwrap(message, len(message), self._hub.loop.time())
            if found is not None:
                peer, end = found
                self._relay.send(message[CHANNEL_HEADER_LENGTH:end], peer)
