"""What the state machine wants done: its only output.

Each action is performed in the order given, and none is waited for: the result of an
OpenConnection or a Join is reported to the state machine when it happens.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

from napt_lab.servers.stun.attributes import Address, FiveTuple
from napt_lab.servers.turn.allocation import Allocation, PeerConnection


@dataclass(frozen=True, slots=True)
class SendToClient:
    """Send these bytes to the client."""

    five_tuple: FiveTuple
    data: bytes


@dataclass(frozen=True, slots=True)
class SendToPeer:
    """Send these bytes to the peer from the relayed transport address."""

    allocation: Allocation
    peer: Address
    data: bytes


@dataclass(frozen=True, slots=True)
class Serve:
    """From now on pass on what arrives at the allocation's relayed transport address."""

    allocation: Allocation


@dataclass(frozen=True, slots=True)
class Withdraw:
    """The allocation has ended: pass on nothing more that its client sends."""

    allocation: Allocation


@dataclass(frozen=True, slots=True)
class OpenConnection:
    """Connect to the peer from the relayed transport address; report `opened` or `failed`."""

    connection: PeerConnection


@dataclass(frozen=True, slots=True)
class CloseConnection:
    """Reset the connection to the peer, and its data connection if there is one."""

    connection: PeerConnection


@dataclass(frozen=True, slots=True)
class Join:
    """Make this stream a data connection: from now on pass bytes between it and the peer."""

    five_tuple: FiveTuple
    connection: PeerConnection


@dataclass(frozen=True, slots=True)
class CloseStream:
    """Close the client's TCP connection."""

    five_tuple: FiveTuple


@dataclass(frozen=True, slots=True)
class Event:
    """One line of the server's log."""

    name: str
    fields: dict[str, Any]


Action: TypeAlias = (
    SendToClient
    | SendToPeer
    | Serve
    | Withdraw
    | OpenConnection
    | CloseConnection
    | Join
    | CloseStream
    | Event
)
