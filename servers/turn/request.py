"""A request that passed the common checks, and the responses to it."""

from __future__ import annotations

from dataclasses import dataclass

from napt_lab.servers.stun import attributes as value
from napt_lab.servers.stun.attributes import Address, FiveTuple
from napt_lab.servers.stun.stun_message import Attribute, Attributes, Class, Message, encode
from napt_lab.servers.turn.credentials import Identity
from napt_lab.servers.turn.error_response import Refused


@dataclass(slots=True)
class Request:
    """One request, from whom, and when."""

    five_tuple: FiveTuple
    message: Message
    now: float
    identity: Identity | None

    @property
    def username(self) -> str:
        return self.identity.username if self.identity else ""

    @property
    def client(self) -> str:
        """The client's IP address, as the server sees it."""
        return self.five_tuple.client[0]

    def required(self, attribute: Attribute) -> bytes:
        """The attribute's value. Raises Refused(400) if it is missing."""
        found = self.message.get(attribute)
        if found is None:
            raise Refused(400, f"no {attribute.name.replace('_', '-')}")
        return found

    def number(self, attribute: Attribute, default: int) -> int:
        """A 32-bit attribute, or the default. Raises ValueError if it is malformed."""
        found = self.message.get(attribute)
        return default if found is None else value.decode_number(found)

    def peers(self) -> list[Address]:
        """Every XOR-PEER-ADDRESS. Raises Refused(400) without one, ValueError on a bad one."""
        self.required(Attribute.XOR_PEER_ADDRESS)
        return [
            value.decode_xor_address(each, self.message.transaction_id)
            for each in self.message.get_all(Attribute.XOR_PEER_ADDRESS)
        ]

    def xor(self, address: Address) -> bytes:
        return value.encode_xor_address(address, self.message.transaction_id)

    def success(self, attributes: Attributes) -> bytes:
        """The success response, protected as the request was."""
        return self._response(Class.SUCCESS, attributes)

    def error(self, code: int, attributes: Attributes | None = None) -> bytes:
        """The error response, protected as the request was."""
        error_code = (Attribute.ERROR_CODE, value.encode_error(code))
        return self._response(Class.ERROR, [error_code, *(attributes or [])])

    def _response(self, message_class: Class, attributes: Attributes) -> bytes:
        message = self.message
        response = Message(message.method, message_class, message.transaction_id, attributes)
        integrity = self.identity.integrity if self.identity else None
        return encode(response, integrity=integrity, fingerprint=message.has_fingerprint)
