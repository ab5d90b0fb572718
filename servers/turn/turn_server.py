"""The TURN server as a state machine: messages and time in, actions out.

Theory of operation. Nothing here touches a socket or a clock. The sockets' side hands over
what arrived and when, then takes the *actions* and performs them; `next_deadline()` says when
to call `expire()` at the latest. Here are the steps that every request takes (RFC 8489,
section 6.3): decode, authenticate, refuse unknown attributes, have it handled, answer.
"""

from __future__ import annotations

import random
from collections.abc import Callable

from napt_lab.servers.stun import attributes as value
from napt_lab.servers.stun.attributes import Address, FiveTuple, Transport
from napt_lab.servers.stun.reply_budget import ReplyBudget
from napt_lab.servers.stun.stun_message import (
    DISCOVERY_ATTRIBUTES,
    Attribute,
    Attributes,
    Class,
    Malformed,
    Message,
    Method,
    decode,
)
from napt_lab.servers.turn import (
    actions,
    allocate,
    channel_bind,
    connect,
    create_permission,
    indications,
)
from napt_lab.servers.turn.allocation import (
    Allocation,
    Channel,
    PeerConnection,
    Permission,
    RelayPorts,
)
from napt_lab.servers.turn.credentials import Credentials
from napt_lab.servers.turn.error_response import Refused
from napt_lab.servers.turn.framing import CHANNEL_HEADER_LENGTH, CHANNELS, channel_data
from napt_lab.servers.turn.policy import PeerPolicy
from napt_lab.servers.turn.quota import Limits
from napt_lab.servers.turn.request import Request
from napt_lab.servers.turn.reservation import Reservation
from napt_lab.servers.turn.turn_state import TurnState

UNDERSTOOD = frozenset(Attribute) - DISCOVERY_ATTRIBUTES


class TurnServer:
    """One TURN server; `state` is all that it holds."""

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
        self.state = TurnState(policy, ports, relay_ports, limits, rng, channels)
        self._credentials = credentials
        self._limits = limits
        self._replies = ReplyBudget(rng.randbytes(32), credentials.challenge_length())

    # What happens outside, and when.

    def receive(self, five_tuple: FiveTuple, data: bytes, now: float) -> None:
        """One datagram, or one message of a stream, from a client."""
        self.expire(now)
        if five_tuple.transport == Transport.TCP:
            self.state.strangers.touch(five_tuple)
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
            and not message.not_understood(UNDERSTOOD)
        ):
            indications.on_send(self.state, five_tuple, message, now)

    def receive_from_peer(
        self, allocation: Allocation, peer: Address, data: bytes, now: float
    ) -> None:
        """One datagram that arrived at the relayed transport address."""
        self.expire(now)
        if not allocation.admits(peer, len(data), now):
            return
        bound = allocation.channels_by_peer.get(peer)
        if bound is None:
            message = indications.data_indication(peer, data, self.state.random.randbytes(12))
        else:
            pad = allocation.five_tuple.transport == Transport.TCP
            message = channel_data(bound.number, data, pad=pad)
        self.state.do(actions.SendToClient(allocation.five_tuple, message))

    def stream_opened(self, five_tuple: FiveTuple, now: float) -> None:
        """A client connected by TCP."""
        self.expire(now)
        self.state.streams.add(five_tuple)
        self.state.stranger(five_tuple, now)

    def stream_closed(self, five_tuple: FiveTuple, now: float) -> None:
        """A client's TCP connection is gone, and its allocation with it."""
        self.state.streams.discard(five_tuple)
        self.state.no_stranger(five_tuple)
        existing = self.state.allocations.get(five_tuple)
        if existing is not None:
            self.state.end(existing, "control connection closed", now)

    def peer_opened(self, connection: PeerConnection, now: float) -> None:
        """What `OpenConnection` asked for is done."""
        connect.opened(self.state, connection, now)

    def peer_failed(self, connection: PeerConnection) -> None:
        """What `OpenConnection` asked for could not be done."""
        connect.failed(self.state, connection)

    def peer_accepted(
        self, allocation: Allocation, peer: Address, now: float
    ) -> PeerConnection | None:
        """A peer connected to a relayed transport address. None: close its connection."""
        self.expire(now)
        return connect.accepted(self.state, allocation, peer, now)

    def connection_ended(self, connection: PeerConnection, to_peer: int, from_peer: int) -> None:
        """A joined connection ended after so many bytes each way."""
        connect.ended(self.state, connection, to_peer, from_peer)

    def pacing(self) -> dict[PeerConnection, int]:
        """Bytes/s for each active connection, where its accounts' bandwidth is limited."""
        return connect.shares(self.state.connections.values(), self._limits)

    def next_deadline(self) -> float | None:
        """When `expire()` must be called at the latest."""
        return self.state.expirations.next()

    def expire(self, now: float) -> None:
        """End what has reached its end."""
        for ended in self.state.expirations.due(now):
            match ended:
                case Allocation():
                    self.state.end(ended, "expired", now)
                case Permission():
                    ended.allocation.permissions.remove(ended.address)
                case Channel():
                    ended.unbind()
                case Reservation():
                    self.state.reservations.release(ended)
                    ended.relay.close()
                case PeerConnection():
                    self.state.do(actions.CloseConnection(ended))
                    connect.failed(self.state, ended)
                case FiveTuple():
                    self.state.do(actions.CloseStream(ended))

    def close(self, now: float) -> None:
        """End everything: the server stops."""
        for existing in list(self.state.allocations.values()):
            self.state.end(existing, "server stopped", now)
        for reservation in self.state.reservations:
            self.state.reservations.release(reservation)
            reservation.relay.close()

    # The steps every request takes.

    def _answer(self, five_tuple: FiveTuple, message: Message, now: float) -> None:
        handler = HANDLERS.get(message.method)
        if handler is None:
            return
        request = Request(five_tuple, message, now, identity=None)
        first = len(self.state.actions)
        try:
            if message.method != Method.BINDING:
                request.identity = self._credentials.authenticate(message, request.client, now)
                self._replies.proved(request.client)
            unknown = message.not_understood(UNDERSTOOD)
            if unknown:
                types = value.encode_types(unknown)
                reason = f"unknown attributes {' '.join(f'0x{kind:04X}' for kind in unknown)}"
                raise Refused(420, reason, [(Attribute.UNKNOWN_ATTRIBUTES, types)])
            attributes = handler(self.state, request)
            response = None if attributes is None else request.success(attributes)
        except Refused as refused:
            response = self._refuse(request, refused)
        except ValueError as error:
            response = self._refuse(request, Refused(400, str(error)))
        # The response goes out before what the request set in motion: a stream that becomes a
        # data connection takes no more messages.
        if response is not None and self._may_send(request, response):
            self.state.actions.insert(first, actions.SendToClient(five_tuple, response))

    def _refuse(self, request: Request, refused: Refused) -> bytes:
        """The error response. The log says why, if the client's address is not forged."""
        if refused.reason and request.message.method != Method.BINDING:
            self.state.refuse(
                request.five_tuple.client,
                f"{refused.code} {value.REASONS[refused.code]}: {refused.reason}",
                user=request.username,
                request=Method(request.message.method).name.lower().replace("_", "-"),
            )
        return request.error(refused.code, refused.attributes)

    def _may_send(self, request: Request, response: bytes) -> bool:
        """Whether the address is proved, or the response within what it has on credit."""
        return (
            request.identity is not None
            or request.five_tuple.transport == Transport.TCP
            or self._replies.allows(
                request.client, len(request.message.raw), len(response), request.now
            )
        )

    def _receive_channel_data(self, five_tuple: FiveTuple, data: bytes, now: float) -> None:
        allocation = self.state.allocations.get(five_tuple)
        if allocation is None or len(data) < CHANNEL_HEADER_LENGTH:
            return
        found = allocation.unwrap(data, len(data), now)
        if found is not None:
            peer, end = found
            payload = bytes(data[CHANNEL_HEADER_LENGTH:end])
            self.state.do(actions.SendToPeer(allocation, peer, payload))


def on_binding(_: TurnState, request: Request) -> Attributes:
    """RFC 8489, section 12: where the request seems to come from."""
    return [(Attribute.XOR_MAPPED_ADDRESS, request.xor(request.five_tuple.client))]


HANDLERS: dict[int, Callable[[TurnState, Request], Attributes | None]] = {
    Method.BINDING: on_binding,
    Method.ALLOCATE: allocate.on_allocate,
    Method.REFRESH: allocate.on_refresh,
    Method.CREATE_PERMISSION: create_permission.on_create_permission,
    Method.CHANNEL_BIND: channel_bind.on_channel_bind,
    Method.CONNECT: connect.on_connect,
    Method.CONNECTION_BIND: connect.on_connection_bind,
}
