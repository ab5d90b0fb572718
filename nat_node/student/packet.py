"""A packet as a student's translator sees it: who sent it to whom, as text, and to be rewritten.

Writing `source` or `destination` writes the address and the port, and carries the difference
into every checksum over them (RFC 1624), which is what `nat_node.core.packet.Packet` does below.
To do all of that yourself, write into `data`, the packet's bytes from the IPv4 header on.

A ping has no ports. Its identifier takes their place, on the side of the host that asks (RFC
3022, section 2.2; RFC 5508, section 3.1), so that the same lines translate pings as well:

    echo request   10.0.0.7:4711 -> 151.101.1.69:0
    echo reply     151.101.1.69:0 -> 10.0.0.7:4711
"""

from __future__ import annotations

from functools import lru_cache
from struct import Struct
from typing import NamedTuple

from napt_lab.nat_node.core import events, icmp, icmp_errors, packet
from napt_lab.nat_node.core.behavior import parse_address, show_address
from napt_lab.nat_node.core.packet import (
    ECHO_REPLY,
    ECHO_REQUEST,
    ICMP,
    ICMP_ERRORS,
    PROTOCOL_NAMES,
    TCP,
)
from napt_lab.nat_node.core.packet import Packet as RawPacket

_FIN, _SYN, _RST, _ACK = 1, 2, 4, 16
_ADDRESSES, _PORTS = Struct("!II"), Struct("!HH")

#: Numbers as text and back; the same few addresses come again and again.
show = lru_cache(maxsize=4096)(show_address)
number = lru_cache(maxsize=4096)(parse_address)


class Endpoint(NamedTuple):
    """An address as text and a port: `("10.0.0.7", 40000)` is equal to it."""

    address: str
    port: int

    def __str__(self) -> str:
        return f"{self.address}:{self.port}"


class Refusal(NamedTuple):
    """A drop of which the sender is told: the reason, and the ICMP error for him."""

    reason: str
    error: RawPacket | None


class Packet:
    """One packet. What is not a property of its kind is False, 0 or None."""

    __slots__ = ("_error", "_internal", "raw")

    def __init__(self, raw: RawPacket, internal: int, error: RawPacket | None = None) -> None:
        """`internal`: the NAPT's inside address. `error`: the ICMP error that quotes this."""
        self.raw = raw
        self._internal = internal
        self._error = error

    @property
    def data(self) -> bytearray | memoryview:
        """Its bytes, to be read, written into or assigned. Checksums are up to you then."""
        return self.raw.data

    @data.setter
    def data(self, data: bytes) -> None:
        self.raw.data[:] = data

    @property
    def side(self) -> str:
        """Where it came from: `inside` or `outside`."""
        return self.raw.side.value

    @property
    def protocol(self) -> str:
        """`tcp`, `udp`, `icmp`, or another protocol's number as text."""
        return PROTOCOL_NAMES.get(self.raw.protocol, str(self.raw.protocol))

    # -- who and whom -------------------------------------------------------------------------

    @property
    def source(self) -> Endpoint:
        """Who sent it. Assign an endpoint to rewrite it."""
        raw = self._read()
        port = raw.icmp_identifier if self.is_ping else raw.source_port
        return Endpoint(show(raw.source), port)

    @source.setter
    def source(self, endpoint: tuple[str, int]) -> None:
        address, port = _checked(endpoint)
        self._read().rewrite_source((address, port))
        if self.is_ping:
            self.raw.rewrite_identifier(port)
        self._carry_on()

    @property
    def destination(self) -> Endpoint:
        """Whom it is for. Assign an endpoint to rewrite it."""
        raw = self._read()
        port = raw.icmp_identifier if self.is_reply else raw.destination_port
        return Endpoint(show(raw.destination), port)

    @destination.setter
    def destination(self, endpoint: tuple[str, int]) -> None:
        address, port = _checked(endpoint)
        self._read().rewrite_destination((address, port))
        if self.is_reply:
            self.raw.rewrite_identifier(port)
        self._carry_on()

    def _read(self) -> RawPacket:
        """The packet, with its endpoints as they stand in its bytes now."""
        raw, data = self.raw, self.raw.data
        if len(data) >= raw.header_length + 4:  # else it has been cut, and is told as bad
            raw.source, raw.destination = _ADDRESSES.unpack_from(data, 12)
            if raw.source_port:  # it has ports
                raw.source_port, raw.destination_port = _PORTS.unpack_from(data, raw.header_length)
        return raw

    def _carry_on(self) -> None:
        """An ICMP error's checksum covers what it quotes."""
        if self._error is not None:
            self._error.refresh_icmp_checksum()

    # -- what kind ----------------------------------------------------------------------------

    @property
    def syn(self) -> bool:
        """TCP: this side opens (alone: the first packet of a connection)."""
        return self._has(_SYN)

    @property
    def ack(self) -> bool:
        """TCP: this side acknowledges what it has received."""
        return self._has(_ACK)

    @property
    def fin(self) -> bool:
        """TCP: this side has nothing more to send."""
        return self._has(_FIN)

    @property
    def rst(self) -> bool:
        """TCP: the connection is broken off."""
        return self._has(_RST)

    def _has(self, flag: int) -> bool:
        raw = self.raw
        known = raw.protocol == TCP and not raw.is_later_fragment and not raw.quoted
        return known and bool(raw.tcp_flags & flag)

    @property
    def is_ping(self) -> bool:
        """ICMP echo request."""
        return self._icmp_type() == ECHO_REQUEST

    @property
    def is_reply(self) -> bool:
        """ICMP echo reply."""
        return self._icmp_type() == ECHO_REPLY

    @property
    def is_error(self) -> bool:
        """ICMP: somebody could not deliver a packet, and quotes its beginning."""
        return self._icmp_type() in ICMP_ERRORS

    @property
    def is_fragment(self) -> bool:
        """A piece of a packet; only the first piece has ports (0 in all others)."""
        return self.raw.is_fragment

    def _icmp_type(self) -> int | None:
        raw = self.raw
        return raw.icmp_type if raw.protocol == ICMP and not raw.is_later_fragment else None

    @property
    def quoted(self) -> Packet | None:
        """The packet that an ICMP error quotes, as it was where the error was made.

        Rewriting it rewrites the quotation. None if this is no error, or quotes nothing usable.
        """
        if not self.is_error or self.raw.is_fragment:
            return None
        try:
            return Packet(icmp_errors.quotation(self.raw), self._internal, self.raw)
        except packet.Malformed:
            return None

    def refused(self, reason: str) -> Refusal:
        """Return this to drop the packet and tell its sender inside (RFC 5508, REQ-8)."""
        told = icmp.may_be_told(self.raw)
        return Refusal(
            reason, icmp.unreachable(self.raw, icmp.PROHIBITED, self._internal) if told else None
        )

    def __str__(self) -> str:
        return events.describe(self.raw)


def _checked(endpoint: tuple[str, int]) -> tuple[int, int]:
    """An endpoint as numbers; what is wrong with it in words."""
    try:
        address, port = endpoint
    except (TypeError, ValueError):
        raise TypeError(
            f"an endpoint is (address, port), such as ('24.9.3.7', 1025), not {endpoint!r}"
        ) from None
    if not isinstance(address, str):
        raise TypeError(f"an address is text, such as '24.9.3.7', not {address!r}")
    if not isinstance(port, int) or not 0 <= port <= 65535:
        raise ValueError(f"a port is a number from 0 to 65535, not {port!r}")
    return number(address), port
