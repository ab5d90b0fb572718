"""Allocations: a relayed transport address, rented by a 5-tuple (RFC 8656, sections 7 and 8).

Theory of operation. An Allocate request opens a relayed transport address and ties it to the
5-tuple it came over, for 600 s unless refreshed. Everything else a client does (permissions,
channels, connections) hangs on its allocation and goes with it. EVEN-PORT asks for an even
port, and with its R bit for the next one to be held back (see reservation.py).

The two methods that channel data takes, `unwrap` and `admits`, run once per packet: they look
up, count, and build nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple, Protocol

from napt_lab.servers.turn import attributes as value
from napt_lab.servers.turn.attributes import Address, Family, Transport
from napt_lab.servers.turn.framing import CHANNEL_HEADER_LENGTH
from napt_lab.servers.turn.refusal import Refused
from napt_lab.servers.turn.stun import Attribute, Attributes

if TYPE_CHECKING:
    from napt_lab.servers.turn.channel import Channel
    from napt_lab.servers.turn.connection import PeerConnection
    from napt_lab.servers.turn.permission import Permission
    from napt_lab.servers.turn.quota import Budget
    from napt_lab.servers.turn.request import Request
    from napt_lab.servers.turn.reservation import Reservation
    from napt_lab.servers.turn.server import Server

DEFAULT_LIFETIME = 600  # seconds
MAX_LIFETIME = 3600  # seconds
RESERVE_NEXT = 0x80
MAX_PORTS_TRIED = 64


class FiveTuple(NamedTuple):
    """Transport, the client's and the server's transport address."""

    transport: Transport
    client: Address
    server: Address


class Relay(Protocol):
    """An open relayed transport address."""

    address: Address

    def serve(self, allocation: Allocation) -> None:
        """From now on, pass on what arrives here; before, it is dropped."""

    def close(self) -> None: ...


class RelayPorts(Protocol):
    """Opens relayed transport addresses: sockets in the server, a table in the tests."""

    address: str
    """The IP address of all of them."""

    def open(self, transport: Transport, port: int) -> Relay | None:
        """None: this port cannot be had. The caller holds no TCP port of this number."""


@dataclass(slots=True)
class Traffic:
    """What an allocation relayed."""

    bytes_to_peers: int = 0
    bytes_from_peers: int = 0
    packets_to_peers: int = 0
    packets_from_peers: int = 0
    packets_refused: int = 0
    """From peers without a permission."""
    packets_dropped: int = 0
    """For want of bandwidth, or because the kernel did not take them."""


@dataclass(slots=True, eq=False)
class Allocation:
    five_tuple: FiveTuple
    username: str
    transport: Transport
    relay: Relay
    transaction_id: bytes
    answer: Attributes = field(default_factory=list)
    """The success response's attributes, for a retransmitted request."""
    budgets: tuple[Budget, ...] = ()
    """The user's and the client address's, where their bandwidth is limited."""
    permissions: dict[str, Permission] = field(default_factory=dict)
    channels: dict[int, Channel] = field(default_factory=dict)
    channels_by_peer: dict[Address, Channel] = field(default_factory=dict)
    channels_here: set[Channel] = field(default_factory=set)
    """Any allocation's, whose peer is this one's relayed transport address."""
    connections: dict[int, PeerConnection] = field(default_factory=dict)
    traffic: Traffic = field(default_factory=Traffic)
    ended: str = ""
    """Why, once it did."""

    def unwrap(
        self, message: bytes | bytearray | memoryview, size: int, now: float
    ) -> tuple[Address, int] | None:
        """Check ChannelData from the client (section 12.6): the peer, and where its data ends.

        The data begins after the channel's header. None: the message must be discarded.
        """
        channel = self.channels.get(message[0] << 8 | message[1])
        length = message[2] << 8 | message[3]
        end = CHANNEL_HEADER_LENGTH + length
        if channel is None or end > size or channel.peer[0] not in self.permissions:
            return None
        if self.budgets and not self._spend(length, now):
            return None
        self.traffic.bytes_to_peers += length
        self.traffic.packets_to_peers += 1
        return channel.peer, end

    def admits(self, peer: Address, size: int, now: float) -> bool:
        """Whether a datagram of `size` bytes from this peer may go to the client (section 11.3)."""
        if peer[0] not in self.permissions:
            self.traffic.packets_refused += 1
            return False
        if self.budgets and not self._spend(size, now):
            return False
        self.traffic.bytes_from_peers += size
        self.traffic.packets_from_peers += 1
        return True

    def sends(self, peer: Address, size: int, now: float) -> bool:
        """Whether a Send indication's data may go to this peer (section 11.2)."""
        if peer[0] not in self.permissions or (self.budgets and not self._spend(size, now)):
            return False
        self.traffic.bytes_to_peers += size
        self.traffic.packets_to_peers += 1
        return True

    def _spend(self, size: int, now: float) -> bool:
        for budget in self.budgets:
            if not budget.spend(size, now):
                self.traffic.packets_dropped += 1
                return False
        return True


def on_allocate(server: Server, request: Request) -> Attributes:
    """Section 7.2, check by check; check 1 (credentials) was made before."""
    message = request.message

    # 2. The 5-tuple must not be in use; a retransmission gets its answer once more.
    existing = server.allocations.get(request.five_tuple)
    if existing is not None:
        if existing.transaction_id == message.transaction_id:
            return existing.answer
        raise Refused(437)

    # 3. REQUESTED-TRANSPORT must be there, and be a transport we relay.
    transport = _requested_transport(request)

    # 4. DONT-FRAGMENT would need control over each packet's DF bit: unknown to this server.
    if Attribute.DONT_FRAGMENT in message:
        raise Refused(
            420,
            [(Attribute.UNKNOWN_ATTRIBUTES, value.encode_types([Attribute.DONT_FRAGMENT]))],
        )

    # 5. A RESERVATION-TOKEN names the port, so nothing else may; and it must be valid.
    token = message.get(Attribute.RESERVATION_TOKEN)
    if token is not None and any(
        attribute in message
        for attribute in (
            Attribute.EVEN_PORT,
            Attribute.REQUESTED_ADDRESS_FAMILY,
            Attribute.ADDITIONAL_ADDRESS_FAMILY,
        )
    ):
        raise Refused(400)

    # 6. to 9. The address families; the other half of 8. stands where the port is opened.
    family_error = _check_families(request)

    # RFC 6062, section 5.1: a TCP allocation is made over TCP, and has no use for these.
    if transport == Transport.TCP and (
        request.five_tuple.transport != Transport.TCP
        or Attribute.EVEN_PORT in message
        or token is not None
    ):
        raise Refused(400)

    reservation = _reservation(server, request, token)
    lifetime = _lifetime(request)

    # 10. The quotas of the user and of the client's address.
    if server.users.full(request.username) or server.clients.full(request.client):
        raise Refused(486)

    if reservation is not None:
        server.reservations.release(reservation)
        relay = reservation.relay
        following = None
    else:
        # 8. An EVEN-PORT must be satisfied, or the request be refused.
        relay, following = _open_relay(server, request, transport)
    allocation = Allocation(
        five_tuple=request.five_tuple,
        username=request.username,
        transport=transport,
        relay=relay,
        transaction_id=message.transaction_id,
    )
    allocation.answer = [
        (Attribute.XOR_RELAYED_ADDRESS, request.xor(relay.address)),
        (Attribute.LIFETIME, value.encode_number(lifetime)),
        *_reservation_token(following),
        (Attribute.XOR_MAPPED_ADDRESS, request.xor(request.five_tuple.client)),
        *family_error,
    ]
    server.begin(allocation, lifetime, request.now)
    return allocation.answer


def on_refresh(server: Server, request: Request) -> Attributes:
    """Section 8.2: a new time to expiry, or the end."""
    allocation = server.allocation_of(request)

    # REQUESTED-ADDRESS-FAMILY must be the allocation's.
    family = request.message.get(Attribute.REQUESTED_ADDRESS_FAMILY)
    if family is not None and value.decode_byte(family) != Family.IPV4:
        raise Refused(443)

    # A lifetime of zero deletes the allocation.
    lifetime = _lifetime(request)
    if request.number(Attribute.LIFETIME, DEFAULT_LIFETIME) == 0:
        lifetime = 0
        server.end(allocation, "deleted", request.now)
    else:
        server.deadlines.set(allocation, request.now + lifetime)
        server.emit("refreshed", allocation, lifetime=lifetime)
    return [(Attribute.LIFETIME, value.encode_number(lifetime))]


def _lifetime(request: Request) -> int:
    """What the client asks for, between the default and the maximum (sections 7.2 and 8.2)."""
    wanted = request.number(Attribute.LIFETIME, DEFAULT_LIFETIME)
    return max(DEFAULT_LIFETIME, min(wanted, MAX_LIFETIME))


def _requested_transport(request: Request) -> Transport:
    protocol = request.message.get(Attribute.REQUESTED_TRANSPORT)
    if protocol is None:
        raise Refused(400)
    try:
        return Transport(value.decode_byte(protocol))
    except ValueError as error:
        # decode_byte refuses a wrong length (400), the enumeration an unknown number (442).
        raise Refused(442 if len(protocol) == 4 else 400) from error


def _check_families(request: Request) -> Attributes:
    requested = request.message.get(Attribute.REQUESTED_ADDRESS_FAMILY)
    additional = request.message.get(Attribute.ADDITIONAL_ADDRESS_FAMILY)

    # 6. Not both.
    if requested is not None and additional is not None:
        raise Refused(400)

    # 7. This server relays IPv4 only.
    if requested is not None and value.decode_byte(requested) != Family.IPV4:
        raise Refused(440)

    # 8. EVEN-PORT with its R bit goes with no additional family.
    # 9. Which may only be IPv6. We have none, and say so beside the success.
    if additional is None:
        return []
    even_port = request.message.get(Attribute.EVEN_PORT)
    if value.decode_byte(additional) != Family.IPV6 or even_port == bytes([RESERVE_NEXT]):
        raise Refused(400)
    return [(Attribute.ADDRESS_ERROR_CODE, bytes([Family.IPV6]) + value.encode_error(440)[1:])]


def _reservation(server: Server, request: Request, token: bytes | None) -> Reservation | None:
    if token is None:
        return None
    reservation = server.reservations.find(token, request.username)
    if reservation is None:
        raise Refused(508)
    return reservation


def _reservation_token(reservation: Reservation | None) -> Attributes:
    return [(Attribute.RESERVATION_TOKEN, reservation.token)] if reservation else []


def _open_relay(
    server: Server, request: Request, transport: Transport
) -> tuple[Relay, Reservation | None]:
    wanted = request.message.get(Attribute.EVEN_PORT)
    if wanted is not None and len(wanted) != 1:
        raise Refused(400)
    reserve = wanted is not None and bool(wanted[0] & RESERVE_NEXT)
    if reserve and server.reservations.full(request.username):
        raise Refused(508)
    # A random start, so that nobody can tell which port comes next (RFC 6056).
    ports = server.relay_ports
    start = server.random.randrange(len(ports))
    for step in range(MAX_PORTS_TRIED):
        port = ports[(start + step) % len(ports)]
        if wanted is not None and port % 2:
            continue
        relay = server.open_relay(transport, port)
        if relay is None:
            continue
        if not reserve:
            return relay, None
        following = server.open_relay(transport, port + 1) if port + 1 in ports else None
        if following is not None:
            return relay, server.reservations.hold(following, request.username, request.now)
        relay.close()
    raise Refused(508)
