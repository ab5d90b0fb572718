"""What the state machine wants done: its only output.

Each is performed in the order given, and none is waited for: what comes of an OpenConnection
or a Join is reported to the state machine when it happens.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

from napt_lab.servers.turn.allocation import Allocation, FiveTuple
from napt_lab.servers.turn.attributes import Address
from napt_lab.servers.turn.connection import PeerConnection


@dataclass(frozen=True, slots=True)
class SendToClient:
    five_tuple: FiveTuple
    data: bytes


@dataclass(frozen=True, slots=True)
class SendToPeer:
    allocation: Allocation
    peer: Address
    data: bytes


@dataclass(frozen=True, slots=True)
class OpenConnection:
    """Connect to the peer from the relayed transport address; report by `opened` or `failed`."""

    connection: PeerConnection


@dataclass(frozen=True, slots=True)
class CloseConnection:
    """Close the connection to the peer, and its data connection if there is one."""

    connection: PeerConnection


@dataclass(frozen=True, slots=True)
class Join:
    """This stream is a data connection from now on: pass bytes between it and the peer."""

    five_tuple: FiveTuple
    connection: PeerConnection


@dataclass(frozen=True, slots=True)
class CloseStream:
    five_tuple: FiveTuple


@dataclass(frozen=True, slots=True)
class Event:
    """A line for whoever watches the server."""

    name: str
    fields: dict[str, Any]


Action: TypeAlias = (
    SendToClient | SendToPeer | OpenConnection | CloseConnection | Join | CloseStream | Event
)
