"""A request on its way to the module that does what it asks for."""

from __future__ import annotations

from dataclasses import dataclass

from napt_lab.servers.turn import attributes as value
from napt_lab.servers.turn.allocation import FiveTuple
from napt_lab.servers.turn.attributes import Address
from napt_lab.servers.turn.credentials import Identity
from napt_lab.servers.turn.refusal import Refused
from napt_lab.servers.turn.stun import Attribute, Message


@dataclass(slots=True)
class Request:
    """A request that passed the checks common to all."""

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
            raise Refused(400)
        return found

    def number(self, attribute: Attribute, default: int) -> int:
        """A 32-bit attribute, or the default. Raises ValueError if it is malformed."""
        found = self.message.get(attribute)
        return default if found is None else value.decode_number(found)

    def addresses(self, attribute: Attribute) -> list[Address]:
        """Every address of this type. Raises ValueError if one is malformed."""
        return [
            value.decode_xor_address(each, self.message.transaction_id)
            for each in self.message.get_all(attribute)
        ]

    def xor(self, address: Address) -> bytes:
        return value.encode_xor_address(address, self.message.transaction_id)
