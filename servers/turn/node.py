"""The server's sockets and clock around its state machine.

Theory of operation. One event loop. What arrives is handed to the state machine with the
time, and its actions are performed at once. Channel data takes a shorter way: its allocation
is found by the client's address, `Allocation.unwrap` checks it, and it is sent on from the
buffer it was received in; neither messages nor actions are made for it.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket

from napt_lab.servers.shared.events import emit
from napt_lab.servers.shared.splice import reset, splice
from napt_lab.servers.turn import actions
from napt_lab.servers.turn.allocation import Allocation, FiveTuple
from napt_lab.servers.turn.attributes import Address, Transport
from napt_lab.servers.turn.connection import PeerConnection
from napt_lab.servers.turn.framing import CHANNEL_HEADER_LENGTH
from napt_lab.servers.turn.relays import BATCH, TcpRelay, UdpRelay, enlarge_buffers
from napt_lab.servers.turn.server import Server
from napt_lab.servers.turn.streams import ControlStream

BUFFER = 256 << 10  # bytes; room for a batch of messages on their way into a stream
DATA_IDLE = 3600.0  # seconds after which a silent data connection is reset
SO_MAX_PACING_RATE = 47


class Node:
    """One TURN server on one address and port, UDP and TCP."""

    def __init__(self, server: Server) -> None:
        self.loop = asyncio.get_running_loop()
        self.buffer = bytearray(BUFFER)
        self.view = memoryview(self.buffer)
        self.datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self._server = server
        self._address: Address
        self._routes: dict[Address, tuple[Allocation, UdpRelay]] = {}
        self._streams: dict[FiveTuple, ControlStream] = {}
        self._peers: dict[PeerConnection, socket.socket] = {}
        self._data: dict[PeerConnection, socket.socket] = {}
        self._tasks: dict[PeerConnection, asyncio.Task[None]] = {}
        self._timer: asyncio.TimerHandle | None = None

    async def listen(self, address: str, port: int) -> None:
        """Serve on this address and port. Raises OSError."""
        self.datagrams.bind((address, port))
        self._address = self.datagrams.getsockname()
        enlarge_buffers(self.datagrams)
        self.loop.add_reader(self.datagrams, self._receive_datagrams)
        self._listener = await self.loop.create_server(
            lambda: ControlStream(self), address, self._address[1], backlog=256
        )

    async def close(self) -> None:
        """End all allocations, and report what they relayed."""
        self._listener.close()
        self.loop.remove_reader(self.datagrams)
        self._server.close(self.loop.time())
        self._perform()
        if self._tasks:
            await asyncio.wait(self._tasks.values(), timeout=1.0)
        self._perform()
        self.datagrams.close()

    # What happens outside.

    def _receive_datagrams(self) -> None:
        buffer, view, routes = self.buffer, self.view, self._routes
        receive = self.datagrams.recvfrom_into
        now = self.loop.time()
        for _ in range(BATCH):
            try:
                size, client = receive(buffer)
            except OSError:
                return
            if size >= CHANNEL_HEADER_LENGTH and buffer[0] >> 6 == 0b01:
                route = routes.get(client)
                if route is not None:
                    allocation, relay = route
                    found = allocation.unwrap(buffer, size, now)
                    if found is not None:
                        peer, end = found
                        relay.send(view[CHANNEL_HEADER_LENGTH:end], peer)
                continue
            self.receive(FiveTuple(Transport.UDP, client, self._address), bytes(view[:size]))

    def receive(self, five_tuple: FiveTuple, data: bytes) -> None:
        self._server.receive(five_tuple, data, self.loop.time())
        self._perform()

    def receive_from_peer(self, allocation: Allocation, peer: Address, data: bytes) -> None:
        self._server.receive_from_peer(allocation, peer, data, self.loop.time())
        self._perform()

    def stream_opened(self, stream: ControlStream) -> bool:
        if not self._server.stream_opened(stream.five_tuple, self.loop.time()):
            return False
        self._streams[stream.five_tuple] = stream
        self._perform()
        return True

    def stream_closed(self, five_tuple: FiveTuple) -> None:
        self._streams.pop(five_tuple, None)
        self._server.stream_closed(five_tuple, self.loop.time())
        self._perform()

    def peer_accepted(self, allocation: Allocation, peer: Address, accepted: socket.socket) -> bool:
        connection = self._server.peer_accepted(allocation, peer, self.loop.time())
        if connection is not None:
            self._peers[connection] = accepted
        self._perform()
        return connection is not None

    def route(self, allocation: Allocation, relay: UdpRelay) -> None:
        """From now on the client's channel data goes out of this relay."""
        five_tuple = allocation.five_tuple
        if five_tuple.transport == Transport.UDP:
            self._routes[five_tuple.client] = allocation, relay
        else:
            self._streams[five_tuple].route(allocation, relay)

    def unroute(self, allocation: Allocation) -> None:
        """The allocation ended."""
        if allocation.five_tuple.transport == Transport.UDP:
            del self._routes[allocation.five_tuple.client]

    def write(self, five_tuple: FiveTuple, data: bytes) -> None:
        """Relayed datagrams for a client that came by TCP."""
        self._streams[five_tuple].write(data, droppable=True)

    # What the state machine wants done.

    def _perform(self) -> None:
        while pending := self._server.take_actions():
            for action in pending:
                self._perform_one(action)
        self._set_timer()

    def _perform_one(self, action: actions.Action) -> None:
        match action:
            case actions.SendToClient(five_tuple, data):
                self._send_to_client(five_tuple, data)
            case actions.SendToPeer(allocation, peer, data):
                assert isinstance(allocation.relay, UdpRelay)
                allocation.relay.send(data, peer)
            case actions.OpenConnection(connection):
                self._tasks[connection] = self.loop.create_task(self._connect(connection))
            case actions.CloseConnection(connection):
                self._close_connection(connection)
            case actions.Join(five_tuple, connection):
                self._join(five_tuple, connection)
            case actions.CloseStream(five_tuple):
                self._streams[five_tuple].abort()
            case actions.Event(name, fields):
                emit(name, **fields)

    def _send_to_client(self, five_tuple: FiveTuple, data: bytes) -> None:
        if five_tuple.transport == Transport.UDP:
            with contextlib.suppress(OSError):
                self.datagrams.sendto(data, five_tuple.client)
        elif five_tuple in self._streams:
            self._streams[five_tuple].write(data, droppable=False)

    async def _connect(self, connection: PeerConnection) -> None:
        relay = connection.allocation.relay
        assert isinstance(relay, TcpRelay)
        try:
            self._peers[connection] = await relay.connect(connection.peer)
        except OSError:
            self._server.peer_failed(connection, self.loop.time())
        else:
            self._server.peer_opened(connection, self.loop.time())
        del self._tasks[connection]
        self._perform()

    def _join(self, five_tuple: FiveTuple, connection: PeerConnection) -> None:
        detached = self._streams[five_tuple].detach()
        if detached is None:
            self._close_connection(connection)
            self._streams[five_tuple].abort()
            self._server.connection_ended(connection, 0, 0)
            return
        data, early = detached
        self._data[connection] = data
        task = self.loop.create_task(self._pass(five_tuple, connection, early))
        self._tasks[connection] = task
        self._pace()

    async def _pass(self, five_tuple: FiveTuple, connection: PeerConnection, early: bytes) -> None:
        """Pass bytes between the data connection and the peer until both are done."""
        data, peer = self._data[connection], self._peers[connection]
        to_peer = from_peer = 0
        try:
            await self.loop.sock_sendall(peer, early)
            spliced = await splice(data, peer, DATA_IDLE, ("client", "peer"))
            to_peer, from_peer = len(early) + spliced.forth, spliced.back
        except OSError:
            reset(data)
            reset(peer)
        data.close()
        peer.close()
        del self._data[connection], self._peers[connection], self._tasks[connection]
        self._server.connection_ended(connection, to_peer, from_peer)
        self.stream_closed(five_tuple)
        self._pace()

    def _close_connection(self, connection: PeerConnection) -> None:
        task = self._tasks.get(connection)
        if connection in self._data:
            # Its own task notices, counts what was passed, and closes both.
            for joined in (self._data[connection], self._peers[connection]):
                with contextlib.suppress(OSError):
                    joined.shutdown(socket.SHUT_RDWR)
        elif task is not None:
            task.cancel()
            del self._tasks[connection]
        elif connection in self._peers:
            reset(self._peers.pop(connection))

    def _pace(self) -> None:
        """Have the kernel hold TCP to the bandwidth of the accounts."""
        for connection, rate in self._server.pacing().items():
            for joined in (self._data.get(connection), self._peers.get(connection)):
                if joined is not None and joined.fileno() != -1:
                    joined.setsockopt(socket.SOL_SOCKET, SO_MAX_PACING_RATE, rate)

    def _set_timer(self) -> None:
        deadline = self._server.next_deadline()
        if self._timer is not None:
            if self._timer.when() == deadline:
                return
            self._timer.cancel()
            self._timer = None
        if deadline is not None:
            self._timer = self.loop.call_at(deadline, self._expire)

    def _expire(self) -> None:
        self._timer = None
        self._server.expire(self.loop.time())
        self._perform()
