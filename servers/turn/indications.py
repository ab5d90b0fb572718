"""Handles Send indications and makes Data indications: data without a channel (RFC 8656, 11).

Theory of operation. A Send indication carries data and the peer it is for; a Data indication
carries data and the peer it is from. Neither is authenticated nor answered: an indication that
fails a check is discarded, as a datagram may be.
"""

from __future__ import annotations

from napt_lab.servers.stun import attributes as value
from napt_lab.servers.stun.attributes import Address, FiveTuple, Transport
from napt_lab.servers.stun.stun_message import Attribute, Class, Message, Method, encode
from napt_lab.servers.turn import actions
from napt_lab.servers.turn.turn_state import TurnState


def on_send(state: TurnState, five_tuple: FiveTuple, message: Message, now: float) -> None:
    """Section 11.2: pass the data on, or discard it silently."""
    # The 5-tuple must have an allocation, and one that relays datagrams.
    allocation = state.allocations.get(five_tuple)
    if allocation is None or allocation.transport != Transport.UDP:
        return

    # XOR-PEER-ADDRESS and DATA must be there and valid. DONT-FRAGMENT we do not support.
    address, data = message.get(Attribute.XOR_PEER_ADDRESS), message.get(Attribute.DATA)
    if address is None or data is None or Attribute.DONT_FRAGMENT in message:
        return
    try:
        peer = value.decode_xor_address(address, message.transaction_id)
    except ValueError:
        return

    # The peer must have a permission; the client cannot widen it by choosing the port.
    if state.may_reach(peer, Transport.UDP) and allocation.sends(peer, len(data), now):
        state.do(actions.SendToPeer(allocation, peer, data))


def data_indication(peer: Address, data: bytes, transaction_id: bytes) -> bytes:
    """Section 11.3: what the client gets when no channel is bound to the peer."""
    return encode(
        Message(
            Method.DATA,
            Class.INDICATION,
            transaction_id,
            [
                (Attribute.XOR_PEER_ADDRESS, value.encode_xor_address(peer, transaction_id)),
                (Attribute.DATA, data),
            ],
        ),
        fingerprint=False,
    )
