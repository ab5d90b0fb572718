"""Reservations: a port held back for whoever shows the token (RFC 8656, section 7.2).

Theory of operation. RTP and RTCP want neighbouring ports, from two 5-tuples. The first
Allocate gets an even port, with the next one held back, and a RESERVATION-TOKEN; the second
Allocate shows the token within 30 s and gets that port.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from napt_lab.servers.turn.deadlines import Deadlines

if TYPE_CHECKING:
    from napt_lab.servers.turn.allocation import Relay

LIFETIME = 30.0  # seconds


@dataclass(slots=True, eq=False)
class Reservation:
    token: bytes
    relay: Relay
    username: str


class Reservations:
    """Ports held back, a bounded number for each user."""

    def __init__(self, rng: random.Random, deadlines: Deadlines[Any], per_user: int) -> None:
        self._random = rng
        self._deadlines = deadlines
        self._per_user = per_user
        self._reservations: dict[bytes, Reservation] = {}

    def __len__(self) -> int:
        return len(self._reservations)

    def __iter__(self) -> Iterator[Reservation]:
        return iter(list(self._reservations.values()))

    def full(self, username: str) -> bool:
        """Whether this user may hold back no more."""
        return sum(each.username == username for each in self) >= self._per_user

    def hold(self, relay: Relay, username: str, now: float) -> Reservation:
        """Hold back an open relayed transport address."""
        reservation = Reservation(self._random.randbytes(8), relay, username)
        self._reservations[reservation.token] = reservation
        self._deadlines.set(reservation, now + LIFETIME)
        return reservation

    def find(self, token: bytes, username: str) -> Reservation | None:
        """The reservation of this token, if it is this user's."""
        reservation = self._reservations.get(token)
        mine = reservation is not None and reservation.username == username
        return reservation if mine else None

    def release(self, reservation: Reservation) -> None:
        """It was claimed, or its time is over."""
        del self._reservations[reservation.token]
        self._deadlines.discard(reservation)
