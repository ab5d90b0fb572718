"""Channels: a peer in four bytes instead of thirty-six (RFC 8656, section 12).

Theory of operation. A channel binds a number (0x4000 to 0x4FFF) to a peer's transport
address, for one allocation, for 600 s; within that time it is one to one. ChannelData
carries the number where an indication would carry addresses, and needs no parsing: the
server looks up the number, and sends the rest. So what must hold for a peer must hold for as
long as its channel does: a channel to another allocation of this server ends with that one,
for the port may next be any program's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from napt_lab.servers.shared.events import endpoint
from napt_lab.servers.turn import attributes as value
from napt_lab.servers.turn.attributes import Address, Transport
from napt_lab.servers.turn.permission import MAX_PERMISSIONS, check_reachable, install
from napt_lab.servers.turn.refusal import Refused
from napt_lab.servers.turn.stun import Attribute, Attributes

if TYPE_CHECKING:
    from napt_lab.servers.turn.allocation import Allocation
    from napt_lab.servers.turn.request import Request
    from napt_lab.servers.turn.server import Server

CHANNEL_LIFETIME = 600.0  # seconds
MAX_CHANNELS = 256  # per allocation


@dataclass(slots=True, eq=False)
class Channel:
    allocation: Allocation
    number: int
    peer: Address
    ends_with: Allocation | None
    """Whose relayed transport address the peer is, if only that makes it a permitted one."""


def on_channel_bind(server: Server, request: Request) -> Attributes:
    """Section 12.2: bind the channel or prolong it, and its peer's permission with it."""
    allocation = server.allocation_of(request)

    # RFC 6062, section 3: TCP allocations have no channels.
    if allocation.transport != Transport.UDP:
        raise Refused(400)

    # The request must have a CHANNEL-NUMBER in range and an XOR-PEER-ADDRESS.
    number = value.decode_channel(request.required(Attribute.CHANNEL_NUMBER))
    peers = request.addresses(Attribute.XOR_PEER_ADDRESS)
    if not peers or number not in server.channels:
        raise Refused(400)
    peer = peers[0]
    check_reachable(server, peer, Transport.UDP)

    # The number must not be bound to another peer, nor the peer to another number.
    by_number = allocation.channels.get(number)
    by_peer = allocation.channels_by_peer.get(peer)
    if by_number is not by_peer:
        raise Refused(400)

    # Insufficient capacity.
    full = len(allocation.permissions) >= MAX_PERMISSIONS
    if by_number is None and (
        len(allocation.channels) >= MAX_CHANNELS or (full and peer[0] not in allocation.permissions)
    ):
        raise Refused(508)

    channel = by_number or _bind(server, allocation, number, peer)
    server.deadlines.set(channel, request.now + CHANNEL_LIFETIME)
    install(server, allocation, peer[0], request.now)
    return []


def _bind(server: Server, allocation: Allocation, number: int, peer: Address) -> Channel:
    ends_with = server.allocation_at(peer)
    channel = Channel(allocation, number, peer, ends_with)
    allocation.channels[number] = channel
    allocation.channels_by_peer[peer] = channel
    if ends_with is not None:
        ends_with.channels_here.add(channel)
    server.emit("channel-bound", allocation, channel=number, peer=endpoint(peer))
    return channel


def unbind(channel: Channel) -> None:
    """Forget the channel; its peer's permission lives on by itself."""
    del channel.allocation.channels[channel.number]
    del channel.allocation.channels_by_peer[channel.peer]
    if channel.ends_with is not None:
        channel.ends_with.channels_here.remove(channel)
