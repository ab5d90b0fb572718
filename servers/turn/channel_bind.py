"""Handles ChannelBind requests: a number stands for a peer from now on (RFC 8656, section 12).

Theory of operation. A channel binds a number (0x4000 to 0x4FFF) to a peer's transport
address, for one allocation, for 600 s; within that time it is one to one. ChannelData needs no
parsing: the server looks the number up and sends the rest. So what is checked here must stay
true for as long as the channel lives. A channel to another allocation of this server ends with
that allocation, because the port may next belong to any program.
"""

from __future__ import annotations

from napt_lab.servers.shared.events import endpoint
from napt_lab.servers.stun import attributes as value
from napt_lab.servers.stun.attributes import Address, Transport
from napt_lab.servers.stun.stun_message import Attribute, Attributes
from napt_lab.servers.turn.allocation import Allocation, Channel
from napt_lab.servers.turn.create_permission import MAX_PERMISSIONS, check_reachable, install
from napt_lab.servers.turn.error_response import Refused
from napt_lab.servers.turn.framing import RFC5766_CHANNELS
from napt_lab.servers.turn.request import Request
from napt_lab.servers.turn.turn_state import TurnState

CHANNEL_LIFETIME = 600.0  # seconds
MAX_CHANNELS = 256  # per allocation


def on_channel_bind(state: TurnState, request: Request) -> Attributes:
    """Section 12.2: bind the channel or prolong it, and its peer's permission with it."""
    allocation = state.allocation_of(request)

    # RFC 6062, section 3: TCP allocations have no channels.
    if allocation.transport != Transport.UDP:
        raise Refused(400, "a TCP allocation has no channels (RFC 6062)")

    # The request must have a CHANNEL-NUMBER in range and an XOR-PEER-ADDRESS.
    number = value.decode_channel(request.required(Attribute.CHANNEL_NUMBER))
    peer = request.peers()[0]
    if number not in state.channels:
        first, last = state.channels[0], state.channels[-1]
        reason = f"channel 0x{number:04X} is not in 0x{first:04X}-0x{last:04X}"
        if number in RFC5766_CHANNELS:
            reason += " (RFC 8656, section 12); with --channels rfc5766 it is allowed"
        raise Refused(400, reason)
    check_reachable(state, peer, Transport.UDP)

    # The number must not be bound to another peer, nor the peer to another number.
    by_number = allocation.channels.get(number)
    by_peer = allocation.channels_by_peer.get(peer)
    if by_number is not by_peer:
        raise Refused(400, f"channel 0x{number:04X} or its peer is bound otherwise")

    # Insufficient capacity.
    full = len(allocation.permissions) >= MAX_PERMISSIONS
    if by_number is None and (
        len(allocation.channels) >= MAX_CHANNELS or (full and peer[0] not in allocation.permissions)
    ):
        raise Refused(508, f"more than {MAX_CHANNELS} channels or {MAX_PERMISSIONS} permissions")

    channel = by_number or _bind(state, allocation, number, peer)
    state.expirations.set(channel, request.now + CHANNEL_LIFETIME)
    install(state, allocation, peer[0], request.now)
    return []


def _bind(state: TurnState, allocation: Allocation, number: int, peer: Address) -> Channel:
    channel = Channel(allocation, number, peer, ends_with=state.allocation_at(peer))
    channel.bind()
    state.emit("channel-bound", allocation, channel=number, peer=endpoint(peer))
    return channel
