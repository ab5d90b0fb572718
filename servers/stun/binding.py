"""What a STUN server answers, and from which of its endpoints (RFC 8489, section 12; RFC 5780).

Theory of operation. The answer to "which endpoint do I have?" is in XOR-MAPPED-ADDRESS. A server
with two addresses A and B serves on two ports of each:

                     port 3478     port 3479
    address A          A:3478        A:3479
    address B          B:3478        B:3479

It says in RESPONSE-ORIGIN from which of these endpoints it answers, and in OTHER-ADDRESS which of
them has the other address *and* the other port. With CHANGE-REQUEST a client chooses that the
answer comes from the other address, the other port, or both; with RESPONSE-PORT, that it goes to
another of the client's ports; with PADDING, that it is as long as the request, so that both are
sent in fragments.

An answer has up to four addresses, which makes it 48 bytes longer than its request; and the
request's source may be forged. So each address has a budget (reply_budget.py).
"""

from __future__ import annotations

from collections.abc import Sequence, Set

from napt_lab.servers.stun import attributes as value
from napt_lab.servers.stun.attributes import Address
from napt_lab.servers.stun.reply_budget import REPLY_CREDIT, ReplyBudget
from napt_lab.servers.stun.stun_message import (
    DISCOVERY_ATTRIBUTES,
    STUN_ATTRIBUTES,
    Attribute,
    Attributes,
    Class,
    Malformed,
    Message,
    Method,
    decode,
    encode,
)

CHANGE_ADDRESS, CHANGE_PORT = 0x04, 0x02  # the flags in CHANGE-REQUEST
REFILL = 2048.0  # bytes/s: some forty answers a second to the hosts behind one address


class BindingServer:
    """Answers Binding requests. It remembers nothing of a client but the budget of its address."""

    def __init__(
        self, endpoints: Sequence[Address], secret: bytes, always: Address | None = None
    ) -> None:
        """`endpoints`: A:3478, or with a second address A:3478, A:3479, B:3478, B:3479.

        `secret`: random bytes. `always`: an endpoint that every client is told, untruly.
        """
        self._endpoints = endpoints
        self._always = always
        self._replies = ReplyBudget(secret, first=REPLY_CREDIT, refill=REFILL)

    def answer_datagram(
        self, data: bytes, client: Address, here: Address, now: float
    ) -> tuple[bytes, Address, Address] | None:
        """The answer to a datagram that arrived `here`, from which endpoint it goes to which.

        None if it is not a Binding request, or the client's address has no budget left.
        """
        request = _binding_request(data)
        if request is None:
            return None
        origin, goal, response = here, client, b""
        if len(self._endpoints) > 1:
            try:
                origin = self._changed(here, _word(request, Attribute.CHANGE_REQUEST))
                if Attribute.RESPONSE_PORT in request:
                    goal = client[0], _word(request, Attribute.RESPONSE_PORT) >> 16
                    if Attribute.PADDING in request:
                        raise ValueError("fragments for a port that may not have asked")
            except ValueError:
                response = _error(request, 400)
            understood = STUN_ATTRIBUTES | DISCOVERY_ATTRIBUTES
        else:
            understood = STUN_ATTRIBUTES
        response = response or self._answer(request, client, origin, understood)
        if self._replies.allows(client[0], len(data), len(response), now):
            return response, origin, goal
        return None

    def answer_stream(self, data: bytes, client: Address, here: Address) -> bytes | None:
        """The same over TCP, where the answer goes back on the connection; the source is real."""
        request = _binding_request(data)
        return None if request is None else self._answer(request, client, here, STUN_ATTRIBUTES)

    def _answer(
        self, request: Message, client: Address, origin: Address, understood: Set[int]
    ) -> bytes:
        if unknown := request.not_understood(understood):
            return _error(request, 420, (Attribute.UNKNOWN_ATTRIBUTES, value.encode_types(unknown)))
        told = self._always or client
        attributes: Attributes = [
            (Attribute.XOR_MAPPED_ADDRESS, value.encode_xor_address(told, request.transaction_id)),
            # RFC 5780, section 6.1: for clients of RFC 3489.
            (Attribute.MAPPED_ADDRESS, value.encode_address(told)),
            (Attribute.RESPONSE_ORIGIN, value.encode_address(origin)),
        ]
        other = self._changed(origin, CHANGE_ADDRESS | CHANGE_PORT)
        if other != origin:
            attributes.append((Attribute.OTHER_ADDRESS, value.encode_address(other)))
        if (padding := request.get(Attribute.PADDING)) is not None:
            attributes.append((Attribute.PADDING, bytes(len(padding))))
        return _response(request, Class.SUCCESS, attributes)

    def _changed(self, here: Address, flags: int) -> Address:
        """The endpoint with the other address or port, as the flags want it."""
        address, port = here
        for other_address, other_port in self._endpoints:
            if (other_address != address) == bool(flags & CHANGE_ADDRESS) and (
                other_port != port
            ) == bool(flags & CHANGE_PORT):
                return other_address, other_port
        return here


def _binding_request(data: bytes) -> Message | None:
    try:
        message = decode(data)
    except Malformed:
        return None
    is_request = (message.method, message.message_class) == (Method.BINDING, Class.REQUEST)
    return message if is_request else None


def _word(request: Message, attribute: Attribute) -> int:
    """An attribute of 32 bits, 0 if it is not there. Raises ValueError if it is malformed."""
    found = request.get(attribute)
    return 0 if found is None else value.decode_number(found)


def _error(request: Message, code: int, *more: tuple[int, bytes]) -> bytes:
    error_code = (Attribute.ERROR_CODE, value.encode_error(code))
    return _response(request, Class.ERROR, [error_code, *more])


def _response(request: Message, message_class: Class, attributes: Attributes) -> bytes:
    response = Message(request.method, message_class, request.transaction_id, attributes)
    return encode(response, fingerprint=request.has_fingerprint)
