"""Handles Connect and ConnectionBind requests: TCP connections to peers (RFC 6062).

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
waits at most 30 s for a ConnectionBind, and nothing is read from it meanwhile: what it sends
stays in the kernel's bounded buffer, and then TCP holds it back. Peers share the places in
which they wait: an address that opens many connections takes none from the others.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from napt_lab.servers.shared.events import endpoint
from napt_lab.servers.stun import attributes as value
from napt_lab.servers.stun.attributes import Address, Transport
from napt_lab.servers.stun.stun_message import Attribute, Attributes, Class, Message, Method, encode
from napt_lab.servers.turn import actions
from napt_lab.servers.turn.allocation import MAX_WAITING, Allocation, PeerConnection, State
from napt_lab.servers.turn.create_permission import check_reachable
from napt_lab.servers.turn.error_response import Refused
from napt_lab.servers.turn.quota import Limits
from napt_lab.servers.turn.request import Request
from napt_lab.servers.turn.turn_state import TurnState

CONNECT_TIMEOUT = 30.0  # seconds until 447
BIND_TIMEOUT = 30.0  # seconds until a pending connection is closed
MAX_CONNECTIONS = 32  # per allocation, without the peers' that wait


def on_connect(state: TurnState, request: Request) -> None:
    """RFC 6062, section 5.2: open a connection to the peer; the answer comes later."""
    # The 5-tuple must have an allocation, and one of TCP (else 437).
    allocation = state.allocation_of(request)
    if allocation.transport != Transport.TCP:
        raise Refused(437, "the allocation is not of TCP")

    # XOR-PEER-ADDRESS must be there (else 400), and a peer we relay to (else 403).
    peer = request.peers()[0]
    check_reachable(state, peer, Transport.TCP)

    # One connection a peer, whatever its state (446).
    if any(connection.peer == peer for connection in allocation.connections.values()):
        raise Refused(446, f"there is a connection to {endpoint(peer)} already")
    _check_capacity(allocation)

    connection = _new(state, allocation, peer, State.CONNECTING)
    connection.request = request
    state.expirations.set(connection, request.now + CONNECT_TIMEOUT)
    state.do(actions.OpenConnection(connection))


def opened(state: TurnState, connection: PeerConnection, now: float) -> None:
    """The peer accepted: tell the client the connection's id."""
    request, connection.request = connection.request, None
    if request is None:
        return
    _await_bind(state, connection, now)
    response = request.success([_connection_id(connection)])
    state.do(actions.SendToClient(request.five_tuple, response))


def failed(state: TurnState, connection: PeerConnection) -> None:
    """The peer refused, or did not answer in time (447); or its connection was never bound."""
    request, connection.request = connection.request, None
    state.forget(connection)
    if request is not None:
        reason = f"447 {value.REASONS[447]}: no connection to {endpoint(connection.peer)}"
        state.refuse(request.five_tuple.client, reason, user=request.username, request="connect")
        state.do(actions.SendToClient(request.five_tuple, request.error(447)))


def accepted(
    state: TurnState, allocation: Allocation, peer: Address, now: float
) -> PeerConnection | None:
    """Section 5.3: a peer connected to the relayed transport address.

    None: it has no permission, its connection must be closed.
    """
    if peer[0] not in allocation.permissions:
        _refuse(state, allocation, peer, "no permission")
        return None
    idle = allocation.waiting.who_gives_way(peer[0], MAX_WAITING)
    if idle is not None:
        _refuse(state, allocation, idle.peer, "too many connections")
        state.do(actions.CloseConnection(idle))
        state.forget(idle)
    connection = _new(state, allocation, peer, State.PENDING)
    allocation.waiting.take(peer[0], connection)
    _await_bind(state, connection, now)
    transaction_id = state.random.randbytes(12)
    attempt = Message(
        Method.CONNECTION_ATTEMPT,
        Class.INDICATION,
        transaction_id,
        [
            _connection_id(connection),
            (Attribute.XOR_PEER_ADDRESS, value.encode_xor_address(peer, transaction_id)),
        ],
    )
    state.do(actions.SendToClient(allocation.five_tuple, encode(attempt, fingerprint=False)))
    return connection


def ended(state: TurnState, connection: PeerConnection, to_peer: int, from_peer: int) -> None:
    """An active connection is over, after so many bytes each way."""
    allocation = connection.allocation
    allocation.traffic.bytes_to_peers += to_peer
    allocation.traffic.bytes_from_peers += from_peer
    state.emit(
        "connection-ended",
        allocation,
        peer=endpoint(connection.peer),
        bytes_to_peer=to_peer,
        bytes_from_peer=from_peer,
    )
    state.forget(connection)


def on_connection_bind(state: TurnState, request: Request) -> Attributes:
    """Section 5.4: the 5-tuple becomes the data connection of a pending connection."""
    # It must be a TCP connection with no allocation of its own.
    if request.five_tuple.transport != Transport.TCP or request.five_tuple in state.allocations:
        raise Refused(400, "a ConnectionBind needs a TCP connection without an allocation")

    # CONNECTION-ID must be there, of a connection that is pending, and of the same user.
    number = value.decode_number(request.required(Attribute.CONNECTION_ID))
    connection = state.connections.get(number)
    if (
        connection is None
        or connection.state != State.PENDING
        or connection.allocation.username != request.username
    ):
        raise Refused(400, f"no connection {number} of {request.username} waits to be bound")

    allocation = connection.allocation
    if connection in allocation.waiting:
        _check_capacity(allocation)
        allocation.waiting.release(connection)
    connection.state = State.ACTIVE
    state.expirations.discard(connection)
    # The stream is a data connection now, and lives as long as its allocation.
    state.no_stranger(request.five_tuple)
    state.do(actions.Join(request.five_tuple, connection))
    return []


def shares(connections: Iterable[PeerConnection], limits: Limits) -> dict[PeerConnection, int]:
    """Divide the bytes/s of each user and client address among their active connections.

    A rate of 0 is no limit; unlimited connections are left out.
    """
    active = [each for each in connections if each.state == State.ACTIVE]
    users = Counter(each.allocation.username for each in active)
    clients = Counter(each.allocation.five_tuple.client[0] for each in active)
    result = {}
    for each in active:
        shared = (
            limits.user.bandwidth // users[each.allocation.username],
            limits.client.bandwidth // clients[each.allocation.five_tuple.client[0]],
        )
        rates = [rate for rate in shared if rate]
        if rates:
            result[each] = min(rates)
    return result


def _check_capacity(allocation: Allocation) -> None:
    if len(allocation.connections) - len(allocation.waiting) >= MAX_CONNECTIONS:
        raise Refused(508, f"more than {MAX_CONNECTIONS} connections of one allocation")


def _refuse(state: TurnState, allocation: Allocation, peer: Address, reason: str) -> None:
    state.emit("connection-refused", allocation, peer=endpoint(peer), reason=reason)


def _new(
    state: TurnState, allocation: Allocation, peer: Address, condition: State
) -> PeerConnection:
    # Random, so that no client can guess the id of another; the user is checked as well.
    while (number := state.random.getrandbits(32)) in state.connections:
        pass
    connection = PeerConnection(number, allocation, peer, condition)
    allocation.connections[number] = state.connections[number] = connection
    return connection


def _await_bind(state: TurnState, connection: PeerConnection, now: float) -> None:
    connection.state = State.PENDING
    state.expirations.set(connection, now + BIND_TIMEOUT)
    state.emit(
        "connection", connection.allocation, peer=endpoint(connection.peer), id=connection.id
    )


def _connection_id(connection: PeerConnection) -> tuple[int, bytes]:
    return Attribute.CONNECTION_ID, value.encode_number(connection.id)
