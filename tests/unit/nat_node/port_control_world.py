"""A NAPT with port control and a clock of its own; requests are written by the client's codec."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import Any

from napt_lab.nat_node.core.behavior import parse_address
from napt_lab.nat_node.core.settings import LeaseLimits
from napt_lab.nat_node.port_control.server import PortControl
from napt_lab.servers.pcp.messages import PROTOCOLS, in_ipv6
from tests.unit.nat_node.nat_testing import ALICE, Nat, check_table

SUCCESS, UNSUPP_VERSION, NOT_AUTHORIZED, MALFORMED_REQUEST, UNSUPP_OPCODE = range(5)
UNSUPP_OPTION, MALFORMED_OPTION, _, NO_RESOURCES, UNSUPP_PROTOCOL = range(5, 10)
USER_EX_QUOTA, CANNOT_PROVIDE_EXTERNAL, ADDRESS_MISMATCH, EXCESSIVE_REMOTE_PEERS = range(10, 14)
FOREVER = 0xFFFFFFFF
SHORT, LONG = 30, 1800
NONCE, OTHER_NONCE = bytes(range(12)), bytes(range(20, 32))


def option(code: int, data: bytes = b"") -> bytes:
    return struct.pack("!BxH", code, len(data)) + data + bytes(-len(data) % 4)


EXACTLY = option(2)  # PREFER_FAILURE


def address(text: str) -> bytes:
    """An IPv4 address in 16 bytes."""
    return in_ipv6(IPv4Address(text))


def only(remote: str, length: int = 128, port: int = 0) -> bytes:
    """A FILTER option."""
    return option(3, struct.pack("!xBH", length, port) + address(remote))


def map_request(
    port: int,
    lifetime: int = 3600,
    *options: bytes,
    client: str = ALICE,
    nonce: bytes = NONCE,
    protocol: str | int = "tcp",
    wish: int = 0,
    at: str = "0.0.0.0",
) -> bytes:
    number = protocol if isinstance(protocol, int) else PROTOCOLS[protocol]
    return (
        struct.pack("!BBHI16s", 2, 1, 0, lifetime, address(client))
        + struct.pack("!12sB3xHH16s", nonce, number, port, wish, address(at))
        + b"".join(options)
    )


@dataclass(frozen=True)
class Reply:
    """A PCP response to MAP, as it was read; `data` is all of it."""

    result: int
    lifetime: int
    epoch: int
    reserved: bytes
    nonce: bytes
    protocol: int
    internal_port: int
    port: int
    address: bytes
    options: bytes
    data: bytes


def read(data: bytes | None) -> Reply:
    assert data is not None
    assert data[0] == 2
    assert data[1] == 0x81
    assert data[2] == 0
    assert len(data) % 4 == 0
    _, _, _, result, lifetime, epoch, reserved = struct.unpack_from("!BBBBII12s", data)
    nonce, protocol, internal, port, address = struct.unpack_from("!12sB3xHH16s", data, 24)
    return Reply(
        result, lifetime, epoch, reserved, nonce, protocol, internal, port, address,
        options=data[60:], data=data,
    )  # fmt: skip


class Home(Nat):
    """10.0.0.0/24 with a NAPT that listens on port 5351. Start at time 1000, epoch 0."""

    def __init__(self, limits: LeaseLimits | None = None, **settings: Any) -> None:
        super().__init__(**settings)
        self.limits = limits or LeaseLimits()
        self.server = PortControl(self.translator, self.limits, self.now)

    def kill(self) -> None:
        super().kill()
        self.server = PortControl(self.translator, self.limits, self.now)

    def send(self, data: bytes, source: str = ALICE) -> bytes | None:
        answer = self.server.answer(data, parse_address(source), self.now)
        check_table(self.translator)
        return answer

    def ask(self, port: int, lifetime: int = 3600, *options: bytes, **more: Any) -> Reply:
        """The reply to a MAP request from a client; a second passes, for the sake of the limit."""
        self.wait(1)
        return read(
            self.send(map_request(port, lifetime, *options, **more), more.get("client", ALICE))
        )

    def pmp(
        self, operation: int, port: int, wish: int = 0, lifetime: int = 3600, client: str = ALICE
    ) -> tuple[int, ...]:
        """Result, internal port, external port and lifetime of a NAT-PMP response."""
        self.wait(1)
        answer = self.send(struct.pack("!BBHHHI", 0, operation, 0, port, wish, lifetime), client)
        assert answer is not None
        version, code, result, _, *fields = struct.unpack("!BBHIHHI", answer)
        assert (version, code) == (0, 128 + operation)
        return (result, *fields)

    def wait(self, seconds: float) -> None:
        until = self.now + seconds
        while True:
            deadline = self.server.next_deadline()
            if deadline is None or deadline > until:
                break
            super().wait(max(0.0, deadline - self.now))
            self.server.expire(self.now)
            self.server.announcements(self.now)
            check_table(self.translator)
        super().wait(until - self.now)

    def listed(self) -> Sequence[tuple[str, int, int]]:
        """Made by, internal port and external port of each rule."""
        return [(rule.made_by, rule.internal[1], rule.external[1]) for rule in self.rules]
