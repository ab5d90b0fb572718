"""Relayed transport addresses as sockets.

Theory of operation. A `UdpRelay` is one socket for one allocation; a `TcpRelay` listens, and
connects from the port it listens on (RFC 6062, section 5.2), for which Linux wants both
sockets to have SO_REUSEPORT. Each wakes up once for many packets and reads until there are no
more or others must have their turn. Channel data is not copied and not parsed: it is received
behind four free bytes, which then take the channel's header.
"""

from __future__ import annotations

import errno
import socket
from typing import TYPE_CHECKING

from napt_lab.servers.shared.splice import reset
from napt_lab.servers.turn.allocation import Allocation, Relay
from napt_lab.servers.turn.attributes import Address, Transport
from napt_lab.servers.turn.framing import CHANNEL_HEADER, CHANNEL_HEADER_LENGTH

if TYPE_CHECKING:
    from napt_lab.servers.turn.node import Node

BATCH = 64  # packets at most before other sockets have their turn
SOCKET_BUFFER = 4 << 20  # bytes; the kernel gives what its limits allow
LARGEST_DATAGRAM = 65_535  # bytes
IP_MTU_DISCOVER, IP_PMTUDISC_DONT = 10, 0


class Ports:
    """Opens relayed transport addresses on one IP address."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.node: Node

    def open(self, transport: Transport, port: int) -> Relay | None:
        """A socket bound to this port, or None if it cannot be had.

        With SO_REUSEPORT the kernel grants a TCP port again and again: the caller has to know
        which it holds.
        """
        kind = socket.SOCK_DGRAM if transport == Transport.UDP else socket.SOCK_STREAM
        try:
            relay_socket = socket.socket(socket.AF_INET, kind | socket.SOCK_NONBLOCK)
        except OSError:
            return None
        try:
            if transport == Transport.TCP:
                relay_socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            relay_socket.bind((self.address, port))
            if transport == Transport.TCP:
                relay_socket.listen(16)
        except OSError:
            relay_socket.close()
            return None
        relay_type = UdpRelay if transport == Transport.UDP else TcpRelay
        return relay_type(self.node, relay_socket)


class UdpRelay:
    """A relayed transport address for datagrams."""

    def __init__(self, node: Node, relay_socket: socket.socket) -> None:
        self._node = node
        self._socket = relay_socket
        self.address: Address = relay_socket.getsockname()
        self._allocation: Allocation | None = None
        enlarge_buffers(relay_socket)
        # Without this Linux would set the DF bit, which only DONT-FRAGMENT may ask for.
        relay_socket.setsockopt(socket.IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_DONT)

    def serve(self, allocation: Allocation) -> None:
        self._allocation = allocation
        over_udp = allocation.five_tuple.transport == Transport.UDP
        reader = self._to_datagrams if over_udp else self._to_stream
        self._drain()
        self._node.loop.add_reader(self._socket, reader)
        self._node.route(allocation, self)

    def close(self) -> None:
        self._node.loop.remove_reader(self._socket)
        self._socket.close()
        if self._allocation is not None:
            self._node.unroute(self._allocation)

    def send(self, data: memoryview | bytes, peer: Address) -> None:
        """Send to a peer, or drop: what the network would do is no concern of the client."""
        try:
            self._socket.sendto(data, peer)
        except OSError:
            self._serving().traffic.packets_dropped += 1

    def _to_datagrams(self) -> None:
        allocation, node = self._serving(), self._node
        channels, client = allocation.channels_by_peer, allocation.five_tuple.client
        buffer, view = node.buffer, node.view
        payload = view[CHANNEL_HEADER_LENGTH : CHANNEL_HEADER_LENGTH + LARGEST_DATAGRAM]
        receive, send, admits = self._socket.recvfrom_into, node.datagrams.sendto, allocation.admits
        now = node.loop.time()
        for _ in range(BATCH):
            try:
                size, peer = receive(payload)
            except OSError:
                return
            channel = channels.get(peer)
            if channel is None:
                node.receive_from_peer(allocation, peer, bytes(payload[:size]))
                continue
            if not admits(peer, size, now):
                continue
            CHANNEL_HEADER.pack_into(buffer, 0, channel.number, size)
            try:
                send(view[: CHANNEL_HEADER_LENGTH + size], client)
            except OSError:
                allocation.traffic.packets_dropped += 1

    def _to_stream(self) -> None:
        """As above, but many messages make one write."""
        allocation, node = self._serving(), self._node
        buffer, view = node.buffer, node.view
        now, end = node.loop.time(), 0
        for _ in range(BATCH):
            start = end + CHANNEL_HEADER_LENGTH
            if start + LARGEST_DATAGRAM > len(buffer):
                break
            try:
                size, peer = self._socket.recvfrom_into(view[start:], LARGEST_DATAGRAM)
            except OSError:
                break
            channel = allocation.channels_by_peer.get(peer)
            if channel is None:
                node.receive_from_peer(allocation, peer, bytes(view[start : start + size]))
            elif allocation.admits(peer, size, now):
                CHANNEL_HEADER.pack_into(buffer, end, channel.number, size)
                padding = -size % 4
                end = start + size + padding
                buffer[end - padding : end] = bytes(padding)
        if end:
            node.write(allocation.five_tuple, bytes(view[:end]))

    def _serving(self) -> Allocation:
        assert self._allocation is not None
        return self._allocation

    def _drain(self) -> None:
        """Discard what came while the address was held back for a reservation."""
        for _ in range(BATCH):
            try:
                self._socket.recvfrom_into(self._node.buffer)
            except OSError:
                return


class TcpRelay:
    """A relayed transport address for connections."""

    def __init__(self, node: Node, relay_socket: socket.socket) -> None:
        self._node = node
        self._socket = relay_socket
        self.address: Address = relay_socket.getsockname()
        self._allocation: Allocation

    def serve(self, allocation: Allocation) -> None:
        self._allocation = allocation
        self._node.loop.add_reader(self._socket, self._accept)

    def close(self) -> None:
        self._node.loop.remove_reader(self._socket)
        self._socket.close()

    async def connect(self, peer: Address) -> socket.socket:
        """A connection to the peer from the relayed transport address. Raises OSError."""
        connection = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        try:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            connection.bind(self.address)
            await self._node.loop.sock_connect(connection, peer)
        except BaseException:
            connection.close()
            raise
        return connection

    def _accept(self) -> None:
        try:
            connection, peer = self._socket.accept()
        except OSError as error:
            if error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM):
                self._pause()
            return
        connection.setblocking(False)
        if not self._node.peer_accepted(self._allocation, peer, connection):
            reset(connection)

    def _pause(self) -> None:
        """Without descriptors the same wake-up would come again and again."""
        self._node.loop.remove_reader(self._socket)
        self._node.loop.call_later(1.0, self._resume)

    def _resume(self) -> None:
        if self._socket.fileno() != -1:
            self._node.loop.add_reader(self._socket, self._accept)


def enlarge_buffers(datagrams: socket.socket) -> None:
    """Room for the packets that come while Python is busy with others."""
    for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
        datagrams.setsockopt(socket.SOL_SOCKET, option, SOCKET_BUFFER)
