"""Handles Allocate and Refresh requests: an allocation begins, goes on, ends.

Theory of operation. The checks stand in the order of RFC 8656, sections 7.2 and 8.2, under
their numbers. EVEN-PORT asks for an even port, and with its R bit for the next port to be held
back (see reservation.py).
"""

from __future__ import annotations

from napt_lab.servers.stun import attributes as value
from napt_lab.servers.stun.attributes import Family, Transport
from napt_lab.servers.stun.stun_message import Attribute, Attributes
from napt_lab.servers.turn.allocation import Allocation, Relay
from napt_lab.servers.turn.error_response import Refused
from napt_lab.servers.turn.request import Request
from napt_lab.servers.turn.reservation import Reservation
from napt_lab.servers.turn.turn_state import TurnState

DEFAULT_LIFETIME = 600  # seconds
MAX_LIFETIME = 3600  # seconds
RESERVE_NEXT = 0x80
MAX_PORTS_TRIED = 64


def on_allocate(state: TurnState, request: Request) -> Attributes:
    """Section 7.2, check by check; check 1 (credentials) was made before."""
    message = request.message

    # 2. The 5-tuple must not be in use; a retransmission gets its answer once more.
    existing = state.allocations.get(request.five_tuple)
    if existing is not None:
        if existing.transaction_id == message.transaction_id:
            return existing.answer
        raise Refused(437, "the 5-tuple already has an allocation")

    # 3. REQUESTED-TRANSPORT must be there, and be a transport we relay.
    transport = _requested_transport(request)

    # 4. DONT-FRAGMENT would need control over each packet's DF bit: unknown to this server.
    if Attribute.DONT_FRAGMENT in message:
        raise Refused(
            420,
            "DONT-FRAGMENT is not supported",
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
        raise Refused(400, "RESERVATION-TOKEN together with EVEN-PORT or an address family")

    # 6. to 9. The address families; the other half of 8. stands where the port is opened.
    family_error = _check_families(request)

    # RFC 6062, section 5.1: a TCP allocation is made over TCP, and has no use for these.
    if transport == Transport.TCP and (
        request.five_tuple.transport != Transport.TCP
        or Attribute.EVEN_PORT in message
        or token is not None
    ):
        raise Refused(400, "a TCP allocation is made over TCP, and reserves no port (RFC 6062)")

    reservation = _reservation(state, request, token)
    lifetime = _lifetime(request)

    # 10. The quotas of the user and of the client's address.
    if state.users.full(request.username):
        raise Refused(486, f"{request.username} has all allocations that a user may have")
    if state.clients.full(request.client):
        raise Refused(486, f"{request.client} has all allocations that a client may have")

    if reservation is not None:
        state.reservations.release(reservation)
        relay = reservation.relay
        following = None
    else:
        # 8. An EVEN-PORT must be satisfied, or the request be refused.
        relay, following = _open_relay(state, request, transport)
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
        *([(Attribute.RESERVATION_TOKEN, following.token)] if following else []),
        (Attribute.XOR_MAPPED_ADDRESS, request.xor(request.five_tuple.client)),
        *family_error,
    ]
    state.begin(allocation, lifetime, request.now)
    return allocation.answer


def on_refresh(state: TurnState, request: Request) -> Attributes:
    """Section 8.2: a new time to expiry, or the end."""
    allocation = state.allocation_of(request)

    # REQUESTED-ADDRESS-FAMILY must be the allocation's.
    family = request.message.get(Attribute.REQUESTED_ADDRESS_FAMILY)
    if family is not None and value.decode_byte(family) != Family.IPV4:
        raise Refused(443, "the allocation is of IPv4")

    # A lifetime of zero deletes the allocation.
    lifetime = _lifetime(request)
    if request.number(Attribute.LIFETIME, DEFAULT_LIFETIME) == 0:
        lifetime = 0
        state.end(allocation, "deleted", request.now)
    else:
        state.expirations.set(allocation, request.now + lifetime)
        state.emit("refreshed", allocation, lifetime=lifetime)
    return [(Attribute.LIFETIME, value.encode_number(lifetime))]


def _lifetime(request: Request) -> int:
    """What the client asks for, between the default and the maximum (sections 7.2 and 8.2)."""
    wanted = request.number(Attribute.LIFETIME, DEFAULT_LIFETIME)
    return max(DEFAULT_LIFETIME, min(wanted, MAX_LIFETIME))


def _requested_transport(request: Request) -> Transport:
    number = value.decode_byte(request.required(Attribute.REQUESTED_TRANSPORT))
    try:
        return Transport(number)
    except ValueError as error:
        raise Refused(442, f"protocol {number} is neither TCP nor UDP") from error


def _check_families(request: Request) -> Attributes:
    requested = request.message.get(Attribute.REQUESTED_ADDRESS_FAMILY)
    additional = request.message.get(Attribute.ADDITIONAL_ADDRESS_FAMILY)

    # 6. Not both.
    if requested is not None and additional is not None:
        raise Refused(400, "REQUESTED-ADDRESS-FAMILY together with ADDITIONAL-ADDRESS-FAMILY")

    # 7. This server relays IPv4 only.
    if requested is not None and value.decode_byte(requested) != Family.IPV4:
        raise Refused(440, "this server relays IPv4 only")

    # 8. EVEN-PORT with its R bit goes with no additional family.
    # 9. The additional family may only be IPv6. We have none, and say so beside the success.
    if additional is None:
        return []
    even_port = request.message.get(Attribute.EVEN_PORT)
    if value.decode_byte(additional) != Family.IPV6 or even_port == bytes([RESERVE_NEXT]):
        raise Refused(400, "ADDITIONAL-ADDRESS-FAMILY is IPv4, or goes with a reserved port")
    return [(Attribute.ADDRESS_ERROR_CODE, bytes([Family.IPV6]) + value.encode_error(440)[1:])]


def _reservation(state: TurnState, request: Request, token: bytes | None) -> Reservation | None:
    if token is None:
        return None
    reservation = state.reservations.find(token, request.username)
    if reservation is None:
        raise Refused(508, "no port is reserved under this RESERVATION-TOKEN")
    return reservation


def _open_relay(
    state: TurnState, request: Request, transport: Transport
) -> tuple[Relay, Reservation | None]:
    wanted = request.message.get(Attribute.EVEN_PORT)
    if wanted is not None and len(wanted) != 1:
        raise Refused(400, "EVEN-PORT is not one byte")
    reserve = wanted is not None and bool(wanted[0] & RESERVE_NEXT)
    if reserve and state.reservations.full(request):
        raise Refused(508, "the user or the client's address has too many reserved ports")
    # A random start, so that the next port cannot be predicted (RFC 6056).
    ports = state.relay_ports
    start = state.random.randrange(len(ports))
    for step in range(MAX_PORTS_TRIED):
        port = ports[(start + step) % len(ports)]
        if wanted is not None and port % 2:
            continue
        relay = state.open_relay(transport, port)
        if relay is None:
            continue
        if not reserve:
            return relay, None
        following = state.open_relay(transport, port + 1) if port + 1 in ports else None
        if following is not None:
            return relay, state.reservations.hold(following, request)
        relay.close()
    raise Refused(508, "no relayed transport address is free, or no file descriptor")
