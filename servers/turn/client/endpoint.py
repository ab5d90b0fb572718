"""The TURN client over asyncio, for UDP and TCP (RFC 8656 and RFC 6062).

Theory of operation. An `Endpoint` is one 5-tuple: a socket to the server, and a `TurnClient`
that says what to send. With a TCP allocation each peer is a stream of its own: a second
connection to the server, which a ConnectionBind turns into the bytes of that peer.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

from napt_lab.servers.stun import attributes as value
from napt_lab.servers.stun.attributes import Address, Transport
from napt_lab.servers.stun.stun_message import HEADER_LENGTH, Attribute, Message
from napt_lab.servers.turn.client.turn_client import (
    ConnectionAttempt,
    Data,
    Event,
    Finished,
    Login,
    TurnClient,
)
from napt_lab.servers.turn.framing import CHANNEL_HEADER_LENGTH

MAX_WAITING = 1024  # datagrams and connection attempts; the rest is dropped
CLOSED = "the server closed the connection"

T = TypeVar("T")


class TurnError(Exception):
    """The server refused; `code` is STUN's error code, or 408 if no answer came."""

    def __init__(self, code: int) -> None:
        super().__init__(f"TURN error {code} ({value.REASONS.get(code, 'no answer')})")
        self.code = code


@dataclass(frozen=True, slots=True)
class Allocated:
    """What the server granted: relayed transport address, our address as it sees us, seconds."""

    relayed: Address
    mapped: Address
    lifetime: int


@dataclass(frozen=True, slots=True)
class PeerStream:
    """Bytes to and from one peer, through the relay."""

    peer: Address
    connection_id: int
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter


class Endpoint:
    """A connection to a TURN server, and the allocation made over it. See `connected()`."""

    def __init__(self, server: Address, login: Login, transport: Transport) -> None:
        self.turn = TurnClient(login, transport, os.urandom)
        self._loop = asyncio.get_running_loop()
        self._server = server
        self._transport = transport
        self._write: Callable[[bytes], None]
        self._close_socket: Callable[[], None]
        self._timer: asyncio.TimerHandle | None = None
        self._finished: dict[int, asyncio.Future[Message]] = {}
        self._data: asyncio.Queue[Data] = asyncio.Queue(MAX_WAITING)
        self._attempts: asyncio.Queue[ConnectionAttempt] = asyncio.Queue(MAX_WAITING)
        self._gone = asyncio.Event()  # the connection to the server, for good

    async def allocate(self, relayed: Transport) -> Allocated:
        """Rent a relayed transport address. Raises TurnError."""
        response = await self._answer(self.turn.allocate(relayed, self._loop.time()))
        transaction_id = response.transaction_id
        return Allocated(
            value.decode_xor_address(
                response.get(Attribute.XOR_RELAYED_ADDRESS) or b"", transaction_id
            ),
            value.decode_xor_address(
                response.get(Attribute.XOR_MAPPED_ADDRESS) or b"", transaction_id
            ),
            value.decode_number(response.get(Attribute.LIFETIME) or b""),
        )

    async def permit(self, address: str) -> None:
        """Let peers at this IP address reach us. Raises TurnError."""
        await self._answer(self.turn.permit(address, self._loop.time()))

    async def bind_channel(self, peer: Address) -> None:
        """Use a channel for this peer from now on. Raises TurnError."""
        await self._answer(self.turn.bind_channel(peer, self._loop.time()))

    async def delete(self) -> None:
        """Give the allocation back. Raises TurnError."""
        await self._answer(self.turn.refresh(0, self._loop.time()))

    def send(self, peer: Address, data: bytes) -> None:
        """Send a datagram to a peer; as with UDP, it may be lost."""
        self.turn.send(peer, data)
        self._flush()

    async def receive(self) -> Data:
        """The next datagram from a peer. Raises ConnectionResetError."""
        return await self._next(self._data)

    async def connect(self, peer: Address) -> PeerStream:
        """A TCP connection to this peer (RFC 6062). Raises TurnError, OSError."""
        response = await self._answer(self.turn.connect(peer, self._loop.time()))
        number = value.decode_number(response.get(Attribute.CONNECTION_ID) or b"")
        return await self._data_connection(ConnectionAttempt(number, peer))

    async def accept(self) -> PeerStream:
        """The next TCP connection from a peer (RFC 6062). Raises TurnError, OSError."""
        return await self._data_connection(await self._next(self._attempts))

    async def _next(self, queue: asyncio.Queue[T]) -> T:
        """The next that comes; ConnectionResetError as soon as nothing can come any more."""
        tasks = asyncio.create_task(queue.get()), asyncio.create_task(self._gone.wait())
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            if not tasks[0].done():
                raise ConnectionResetError(CLOSED)
            return tasks[0].result()
        finally:
            for task in tasks:
                task.cancel()

    async def _data_connection(self, attempt: ConnectionAttempt) -> PeerStream:
        reader, writer = await asyncio.open_connection(*self._server)
        try:
            turn = TurnClient(self.turn.login, Transport.TCP, os.urandom)
            turn.bind_connection(attempt.connection_id, self._loop.time())
            while True:
                writer.writelines(turn.take_output())
                # Message by message: what follows the success response is the peer's.
                turn.receive(await _read_message(reader), self._loop.time())
                for event in turn.take_events():
                    if isinstance(event, Finished):
                        if event.error:
                            raise TurnError(event.error)
                        return PeerStream(attempt.peer, attempt.connection_id, reader, writer)
        except asyncio.IncompleteReadError as error:
            writer.close()
            raise ConnectionResetError("the server closed the data connection") from error
        except BaseException:
            writer.close()
            raise

    async def _open(self) -> None:
        if self._transport == Transport.UDP:
            datagrams, _ = await self._loop.create_datagram_endpoint(
                lambda: _Datagrams(self), remote_addr=self._server
            )
            self._write, self._close_socket = datagrams.sendto, datagrams.close
        else:
            reader, writer = await asyncio.open_connection(*self._server)
            self._write, self._close_socket = writer.write, writer.close
            self._reading = asyncio.create_task(self._read(reader))

    async def _read(self, reader: asyncio.StreamReader) -> None:
        try:
            while True:
                self.received(await _read_message(reader))
        except (OSError, asyncio.IncompleteReadError):
            self._gone.set()
            self.lost(ConnectionResetError(CLOSED))

    def _close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._close_socket()

    def _answer(self, handle: int) -> Awaitable[Message]:
        future: asyncio.Future[Message] = self._loop.create_future()
        self._finished[handle] = future
        self._flush()
        return future

    def received(self, data: bytes) -> None:
        """A message came from the server."""
        self.turn.receive(data, self._loop.time())
        self._flush()

    def lost(self, error: Exception) -> None:
        """The server cannot be reached any more: no request will be answered."""
        for future in self._finished.values():
            if not future.done():
                future.set_exception(error)
        self._finished.clear()

    def _expire(self) -> None:
        self.turn.expire(self._loop.time())
        self._flush()

    def _flush(self) -> None:
        for packet in self.turn.take_output():
            self._write(packet)
        for event in self.turn.take_events():
            self._tell(event)
        if self._timer is not None:
            self._timer.cancel()
        deadline = self.turn.next_deadline()
        self._timer = None if deadline is None else self._loop.call_at(deadline, self._expire)

    def _tell(self, event: Event) -> None:
        if isinstance(event, Finished):
            future = self._finished.pop(event.handle, None)
            if future is None or future.done():
                return
            if event.response is None or event.error:
                future.set_exception(TurnError(event.error))
            else:
                future.set_result(event.response)
            return
        with contextlib.suppress(asyncio.QueueFull):
            if isinstance(event, Data):
                self._data.put_nowait(event)
            else:
                self._attempts.put_nowait(event)


@contextlib.asynccontextmanager
async def connected(
    server: Address, username: str, password: str, transport: Transport
) -> AsyncIterator[Endpoint]:
    """An Endpoint to a TURN server by UDP or TCP, closed at the end. Raises OSError."""
    endpoint = Endpoint(server, Login(username, password), transport)
    await endpoint._open()
    try:
        yield endpoint
    finally:
        endpoint._close()


async def _read_message(reader: asyncio.StreamReader) -> bytes:
    """One STUN or ChannelData message. Raises IncompleteReadError at the end of the stream."""
    head = await reader.readexactly(CHANNEL_HEADER_LENGTH)
    length = int.from_bytes(head[2:])
    stun = head[0] >> 6 == 0b00
    rest = HEADER_LENGTH - CHANNEL_HEADER_LENGTH + length if stun else length + -length % 4
    return head + await reader.readexactly(rest)


class _Datagrams(asyncio.DatagramProtocol):
    """Hands what arrives by UDP to its endpoint."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint

    def datagram_received(self, data: bytes, _address: Address) -> None:
        self._endpoint.received(data)

    def error_received(self, error: Exception) -> None:
        self._endpoint.lost(error)
