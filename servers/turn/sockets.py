"""The server's sockets and clock around its state machine.

Theory of operation. One event loop. What arrives is handed to the state machine with the
time, and its actions are performed at once. Channel data takes a shorter way: its allocation
is found by the client's address, `Allocation.unwrap` checks it, and it is sent on from the
buffer it was received in; neither messages nor actions are made for it.

A client that has an allocation gets a socket of its own, connected to it, on the same address and
port. The kernel gives each datagram to the socket that names its source most exactly. So a flood
from strangers fills the queue of the strangers' socket only, and the sockets take turns.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from dataclasses import dataclass
from functools import partial

from napt_lab.servers.shared.events import emit
from napt_lab.servers.shared.splice import Pair, reset
from napt_lab.servers.stun.attributes import Address, FiveTuple, Transport
from napt_lab.servers.turn import actions
from napt_lab.servers.turn.allocation import Allocation, PeerConnection
from napt_lab.servers.turn.control_stream import ControlStream
from napt_lab.servers.turn.framing import CHANNEL_HEADER_LENGTH
from napt_lab.servers.turn.relayed_addresses import BATCH, TcpRelay, UdpRelay, enlarge_buffers
from napt_lab.servers.turn.turn_server import TurnServer

BUFFER = 256 << 10  # bytes; room for a batch of messages on their way into a stream
DATA_IDLE = 3600.0  # seconds after which a silent data connection is reset
STOP_SECONDS = 1.0  # in which the data connections report their bytes when the server stops
MAX_OWN_SOCKETS = 512  # of UDP clients; Linux before 6.13 looks through all for each datagram
SO_MAX_PACING_RATE = 47


@dataclass(slots=True)
class _Joined:
    """The sockets of one connection to a peer, and the task that works on them."""

    peer: socket.socket | None = None
    data: socket.socket | None = None
    """The client's data connection."""
    pair: Pair | None = None
    """Passes bytes between the two."""
    task: asyncio.Task[None] | None = None
    """Connects, or runs the pair."""


class Sockets:
    """One TURN server on one address and port, UDP and TCP: the Hub."""

    def __init__(self, server: TurnServer) -> None:
        self.loop: asyncio.AbstractEventLoop = asyncio.get_running_loop()
        self.buffer = bytearray(BUFFER)
        self.view = memoryview(self.buffer)
        self.datagrams: socket.socket
        self._server = server
        self._address: Address
        self._routes: dict[Address, tuple[Allocation, UdpRelay]] = {}
        self._own: dict[Address, socket.socket] = {}  # of clients with allocations
        self._streams: dict[FiveTuple, ControlStream] = {}
        self._joined: dict[PeerConnection, _Joined] = {}
        self._timer: asyncio.TimerHandle | None = None

    async def listen(self, address: str, port: int) -> None:
        """Serve on this address and port. Raises OSError."""
        # TCP first: only there does the kernel refuse a port that another server has.
        self._listener = await self.loop.create_server(
            lambda: ControlStream(self), address, port, backlog=256
        )
        self.datagrams = _datagram_socket(self._listener.sockets[0].getsockname())
        self._address = self.datagrams.getsockname()
        self.loop.add_reader(self.datagrams, self._receive_datagrams, self.datagrams)

    async def close(self) -> None:
        """End all allocations, and report what they relayed."""
        self._listener.close()
        self.loop.remove_reader(self.datagrams)
        self._server.close(self.loop.time())
        self._perform()
        if tasks := [each.task for each in self._joined.values() if each.task is not None]:
            await asyncio.wait(tasks, timeout=STOP_SECONDS)
        self._perform()
        self.datagrams.close()

    # What happens outside.

    def _receive_datagrams(self, datagrams: socket.socket) -> None:
        buffer, view, routes = self.buffer, self.view, self._routes
        receive = datagrams.recvfrom_into
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

    def stream_opened(self, five_tuple: FiveTuple, stream: asyncio.Protocol) -> None:
        assert isinstance(stream, ControlStream)
        self._streams[five_tuple] = stream
        self._server.stream_opened(five_tuple, self.loop.time())
        self._perform()

    def stream_closed(self, five_tuple: FiveTuple) -> None:
        self._streams.pop(five_tuple, None)
        self._server.stream_closed(five_tuple, self.loop.time())
        self._perform()

    def peer_accepted(self, allocation: Allocation, peer: Address, accepted: socket.socket) -> None:
        connection = self._server.peer_accepted(allocation, peer, self.loop.time())
        if connection is None:
            reset(accepted)
        else:
            self._joined[connection] = _Joined(peer=accepted)
        self._perform()

    def write(self, five_tuple: FiveTuple, data: bytes) -> None:
        self._streams[five_tuple].write(data, droppable=True)

    # What the state machine wants done.

    def _perform(self) -> None:
        while pending := self._server.state.take_actions():
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
            case actions.Serve(allocation):
                self._serve(allocation)
            case actions.Withdraw(allocation):
                if allocation.five_tuple.transport == Transport.UDP:
                    del self._routes[allocation.five_tuple.client]
                    self._close_own(allocation.five_tuple.client)
            case actions.OpenConnection(connection):
                joined = self._joined[connection] = _Joined()
                joined.task = self.loop.create_task(self._connect(connection, joined))
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

    def _serve(self, allocation: Allocation) -> None:
        relay, five_tuple = allocation.relay, allocation.five_tuple
        assert isinstance(relay, UdpRelay | TcpRelay)
        relay.serve(allocation, self)
        if isinstance(relay, TcpRelay):
            return
        if five_tuple.transport == Transport.UDP:
            self._routes[five_tuple.client] = allocation, relay
            self._open_own(five_tuple.client)
        else:
            self._streams[five_tuple].route(allocation, relay)

    def _open_own(self, client: Address) -> None:
        """Give the client a socket of its own, if there is a descriptor for it."""
        if len(self._own) >= MAX_OWN_SOCKETS:
            return
        with contextlib.suppress(OSError):
            own = _datagram_socket(self._address)
            # Until it is connected, others' datagrams may reach it: they are received as well.
            own.connect(client)
            self._own[client] = own
            self.loop.add_reader(own, self._receive_datagrams, own)

    def _close_own(self, client: Address) -> None:
        own = self._own.pop(client, None)
        if own is not None:
            self.loop.remove_reader(own)
            self.loop.call_soon(self._retire, own)

    def _retire(self, own: socket.socket) -> None:
        """Receive what is still queued, then close."""
        self._receive_datagrams(own)
        own.close()

    async def _connect(self, connection: PeerConnection, joined: _Joined) -> None:
        relay = connection.allocation.relay
        assert isinstance(relay, TcpRelay)
        try:
            joined.peer = await relay.connect(connection.peer)
        except OSError:
            del self._joined[connection]
            self._server.peer_failed(connection)
        else:
            self._server.peer_opened(connection, self.loop.time())
        self._perform()

    def _join(self, five_tuple: FiveTuple, connection: PeerConnection) -> None:
        detached = self._streams[five_tuple].detach()
        if detached is None:
            self._close_connection(connection)
            self._streams[five_tuple].abort()
            self._server.connection_ended(connection, 0, 0)
            return
        joined = self._joined[connection]
        assert joined.peer is not None
        joined.data, early = detached
        joined.pair = Pair(joined.data, joined.peer, ("client", "peer"), early)
        joined.task = self.loop.create_task(joined.pair.run(DATA_IDLE))
        # A callback, because a task that is cancelled before its first step runs nothing.
        joined.task.add_done_callback(partial(self._passed, five_tuple, connection, joined.pair))
        self._pace()

    def _passed(
        self, five_tuple: FiveTuple, connection: PeerConnection, pair: Pair, _: object
    ) -> None:
        """A data connection and its peer have ended."""
        joined = self._joined.pop(connection)
        assert joined.data is not None
        assert joined.peer is not None
        joined.data.close()
        joined.peer.close()
        self._server.connection_ended(connection, pair.forth, pair.back)
        self.stream_closed(five_tuple)
        self._pace()

    def _close_connection(self, connection: PeerConnection) -> None:
        joined = self._joined.get(connection)
        if joined is None or (joined.pair is not None and joined.pair.is_complete()):
            return  # a transfer that is complete ends as its sides have ended it
        if joined.task is not None:
            joined.task.cancel()
        if joined.pair is None:
            del self._joined[connection]
            if joined.peer is not None:
                reset(joined.peer)

    def _pace(self) -> None:
        """Have the kernel hold TCP to the bandwidth of the accounts."""
        for connection, rate in self._server.pacing().items():
            joined = self._joined.get(connection, _Joined())
            for each in (joined.data, joined.peer):
                if each is not None and each.fileno() != -1:
                    each.setsockopt(socket.SOL_SOCKET, SO_MAX_PACING_RATE, rate)

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


def _datagram_socket(address: Address) -> socket.socket:
    """A socket on the server's UDP address, which several share. Raises OSError."""
    datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
    datagrams.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    enlarge_buffers(datagrams)
    try:
        datagrams.bind(address)
    except OSError:
        datagrams.close()
        raise
    return datagrams
