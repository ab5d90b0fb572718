"""Fair shares of a bounded number of places: one address cannot keep all others out.

Theory of operation
-------------------
Connections, uploads and waiting parties are places that a server has only so many of. While some
are free, each goes to the client that asks first. When all are taken, an address that asks gets
one from the address that holds the most, as long as it then holds no more than that one (max-min
fairness). So a client that fills a server alone loses a place to each newcomer, and a newcomer is
turned away only when every other address holds about as little as it would, and uses it: of holders
that are not busy, the oldest gives way also to an address that holds but one less.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

Holder = TypeVar("Holder")


class NoPlaceError(Exception):
    """All places are taken, and no address holds more than its share; the text says how many."""


class Shares(Generic[Holder]):
    """Who holds the places, by address."""

    def __init__(self, places: int) -> None:
        self.places = places
        self._held: dict[str, dict[Holder, None]] = {}  # in the order in which they were taken
        self._address_of: dict[Holder, str] = {}

    def __len__(self) -> int:
        return len(self._address_of)

    def __contains__(self, holder: Holder) -> bool:
        return holder in self._address_of

    def held_by(self, address: str) -> int:
        """How many places `address` holds."""
        return len(self._held.get(address, ()))

    def who_gives_way(self, address: str, most: int) -> Holder | None:
        """The holder that must go before `address` takes a place at once; None if there is room.

        For holders that have done nothing yet, and can come again: the newcomer always gets in.
        An address that holds `most` loses its own longest idle holder; if all places are taken,
        the address that holds the most does.
        """
        held = self._held.get(address, {})
        if len(held) < most:
            if len(self) < self.places:
                return None
            held = max(self._held.values(), key=len)
        return next(iter(held))

    def touch(self, holder: Holder) -> None:
        """The holder, if it has a place, is not idle."""
        if (address := self._address_of.get(holder)) is not None:
            del self._held[address][holder]
            self._held[address][holder] = None

    def take(
        self, address: str, holder: Holder, busy: Callable[[Holder], bool] = lambda _: True
    ) -> Holder | None:
        """Give `holder` a place of `address`; returns the holder that lost its place for it.

        That is the oldest one of the addresses that hold the most, if possible one that is not
        busy. None if there was a free place. Raises NoPlaceError.
        """
        loser = None
        if len(self) >= self.places:
            most = max(map(len, self._held.values()), default=0)
            holders = (each for each, of in self._address_of.items() if self.held_by(of) == most)
            loser = min(holders, key=busy, default=None)
            more = most - self.held_by(address)
            if loser is None or more < 1 or (more == 1 and busy(loser)):
                raise NoPlaceError(f"all {self.places} places are taken")
            self.release(loser)
        self._held.setdefault(address, {})[holder] = None
        self._address_of[holder] = address
        return loser

    def release(self, holder: Holder) -> None:
        """Free its place, if it still holds one."""
        if (address := self._address_of.pop(holder, None)) is not None:
            del self._held[address][holder]
            if not self._held[address]:
                del self._held[address]
