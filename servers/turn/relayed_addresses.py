"""Relayed transport addresses as sockets.

Theory of operation. A `UdpRelay` is one socket for one allocation; a `TcpRelay` listens, and
connects from the port it listens on (RFC 6062, section 5.2), for which Linux wants both
sockets to have SO_REUSEPORT. Each wakes up once for many packets and reads until there are no
more or other sockets must have their turn. Channel data is not copied and not parsed: it is
received behind four free bytes, which then take the channel's header.
"""

from __future__ import annotations

import asyncio
import errno
import socket

from napt_lab.servers.shared.splice import reset_when_closed
from napt_lab.servers.stun.attributes import Address, Transport
from napt_lab.servers.turn.allocation import Allocation
from napt_lab.servers.turn.framing import CHANNEL_HEADER, CHANNEL_HEADER_LENGTH
from napt_lab.servers.turn.hub import Hub
from napt_lab.servers.turn.quota import LARGEST_DATAGRAM

BATCH = 64  # packets at most before other sockets have their turn
SOCKET_BUFFER = 4 << 20  # bytes; the kernel gives what its limits allow
IP_MTU_DISCOVER, IP_PMTUDISC_DONT = 10, 0


class Ports:
    """Opens relayed transport addresses on one IP address."""

    def __init__(self, address: str) -> None:
        self.address = address

    def open(self, transport: Transport, port: int) -> UdpRelay | TcpRelay | None:
        """A socket bound to this port, or None if it cannot be opened.

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
        return UdpRelay(relay_socket) if transport == Transport.UDP else TcpRelay(relay_socket)


class _RelayedAddress:
    """What both kinds have in common: a socket that serves one allocation, or none yet."""

    def __init__(self, relay_socket: socket.socket) -> None:
        self._socket = relay_socket
        self.address: Address = relay_socket.getsockname()
        self._allocation: Allocation
        self._hub: Hub | None = None

    def close(self) -> None:
        if self._hub is not None:
            self._hub.loop.remove_reader(self._socket)
        self._socket.close()


class UdpRelay(_RelayedAddress):
    """A relayed transport address for datagrams."""

    def __init__(self, relay_socket: socket.socket) -> None:
        super().__init__(relay_socket)
        enlarge_buffers(relay_socket)
        # Without this Linux would set the DF bit, which only DONT-FRAGMENT may ask for.
        relay_socket.setsockopt(socket.IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_DONT)

    def serve(self, allocation: Allocation, hub: Hub) -> None:
        """Pass on what arrives here from now on."""
        self._allocation, self._hub = allocation, hub
        over_udp = allocation.five_tuple.transport == Transport.UDP
        self._drain(hub)
        hub.loop.add_reader(self._socket, self._to_datagrams if over_udp else self._to_stream, hub)

    def send(self, data: memoryview | bytes, peer: Address) -> None:
        """Send to a peer, or drop and count: UDP promises no more."""
        try:
            self._socket.sendto(data, peer)
        except OSError:
            self._allocation.traffic.packets_dropped += 1

    def _to_datagrams(self, hub: Hub) -> None:
        allocation = self._allocation
        channels, client = allocation.channels_by_peer, allocation.five_tuple.client
        buffer, view = hub.buffer, hub.view
        payload = view[CHANNEL_HEADER_LENGTH : CHANNEL_HEADER_LENGTH + LARGEST_DATAGRAM]
        receive, send, admits = self._socket.recvfrom_into, hub.datagrams.sendto, allocation.admits
        now = hub.loop.time()
        for _ in range(BATCH):
            try:
                size, peer = receive(payload)
            except OSError:
                return
            channel = channels.get(peer)
            if channel is None:
                hub.receive_from_peer(allocation, peer, bytes(payload[:size]))
                continue
            if not admits(peer, size, now):
                continue
            CHANNEL_HEADER.pack_into(buffer, 0, channel.number, size)
            try:
                send(view[: CHANNEL_HEADER_LENGTH + size], client)
            except OSError:
                allocation.traffic.packets_dropped += 1

    def _to_stream(self, hub: Hub) -> None:
        """As above, but many messages make one write."""
        allocation = self._allocation
        buffer, view = hub.buffer, hub.view
        now, end = hub.loop.time(), 0
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
                hub.receive_from_peer(allocation, peer, bytes(view[start : start + size]))
            elif allocation.admits(peer, size, now):
                CHANNEL_HEADER.pack_into(buffer, end, channel.number, size)
                padding = -size % 4
                end = start + size + padding
                buffer[end - padding : end] = bytes(padding)
        if end:
            hub.write(allocation.five_tuple, bytes(view[:end]))

    def _drain(self, hub: Hub) -> None:
        """Discard what came while the address was held back for a reservation."""
        for _ in range(BATCH):
            try:
                self._socket.recvfrom_into(hub.buffer)
            except OSError:
                return


class TcpRelay(_RelayedAddress):
    """A relayed transport address for connections."""

    def serve(self, allocation: Allocation, hub: Hub) -> None:
        """Pass on the connections that peers make from now on."""
        self._allocation, self._hub = allocation, hub
        hub.loop.add_reader(self._socket, self._accept, hub)

    async def connect(self, peer: Address) -> socket.socket:
        """A connection to the peer from the relayed transport address. Raises OSError."""
        connection = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        try:
            reset_when_closed(connection)  # a FIN would tell a peer that accepted: all was sent
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            connection.bind(self.address)
            await asyncio.get_running_loop().sock_connect(connection, peer)
        except BaseException:
            connection.close()
            raise
        return connection

    def _accept(self, hub: Hub) -> None:
        try:
            connection, peer = self._socket.accept()
        except OSError as error:
            if error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM):
                # Without descriptors the same wake-up would come again and again.
                hub.loop.remove_reader(self._socket)
                hub.loop.call_later(1.0, self._resume, hub)
            return
        connection.setblocking(False)
        reset_when_closed(connection)  # also by the kernel, after a kill
        hub.peer_accepted(self._allocation, peer, connection)

    def _resume(self, hub: Hub) -> None:
        if self._socket.fileno() != -1:
            hub.loop.add_reader(self._socket, self._accept, hub)


def enlarge_buffers(datagrams: socket.socket) -> None:
    """Room for the packets that come while Python is busy with others."""
    for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
        datagrams.setsockopt(socket.SOL_SOCKET, option, SOCKET_BUFFER)
