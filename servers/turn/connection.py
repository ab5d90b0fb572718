"""TCP connections to peers (RFC 6062).

Theory of operation. A TCP allocation relays connections, not datagrams, and every connection
to a peer gets a connection of its own to the client, the *data connection*:

    client                       server                              peer
      | Connect (or nothing) ---> | --- TCP connect from the -------> |
      |                           |     relayed transport address     |
      |                           | <-- or: TCP connect to it ------- |
      | <--- CONNECTION-ID ------ |     (Connect success, or ConnectionAttempt)
      | === new TCP connection => |                                   |
      | ConnectionBind, the id -> |                                   |
      | <======= bytes =========> | <============ bytes ============> |

The first two messages use the allocation's own connection, the control connection. The peer
waits at most 30 s for a ConnectionBind, with nothing read from it meanwhile: what it sends
stays in the kernel's bounded buffer, and then TCP holds it back.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from napt_lab.servers.shared.events import endpoint
from napt_lab.servers.turn import attributes as value
from napt_lab.servers.turn.attributes import Address, Transport
from napt_lab.servers.turn.permission import check_reachable
from napt_lab.servers.turn.refusal import Refused
from napt_lab.servers.turn.stun import Attribute, Attributes, Class, Method

if TYPE_CHECKING:
    from napt_lab.servers.turn.allocation import Allocation
    from napt_lab.servers.turn.request import Request
    from napt_lab.servers.turn.server import Server

CONNECT_TIMEOUT = 30.0  # seconds until 447
BIND_TIMEOUT = 30.0  # seconds until a pending connection is closed
MAX_CONNECTIONS = 32  # per allocation, whatever their state


class State(Enum):
    CONNECTING = "connecting"  # the peer has not answered our SYN
    PENDING = "pending"  # the client has not sent its ConnectionBind
    ACTIVE = "active"  # bytes flow


@dataclass(slots=True, eq=False)
class PeerConnection:
    id: int
    allocation: Allocation
    peer: Address
    state: State
    request: Request | None = None
    """The Connect request that is yet to be answered."""


def on_connect(server: Server, request: Request) -> None:
    """RFC 6062, section 5.2: open a connection to the peer; the answer comes later."""
    # The 5-tuple must have an allocation, and one of TCP (else 437).
    allocation = server.allocation_of(request)
    if allocation.transport != Transport.TCP:
        raise Refused(437)

    # XOR-PEER-ADDRESS must be there (else 400), and a peer we relay to (else 403).
    peers = request.addresses(Attribute.XOR_PEER_ADDRESS)
    if not peers:
        raise Refused(400)
    peer = peers[0]
    check_reachable(server, peer, Transport.TCP)

    # One connection a peer, be it in the making, pending or active (446).
    if any(connection.peer == peer for connection in allocation.connections.values()):
        raise Refused(446)
    if len(allocation.connections) >= MAX_CONNECTIONS:
        raise Refused(508)

    connection = _new(server, allocation, peer, State.CONNECTING)
    connection.request = request
    server.deadlines.set(connection, request.now + CONNECT_TIMEOUT)
    server.open_connection(connection)


def opened(server: Server, connection: PeerConnection, now: float) -> None:
    """The peer accepted: tell the client the connection's id."""
    request, connection.request = connection.request, None
    if request is None:
        return
    _await_bind(server, connection, now)
    server.respond(request, Class.SUCCESS, [_connection_id(connection)])


def failed(server: Server, connection: PeerConnection, now: float) -> None:
    """The peer refused, or did not answer in time (447)."""
    request, connection.request = connection.request, None
    server.forget(connection)
    if request is not None:
        error = (Attribute.ERROR_CODE, value.encode_error(447))
        server.respond(request, Class.ERROR, [error])


def accepted(
    server: Server, allocation: Allocation, peer: Address, now: float
) -> PeerConnection | None:
    """Section 5.3: a peer connected to the relayed transport address.

    None: it has no permission, or there are too many: its connection must be closed.
    """
    permitted = peer[0] in allocation.permissions
    if not permitted or len(allocation.connections) >= MAX_CONNECTIONS:
        reason = "too many connections" if permitted else "no permission"
        server.emit("connection-refused", allocation, peer=endpoint(peer), reason=reason)
        return None
    connection = _new(server, allocation, peer, State.PENDING)
    _await_bind(server, connection, now)
    server.indicate(
        allocation.five_tuple,
        Method.CONNECTION_ATTEMPT,
        lambda transaction_id: [
            _connection_id(connection),
            (Attribute.XOR_PEER_ADDRESS, value.encode_xor_address(peer, transaction_id)),
        ],
    )
    return connection


def ended(server: Server, connection: PeerConnection, to_peer: int, from_peer: int) -> None:
    """An active connection is over, after so many bytes each way."""
    allocation = connection.allocation
    allocation.traffic.bytes_to_peers += to_peer
    allocation.traffic.bytes_from_peers += from_peer
    server.emit(
        "connection-ended",
        allocation,
        peer=endpoint(connection.peer),
        bytes_to_peer=to_peer,
        bytes_from_peer=from_peer,
    )
    server.forget(connection)


def on_connection_bind(server: Server, request: Request) -> Attributes:
    """Section 5.4: the 5-tuple becomes the data connection of a pending connection."""
    # It must be a TCP connection with no allocation of its own.
    if request.five_tuple.transport != Transport.TCP or request.five_tuple in server.allocations:
        raise Refused(400)

    # CONNECTION-ID must be there, of a connection that is pending, and of the same user.
    number = value.decode_number(request.required(Attribute.CONNECTION_ID))
    connection = server.connections.get(number)
    if (
        connection is None
        or connection.state != State.PENDING
        or connection.allocation.username != request.username
    ):
        raise Refused(400)

    connection.state = State.ACTIVE
    server.deadlines.discard(connection)
    server.join(request.five_tuple, connection)
    return []


def shares(
    connections: Iterable[PeerConnection], user_rate: int, client_rate: int
) -> dict[PeerConnection, int]:
    """Divide the bytes/s of each user and of each client's address among their active
    connections. A rate of 0 is no limit; unlimited connections are left out.
    """
    active = [each for each in connections if each.state == State.ACTIVE]
    users = Counter(each.allocation.username for each in active)
    clients = Counter(each.allocation.five_tuple.client[0] for each in active)
    result = {}
    for each in active:
        shared = (
            user_rate // users[each.allocation.username],
            client_rate // clients[each.allocation.five_tuple.client[0]],
        )
        limits = [rate for rate in shared if rate]
        if limits:
            result[each] = min(limits)
    return result


def _new(server: Server, allocation: Allocation, peer: Address, state: State) -> PeerConnection:
    # Random, so that nobody can guess another client's; the user is checked as well.
    while (number := server.random.getrandbits(32)) in server.connections:
        pass
    connection = PeerConnection(number, allocation, peer, state)
    allocation.connections[number] = server.connections[number] = connection
    return connection


def _await_bind(server: Server, connection: PeerConnection, now: float) -> None:
    connection.state = State.PENDING
    server.deadlines.set(connection, now + BIND_TIMEOUT)
    server.emit(
        "connection", connection.allocation, peer=endpoint(connection.peer), id=connection.id
    )


def _connection_id(connection: PeerConnection) -> tuple[int, bytes]:
    return Attribute.CONNECTION_ID, value.encode_number(connection.id)
