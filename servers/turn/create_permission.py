"""Handles CreatePermission requests: which peers may send to a client (RFC 8656, section 10).

Theory of operation. A permission is an IP address and nothing else: any port of that address
may send. It lasts 300 s, and only a CreatePermission or ChannelBind request prolongs it, not
traffic. It does what address-dependent filtering does in a NAT (RFC 4787, section 5), but the
client says whom it admits.
"""

from __future__ import annotations

from napt_lab.servers.stun import attributes as value
from napt_lab.servers.stun.attributes import Address, Family, Transport
from napt_lab.servers.stun.stun_message import Attributes
from napt_lab.servers.turn.allocation import Allocation, Permission
from napt_lab.servers.turn.error_response import Refused
from napt_lab.servers.turn.request import Request
from napt_lab.servers.turn.turn_state import TurnState

PERMISSION_LIFETIME = 300.0  # seconds
MAX_PERMISSIONS = 256  # per allocation


def on_create_permission(state: TurnState, request: Request) -> Attributes:
    """Section 10.2: all the addresses of the request get a permission, or none does."""
    allocation = state.allocation_of(request)

    # There must be at least one XOR-PEER-ADDRESS, and all of them valid (else 400).
    peers = request.peers()
    for peer in peers:
        check_peer(state, peer)

    # Insufficient capacity: a bounded number of permissions per allocation.
    wanted = {address for address, _ in peers} | allocation.permissions
    if len(wanted) > MAX_PERMISSIONS:
        raise Refused(508, f"more than {MAX_PERMISSIONS} permissions")

    for address, _ in peers:
        install(state, allocation, address, request.now)
    return []


def check_peer(state: TurnState, peer: Address) -> None:
    """The address must be of the allocation's family (443) and permitted (403)."""
    if value.family_of(peer[0]) != Family.IPV4:
        raise Refused(443, f"the peer {peer[0]} is not IPv4")
    if not state.policy.permits(peer[0]):
        raise Refused(403, f"the server does not relay to {peer[0]}")


def check_reachable(state: TurnState, peer: Address, transport: Transport) -> None:
    """As check_peer; and on our own address only living allocations may be reached (403)."""
    check_peer(state, peer)
    if not state.may_reach(peer, transport):
        raise Refused(403, f"no allocation has the address {peer[0]}:{peer[1]}")


def install(state: TurnState, allocation: Allocation, address: str, now: float) -> None:
    """Create the permission or prolong it."""
    if address not in allocation.permissions:
        allocation.permissions.add(address)
        state.emit("permission", allocation, peer=address, lifetime=PERMISSION_LIFETIME)
    state.expirations.set(Permission(allocation, address), now + PERMISSION_LIFETIME)
