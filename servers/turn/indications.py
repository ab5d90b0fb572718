"""Send and Data indications: data with no channel (RFC 8656, section 11).

Theory of operation. A Send indication carries data and the peer it is for; a Data indication
carries data and the peer it is from. Neither is authenticated nor answered: what fails a
check disappears, as datagrams do.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from napt_lab.servers.turn import attributes as value
from napt_lab.servers.turn.attributes import Address, Transport
from napt_lab.servers.turn.stun import Attribute, Class, Message, Method, encode

if TYPE_CHECKING:
    from napt_lab.servers.turn.allocation import FiveTuple
    from napt_lab.servers.turn.server import Server


def on_send(server: Server, five_tuple: FiveTuple, message: Message, now: float) -> None:
    """Section 11.2: pass the data on, or discard it silently."""
    # The 5-tuple must have an allocation, and one that relays datagrams.
    allocation = server.allocations.get(five_tuple)
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
    if server.may_reach(peer, Transport.UDP) and allocation.sends(peer, len(data), now):
        server.send_to_peer(allocation, peer, data)


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
