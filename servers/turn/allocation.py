"""Allocations: a relayed transport address that a client has for a time (RFC 8656, section 3).

Theory of operation. An Allocate request opens a relayed transport address and ties it to the
5-tuple over which it came, for 600 s unless refreshed. Everything else that a client has hangs
on its allocation and ends with it:

- *permissions*: the IP addresses of peers whose packets are relayed (section 9);
- *channels*: a number that stands for one peer in four bytes, where an indication needs 36
  (section 12);
- *connections* to peers, of a TCP allocation (RFC 6062).

This is the model: tables and the checks that need no other table. `unwrap` and `admits` run
once for each packet of channel data: they look up, count, and build nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import Protocol

from napt_lab.servers.shared.shares import Shares
from napt_lab.servers.stun.attributes import Address, FiveTuple, Transport
from napt_lab.servers.stun.stun_message import Attributes
from napt_lab.servers.turn.framing import CHANNEL_HEADER_LENGTH
from napt_lab.servers.turn.quota import Budget
from napt_lab.servers.turn.request import Request

MAX_WAITING = 32  # connections of peers, per allocation, that wait for a ConnectionBind


class Relay(Protocol):
    """An open relayed transport address."""

    address: Address

    def close(self) -> None: ...


class RelayPorts(Protocol):
    """Opens relayed transport addresses: sockets in the server, a table in the tests."""

    address: str
    """The IP address of all of them."""

    def open(self, transport: Transport, port: int) -> Relay | None:
        """None if this port cannot be opened. The caller holds no TCP port of this number."""


@dataclass(slots=True)
class Traffic:
    """What an allocation relayed."""

    bytes_to_peers: int = 0
    bytes_from_peers: int = 0
    packets_to_peers: int = 0
    packets_from_peers: int = 0
    packets_refused: int = 0
    """From peers without a permission."""
    packets_dropped: int = 0
    """Beyond the bandwidth, or not taken by the kernel."""


@dataclass(slots=True, eq=False)
class Allocation:
    """A client's allocation: its relayed transport address and what belongs to it (RFC 8656)."""

    five_tuple: FiveTuple
    username: str
    transport: Transport
    relay: Relay
    transaction_id: bytes
    answer: Attributes = field(default_factory=list)
    """The success response's attributes, for a retransmitted request."""
    budgets: tuple[Budget, ...] = ()
    """The user's and the client address's, where their bandwidth is limited."""
    permissions: set[str] = field(default_factory=set)
    channels: dict[int, Channel] = field(default_factory=dict)
    channels_by_peer: dict[Address, Channel] = field(default_factory=dict)
    channels_here: set[Channel] = field(default_factory=set)
    """Channels of all allocations whose peer is this one's relayed transport address."""
    connections: dict[int, PeerConnection] = field(default_factory=dict)
    waiting: Shares[PeerConnection] = field(default_factory=lambda: Shares(MAX_WAITING))
    """Of these, the peers' own that no data connection has joined; by the peer's IP address."""
    traffic: Traffic = field(default_factory=Traffic)
    ended: str = ""
    """The reason, once the allocation has ended."""

    def unwrap(
        self, message: bytes | bytearray | memoryview, size: int, now: float
    ) -> tuple[Address, int] | None:
        """Check ChannelData from the client (section 12.6): the peer, and where its data ends.

        The data begins after the channel's header. None: the message must be discarded.
        """
        channel = self.channels.get(message[0] << 8 | message[1])
        length = message[2] << 8 | message[3]
        end = CHANNEL_HEADER_LENGTH + length
        if channel is None or end > size or channel.peer[0] not in self.permissions:
            return None
        if self.budgets and not self._spend(length, now):
            return None
        self.traffic.bytes_to_peers += length
        self.traffic.packets_to_peers += 1
        return channel.peer, end

    def admits(self, peer: Address, size: int, now: float) -> bool:
        """Whether a datagram of `size` bytes from this peer may go to the client (section 11.3)."""
        if peer[0] not in self.permissions:
            self.traffic.packets_refused += 1
            return False
        if self.budgets and not self._spend(size, now):
            return False
        self.traffic.bytes_from_peers += size
        self.traffic.packets_from_peers += 1
        return True

    def sends(self, peer: Address, size: int, now: float) -> bool:
        """Whether a Send indication's data may go to this peer (section 11.2)."""
        if peer[0] not in self.permissions or (self.budgets and not self._spend(size, now)):
            return False
        self.traffic.bytes_to_peers += size
        self.traffic.packets_to_peers += 1
        return True

    def _spend(self, size: int, now: float) -> bool:
        for budget in self.budgets:
            if not budget.spend(size, now):
                self.traffic.packets_dropped += 1
                return False
        return True


@dataclass(frozen=True, slots=True)
class Permission:
    """One entry of `Allocation.permissions`, by which its expiration is kept."""

    allocation: Allocation
    address: str


@dataclass(slots=True, eq=False)
class Channel:
    """A number bound to a peer (section 12); one to one within the allocation."""

    allocation: Allocation
    number: int
    peer: Address
    ends_with: Allocation | None
    """The allocation at the peer's address, if only that makes it a permitted peer."""

    def bind(self) -> None:
        """Enter the channel into the tables."""
        self.allocation.channels[self.number] = self
        self.allocation.channels_by_peer[self.peer] = self
        if self.ends_with is not None:
            self.ends_with.channels_here.add(self)

    def unbind(self) -> None:
        """Remove the channel from the tables; its peer's permission goes on by itself."""
        del self.allocation.channels[self.number]
        del self.allocation.channels_by_peer[self.peer]
        if self.ends_with is not None:
            self.ends_with.channels_here.remove(self)


class State(Enum):
    """How far a connection to a peer has come (RFC 6062)."""

    CONNECTING = "connecting"  # the peer has not answered our SYN
    PENDING = "pending"  # the client has not sent its ConnectionBind
    ACTIVE = "active"  # bytes flow


@dataclass(slots=True, eq=False)
class PeerConnection:
    """A TCP connection between a relayed transport address and a peer (RFC 6062)."""

    id: int
    allocation: Allocation
    peer: Address
    state: State
    request: Request | None = None
    """The Connect request that is yet to be answered."""
