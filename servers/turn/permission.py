"""Permissions: which peers may send to a client (RFC 8656, sections 9 and 10).

Theory of operation. A permission is an IP address and nothing else: any port of that address
may send. It lasts 300 s, and only a CreatePermission or ChannelBind request prolongs it, not
traffic. It is what an address-dependent NAT's filter would be, made explicit.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from napt_lab.servers.turn import attributes as value
from napt_lab.servers.turn.attributes import Address, Family, Transport
from napt_lab.servers.turn.refusal import Refused
from napt_lab.servers.turn.stun import Attribute, Attributes

if TYPE_CHECKING:
    from napt_lab.servers.turn.allocation import Allocation
    from napt_lab.servers.turn.request import Request
    from napt_lab.servers.turn.server import Server

PERMISSION_LIFETIME = 300.0  # seconds
MAX_PERMISSIONS = 256  # per allocation


@dataclass(slots=True, eq=False)
class Permission:
    allocation: Allocation
    address: str


def on_create_permission(server: Server, request: Request) -> Attributes:
    """Section 10.2: all the addresses of the request get a permission, or none does."""
    allocation = server.allocation_of(request)

    # There must be at least one XOR-PEER-ADDRESS, and all of them valid (else 400).
    peers = request.addresses(Attribute.XOR_PEER_ADDRESS)
    if not peers:
        raise Refused(400)
    for peer in peers:
        check_peer(server, peer)

    # Insufficient capacity: a bounded number of permissions per allocation.
    wanted = {address for address, _ in peers} | allocation.permissions.keys()
    if len(wanted) > MAX_PERMISSIONS:
        raise Refused(508)

    for address, _ in peers:
        install(server, allocation, address, request.now)
    return []


def check_peer(server: Server, peer: Address) -> None:
    """The address must be of the allocation's family (443) and permitted (403)."""
    if value.family_of(peer[0]) != Family.IPV4:
        raise Refused(443)
    if not server.policy.permits(peer[0]):
        raise Refused(403)


def check_reachable(server: Server, peer: Address, transport: Transport) -> None:
    """As check_peer; and on our own address only living allocations may be reached (403)."""
    check_peer(server, peer)
    if not server.may_reach(peer, transport):
        raise Refused(403)


def install(server: Server, allocation: Allocation, address: str, now: float) -> None:
    """Create the permission or prolong it."""
    permission = allocation.permissions.get(address)
    if permission is None:
        permission = allocation.permissions[address] = Permission(allocation, address)
        server.emit("permission", allocation, peer=address, lifetime=PERMISSION_LIFETIME)
    server.deadlines.set(permission, now + PERMISSION_LIFETIME)
