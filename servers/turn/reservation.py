"""Reservations: a port held back for the client that shows the token (RFC 8656, section 7.2).

Theory of operation. RTP and RTCP want neighboring ports, from two 5-tuples. The first Allocate
gets an even port, the next port is held back, and the answer has a RESERVATION-TOKEN. The
second Allocate shows the token within 30 s and gets that port. Ports held back are bounded for
each user and for each client's IP address, so that one host cannot hold back all that a shared
account may have.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from napt_lab.servers.turn.allocation import Relay
from napt_lab.servers.turn.expirations import Expirations
from napt_lab.servers.turn.quota import Limits
from napt_lab.servers.turn.request import Request

LIFETIME = 30.0  # seconds


@dataclass(slots=True, eq=False)
class Reservation:
    """A port held back for the request that brings its token (RFC 8656, section 7.2)."""

    token: bytes
    relay: Relay
    username: str
    client: str


class Reservations:
    """Ports held back, a bounded number for each user and each client's address."""

    def __init__(self, rng: random.Random, expirations: Expirations[Any], limits: Limits) -> None:
        self._random = rng
        self._expirations = expirations
        self._limits = limits
        self._reservations: dict[bytes, Reservation] = {}

    def __len__(self) -> int:
        return len(self._reservations)

    def __iter__(self) -> Iterator[Reservation]:
        return iter(list(self._reservations.values()))

    def full(self, request: Request) -> bool:
        """Whether this user or this client's address may hold back no more."""
        return (
            sum(each.username == request.username for each in self) >= self._limits.user.allocations
            or sum(each.client == request.client for each in self)
            >= self._limits.client.allocations
        )

    def hold(self, relay: Relay, request: Request) -> Reservation:
        """Hold back an open relayed transport address."""
        token = self._random.randbytes(8)
        reservation = Reservation(token, relay, request.username, request.client)
        self._reservations[token] = reservation
        self._expirations.set(reservation, request.now + LIFETIME)
        return reservation

    def find(self, token: bytes, username: str) -> Reservation | None:
        """The reservation of this token, if it is this user's."""
        reservation = self._reservations.get(token)
        mine = reservation is not None and reservation.username == username
        return reservation if mine else None

    def release(self, reservation: Reservation) -> None:
        """It was claimed, or its time is over."""
        del self._reservations[reservation.token]
        self._expirations.discard(reservation)
