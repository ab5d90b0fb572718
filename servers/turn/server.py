"""The TURN server as a state machine: messages and time in, actions out.

Theory of operation. Nothing here touches a socket or a clock. The sockets' side hands over
what arrived and when, then takes the *actions* and performs them; `next_deadline()` says when
to call `expire()` at the latest. What a request asks for is done by the module of the same
name; here are the tables, and what every request has in common (RFC 8489, section 6.3):
decode, authenticate, refuse unknown attributes, answer.

No table grows for a client that has not authenticated, except `streams`, which is bounded:
in number, per address, and in time.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from napt_lab.servers.shared.events import endpoint
from napt_lab.servers.turn import actions, channel, connection, indications, permission
from napt_lab.servers.turn import allocation as allocate
from napt_lab.servers.turn import attributes as value
from napt_lab.servers.turn.allocation import Allocation, FiveTuple, Relay, RelayPorts
from napt_lab.servers.turn.attributes import Address, Transport
from napt_lab.servers.turn.channel import Channel
from napt_lab.servers.turn.connection import PeerConnection, State
from napt_lab.servers.turn.credentials import Credentials
from napt_lab.servers.turn.deadlines import Deadlines
from napt_lab.servers.turn.framing import CHANNEL_HEADER_LENGTH, CHANNELS, channel_data
from napt_lab.servers.turn.permission import Permission
from napt_lab.servers.turn.policy import PeerPolicy
from napt_lab.servers.turn.quota import Accounts, Limits, ReplyBudget, Streams
from napt_lab.servers.turn.refusal import Refused
from napt_lab.servers.turn.request import Request
from napt_lab.servers.turn.reservation import Reservation, Reservations
from napt_lab.servers.turn.stun import (
    Attribute,
    Attributes,
    Class,
    Malformed,
    Message,
    Method,
    decode,
    encode,
)

STREAM_IDLE = 30.0  # seconds a TCP connection may be without an allocation


class Server:
    """All allocations of one TURN server."""

    def __init__(
        self,
        credentials: Credentials,
        policy: PeerPolicy,
        ports: RelayPorts,
        relay_ports: range,
        limits: Limits,
        rng: random.Random,
        channels: range = CHANNELS,
    ) -> None:
        """`relay_ports`: port numbers for relayed transport addresses; `channels`: numbers
        that clients may bind.
        """
        self.channels = channels
        self.policy = policy
        self.relay_ports = relay_ports
        self.random = rng
        self.users = Accounts(limits.user)
        self.clients = Accounts(limits.client)
        self.allocations: dict[FiveTuple, Allocation] = {}
        self.connections: dict[int, PeerConnection] = {}
        self.streams = Streams()
        self.deadlines: Deadlines[Any] = Deadlines()
        self.reservations = Reservations(rng, self.deadlines, limits.user.allocations)
        self._relayed: dict[tuple[Transport, Address], Allocation] = {}
        self._credentials = credentials
        self._ports = ports
        self._limits = limits
        self._replies = ReplyBudget(rng.randbytes(32), credentials.challenge_length())
        self._actions: list[actions.Action] = []

    # What happens outside, and when.

    def receive(self, five_tuple: FiveTuple, data: bytes, now: float) -> None:
        """One datagram, or one message of a stream, from a client."""
        self.expire(now)
        if data and data[0] >> 6 == 0b01:
            self._receive_channel_data(five_tuple, data, now)
            return
        try:
            message = decode(data)
        except Malformed:
            return
        if message.message_class == Class.REQUEST:
            self._answer(five_tuple, message, now)
        elif (
            message.message_class == Class.INDICATION
            and message.method == Method.SEND
            and not message.not_understood()
        ):
            indications.on_send(self, five_tuple, message, now)

    def receive_from_peer(
        self, allocation: Allocation, peer: Address, data: bytes, now: float
    ) -> None:
        """One datagram that arrived at the relayed transport address."""
        self.expire(now)
        if not allocation.admits(peer, len(data), now):
            return
        bound = allocation.channels_by_peer.get(peer)
        if bound is None:
            message = indications.data_indication(peer, data, self.random.randbytes(12))
        else:
            pad = allocation.five_tuple.transport == Transport.TCP
            message = channel_data(bound.number, data, pad=pad)
        self._do(actions.SendToClient(allocation.five_tuple, message))

    def stream_opened(self, five_tuple: FiveTuple, now: float) -> bool:
        """A client connected by TCP. False: there are too many, close it."""
        self.expire(now)
        if not self.streams.add(five_tuple):
            return False
        self.deadlines.set(five_tuple, now + STREAM_IDLE)
        return True

    def stream_closed(self, five_tuple: FiveTuple, now: float) -> None:
        """A client's TCP connection is gone, and its allocation with it."""
        if five_tuple not in self.streams:
            return
        self.streams.remove(five_tuple)
        self.deadlines.discard(five_tuple)
        existing = self.allocations.get(five_tuple)
        if existing is not None:
            self.end(existing, "control connection closed", now)

    def peer_opened(self, peer_connection: PeerConnection, now: float) -> None:
        """What `OpenConnection` asked for is done."""
        connection.opened(self, peer_connection, now)

    def peer_failed(self, peer_connection: PeerConnection, now: float) -> None:
        """What `OpenConnection` asked for could not be done."""
        connection.failed(self, peer_connection, now)

    def peer_accepted(
        self, allocation: Allocation, peer: Address, now: float
    ) -> PeerConnection | None:
        """A peer connected to a relayed transport address. None: close its connection."""
        self.expire(now)
        return connection.accepted(self, allocation, peer, now)

    def connection_ended(
        self, peer_connection: PeerConnection, to_peer: int, from_peer: int
    ) -> None:
        """A joined connection ended after so many bytes each way."""
        connection.ended(self, peer_connection, to_peer, from_peer)

    def pacing(self) -> dict[PeerConnection, int]:
        """Bytes/s for each active connection, where its accounts' bandwidth is limited."""
        return connection.shares(
            self.connections.values(),
            self._limits.user.bandwidth,
            self._limits.client.bandwidth,
        )

    def next_deadline(self) -> float | None:
        """When `expire()` must be called at the latest."""
        return self.deadlines.next()

    def expire(self, now: float) -> None:
        """End what has reached its end."""
        for ended in self.deadlines.due(now):
            match ended:
                case Allocation():
                    self.end(ended, "expired", now)
                case Permission():
                    del ended.allocation.permissions[ended.address]
                case Channel():
                    channel.unbind(ended)
                case Reservation():
                    self.reservations.release(ended)
                    ended.relay.close()
                case PeerConnection():
                    self._do(actions.CloseConnection(ended))
                    connection.failed(self, ended, now)
                case FiveTuple():
                    self._do(actions.CloseStream(ended))

    def take_actions(self) -> list[actions.Action]:
        """What is to be done now, in this order."""
        taken, self._actions = self._actions, []
        return taken

    def close(self, now: float) -> None:
        """End everything: the server stops."""
        for existing in list(self.allocations.values()):
            self.end(existing, "server stopped", now)
        for reservation in self.reservations:
            self.reservations.release(reservation)
            reservation.relay.close()

    # What the modules of the requests need.

    def allocation_of(self, request: Request) -> Allocation:
        """The 5-tuple's allocation, which must exist (437) and be the same user's (441)."""
        found = self.allocations.get(request.five_tuple)
        if found is None:
            raise Refused(437)
        if found.username != request.username:
            raise Refused(441)
        return found

    def open_relay(self, transport: Transport, port: int) -> Relay | None:
        """A relayed transport address with this port, or None: it cannot be had."""
        if (transport, (self._ports.address, port)) in self._relayed:
            return None
        return self._ports.open(transport, port)

    def begin(self, allocation: Allocation, lifetime: int, now: float) -> None:
        """Put a new allocation in force."""
        five_tuple = allocation.five_tuple
        budgets = (
            self.users.open(allocation.username, now),
            self.clients.open(five_tuple.client[0], now),
        )
        allocation.budgets = tuple(budget for budget in budgets if budget is not None)
        self.allocations[five_tuple] = allocation
        self._relayed[allocation.transport, allocation.relay.address] = allocation
        self.deadlines.discard(five_tuple)
        self.deadlines.set(allocation, now + lifetime)
        allocation.relay.serve(allocation)
        self.emit(
            "allocated",
            allocation,
            lifetime=lifetime,
            transport=allocation.transport.name.lower(),
            client_transport=five_tuple.transport.name.lower(),
        )

    def end(self, allocation: Allocation, reason: str, now: float) -> None:
        """Take an allocation out of force, and all that hangs on it."""
        five_tuple = allocation.five_tuple
        # The accounts first: whatever else goes wrong, nobody pays for it for ever.
        del self.allocations[five_tuple]
        self.users.close(allocation.username)
        self.clients.close(five_tuple.client[0])
        self.deadlines.discard(allocation)
        allocation.relay.close()
        del self._relayed[allocation.transport, allocation.relay.address]
        for permission_held in allocation.permissions.values():
            self.deadlines.discard(permission_held)
        for bound in {*allocation.channels.values(), *allocation.channels_here}:
            self.deadlines.discard(bound)
            channel.unbind(bound)
        allocation.ended = reason
        for peer_connection in list(allocation.connections.values()):
            self._do(actions.CloseConnection(peer_connection))
            # An active one still reports how many bytes it passed.
            if peer_connection.state != State.ACTIVE:
                self.forget(peer_connection)
        if five_tuple in self.streams:
            self.deadlines.set(five_tuple, now + STREAM_IDLE)
        self._report_end(allocation)

    def may_reach(self, peer: Address, transport: Transport) -> bool:
        """On our own relay address only living allocations may be peers."""
        return not self.policy.needs_allocation(peer[0]) or (transport, peer) in self._relayed

    def allocation_at(self, peer: Address) -> Allocation | None:
        """The allocation for which alone this peer may be sent datagrams, if there is one."""
        if not self.policy.needs_allocation(peer[0]):
            return None
        return self._relayed.get((Transport.UDP, peer))

    def send_to_peer(self, allocation: Allocation, peer: Address, data: bytes) -> None:
        self._do(actions.SendToPeer(allocation, peer, data))

    def open_connection(self, peer_connection: PeerConnection) -> None:
        self._do(actions.OpenConnection(peer_connection))

    def join(self, five_tuple: FiveTuple, peer_connection: PeerConnection) -> None:
        """The stream is a data connection now, and lives as long as its allocation."""
        self.deadlines.discard(five_tuple)
        self._do(actions.Join(five_tuple, peer_connection))

    def forget(self, peer_connection: PeerConnection) -> None:
        """Drop a connection from the tables, if it is in them."""
        allocation = peer_connection.allocation
        if self.connections.pop(peer_connection.id, None) is None:
            return
        del allocation.connections[peer_connection.id]
        self.deadlines.discard(peer_connection)
        if allocation.ended:
            self._report_end(allocation)

    def respond(self, request: Request, message_class: Class, attributes: Attributes) -> None:
        """Answer a request, protected as it was itself."""
        response = Message(
            request.message.method, message_class, request.message.transaction_id, attributes
        )
        integrity = request.identity.integrity if request.identity else None
        data = encode(response, integrity=integrity, fingerprint=request.message.has_fingerprint)
        five_tuple = request.five_tuple
        if (
            request.identity is not None
            or five_tuple.transport == Transport.TCP
            or self._replies.allows(
                request.client, len(request.message.raw), len(data), request.now
            )
        ):
            self._do(actions.SendToClient(five_tuple, data))

    def indicate(
        self, five_tuple: FiveTuple, method: Method, attributes: Callable[[bytes], Attributes]
    ) -> None:
        """Send an indication; `attributes` are made from its transaction ID."""
        transaction_id = self.random.randbytes(12)
        message = Message(method, Class.INDICATION, transaction_id, attributes(transaction_id))
        self._do(actions.SendToClient(five_tuple, encode(message, fingerprint=False)))

    def emit(self, event: str, allocation: Allocation, **fields: Any) -> None:
        """Tell whoever watches what became of an allocation."""
        about = {
            "client": endpoint(allocation.five_tuple.client),
            "relayed": endpoint(allocation.relay.address),
            "user": allocation.username,
        }
        self._do(actions.Event(event, {**about, **fields}))

    # The steps every request takes.

    def _answer(self, five_tuple: FiveTuple, message: Message, now: float) -> None:
        handler = HANDLERS.get(message.method)
        if handler is None:
            return
        request = Request(five_tuple, message, now, identity=None)
        message_class = Class.SUCCESS
        waiting = len(self._actions)
        try:
            if message.method != Method.BINDING:
                request.identity = self._credentials.authenticate(message, request.client, now)
                self._replies.proved(request.client)
            unknown = message.not_understood()
            if unknown:
                types = value.encode_types(unknown)
                raise Refused(420, [(Attribute.UNKNOWN_ATTRIBUTES, types)])
            attributes = handler(self, request)
        except Refused as refused:
            message_class = Class.ERROR
            attributes = [
                (Attribute.ERROR_CODE, value.encode_error(refused.code)),
                *refused.attributes,
            ]
        except ValueError:
            message_class = Class.ERROR
            attributes = [(Attribute.ERROR_CODE, value.encode_error(400))]
        if attributes is None:
            return
        # The response goes out before what the request set in motion: a stream that becomes a
        # data connection takes no more messages.
        done, self._actions[waiting:] = self._actions[waiting:], []
        self.respond(request, message_class, attributes)
        self._actions += done

    def _receive_channel_data(self, five_tuple: FiveTuple, data: bytes, now: float) -> None:
        allocation = self.allocations.get(five_tuple)
        if allocation is None or len(data) < CHANNEL_HEADER_LENGTH:
            return
        found = allocation.unwrap(data, len(data), now)
        if found is not None:
            peer, end = found
            self.send_to_peer(allocation, peer, bytes(data[CHANNEL_HEADER_LENGTH:end]))

    def _report_end(self, allocation: Allocation) -> None:
        if not allocation.connections:
            self.emit("ended", allocation, reason=allocation.ended, **asdict(allocation.traffic))

    def _do(self, action: actions.Action) -> None:
        self._actions.append(action)


def on_binding(server: Server, request: Request) -> Attributes:
    """RFC 8489, section 12: where the request seems to come from."""
    return [(Attribute.XOR_MAPPED_ADDRESS, request.xor(request.five_tuple.client))]


HANDLERS: dict[int, Callable[[Server, Request], Attributes | None]] = {
    Method.BINDING: on_binding,
    Method.ALLOCATE: allocate.on_allocate,
    Method.REFRESH: allocate.on_refresh,
    Method.CREATE_PERMISSION: permission.on_create_permission,
    Method.CHANNEL_BIND: channel.on_channel_bind,
    Method.CONNECT: connection.on_connect,
    Method.CONNECTION_BIND: connection.on_connection_bind,
}
