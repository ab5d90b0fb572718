"""The relay's table of tokens: two parties that show the same token are joined.

Theory of operation
-------------------
A token is 128 to 512 bits, written as hexadecimal digits; `openssl rand -hex 16` makes one. The
first party that shows it waits, the second is joined to it, a third is turned away for as long as
the two are joined. Tokens are not registered beforehand: a party with a wrong token waits, and is
turned away when the waiting time is over.

*Comparing in constant time.* A comparison that stops at the first differing byte tells, by its
duration, how much of a guess was right. Here no token is compared with another. Each is put
through BLAKE2b with a key that this process drew at random, and the table is looked up by the
result. The look-up's duration depends on that result alone; a guess one digit away from a real
token gives an unrelated result, and without the key no guess can be aimed. The token itself is
not kept.

*Guessing* is bounded besides: a malformed, unmet or already taken token counts as a failure, and
an address with too many of them in a minute is refused until the minute is over.

*Places are shared fairly* (`shares`). When all places for waiting parties, or for pairs, are taken,
the address that holds the most gives up the one that it has held longest. A pair counts for the
address of the party that waited.

Pure: no sockets; the time, in seconds, is a parameter.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from collections import Counter
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from napt_lab.servers.shared.shares import NoPlaceError, Shares

Party = TypeVar("Party")

TOKEN_DIGITS = range(32, 129)
TOKEN_LINE_BYTES = TOKEN_DIGITS[-1] + 2
"""The longest line that can hold a token: its digits, CR, LF."""
_TOKEN = re.compile(rb"[0-9A-Fa-f]+")


class RefusedError(Exception):
    """A party is turned away; the text says why."""


class WrongTokenError(RefusedError):
    """It is turned away for its token: that counts as a failure of its address."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Upper bounds, each in all and for one client address; failures are per minute."""

    waiting: int = 200
    waiting_per_address: int = 8
    pairs: int = 200
    pairs_per_address: int = 8
    failures_per_address: int = 20


@dataclass(slots=True, eq=False)
class Meeting(Generic[Party]):
    """One token in use: by one party that waits, or by two that are joined."""

    digest: bytes
    first: Party
    first_address: str
    second: Party | None = None
    second_address: str | None = None

    @property
    def name(self) -> str:
        """What events call it; says nothing about the token."""
        return self.digest[:4].hex()


def parse_token(line: bytes) -> bytes:
    """The token on a line that ends in LF or CR LF. Raises WrongTokenError."""
    digits = line.rstrip(b"\r\n")
    if not _TOKEN.fullmatch(digits):
        raise WrongTokenError("the first line must be a token of hexadecimal digits")
    if len(digits) not in TOKEN_DIGITS or len(digits) % 2:
        fewest, most = TOKEN_DIGITS[0], TOKEN_DIGITS[-1]
        raise WrongTokenError(f"a token has {fewest} to {most} hexadecimal digits, an even number")
    return bytes.fromhex(digits.decode())


class Rendezvous(Generic[Party]):
    """The table of tokens in use."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self._key = secrets.token_bytes(32)
        self._meetings: dict[bytes, Meeting[Party]] = {}
        self._waiting: Shares[Meeting[Party]] = Shares(limits.waiting)
        self._joined: Shares[Meeting[Party]] = Shares(limits.pairs)

    def arrive(
        self, token: bytes, party: Party, address: str
    ) -> tuple[Meeting[Party], Meeting[Party] | None]:
        """Join the party that waits with this token, or wait: then `second` is None.

        Also returns the meeting whose place this one took, if any: it is over, and no longer in
        the table. Raises RefusedError.
        """
        digest = hashlib.blake2b(token, key=self._key, digest_size=32).digest()
        meeting = self._meetings.get(digest)
        if meeting is None:
            self._check_waiting(address)
            meeting = Meeting(digest, party, address)
            loser = self._take(self._waiting, address, meeting, "parties wait")
            self._meetings[digest] = meeting
            return meeting, loser
        if meeting.second is not None:
            raise WrongTokenError("two parties have met with this token already")
        self._check_pairs(address, meeting.first_address)
        loser = self._take(self._joined, meeting.first_address, meeting, "pairs are joined")
        self._waiting.release(meeting)
        meeting.second, meeting.second_address = party, address
        return meeting, loser

    def end(self, meeting: Meeting[Party]) -> None:
        """Remove it: the party that waited has left, or the pair has parted."""
        if self._meetings.get(meeting.digest) is meeting:
            del self._meetings[meeting.digest]
        self._waiting.release(meeting)
        self._joined.release(meeting)

    def __len__(self) -> int:
        return len(self._meetings)

    def _take(
        self, shares: Shares[Meeting[Party]], address: str, meeting: Meeting[Party], what: str
    ) -> Meeting[Party] | None:
        try:
            loser = shares.take(address, meeting)
        except NoPlaceError:
            raise RefusedError(f"{shares.places} {what} already, the limit") from None
        if loser is not None:
            self.end(loser)
        return loser

    def _check_waiting(self, address: str) -> None:
        most = self.limits.waiting_per_address
        if self._waiting.held_by(address) >= most:
            raise RefusedError(f"{most} parties from {address} wait already, the limit")

    def _check_pairs(self, *addresses: str) -> None:
        # A pair behind one NAPT counts once for its address.
        per_address = Counter(
            a for m in self._meetings.values() if m.second is not None
            for a in {m.first_address, m.second_address}
        )  # fmt: skip
        most = self.limits.pairs_per_address
        for address in addresses:
            if per_address[address] >= most:
                raise RefusedError(f"{most} pairs of {address} are joined already, the limit")


@dataclass(slots=True)
class Failures:
    """Failures of each address in the minute that began with its first."""

    per_minute: int
    addresses: int = 10_000
    """How many addresses are remembered; beyond that the oldest entry is forgotten."""
    _counts: dict[str, tuple[float, int]] = field(default_factory=dict)

    def add(self, address: str, now: float) -> None:
        """Count one more failure of `address`."""
        since, count = self._counts.pop(address, (now, 0))
        if now - since >= 60:
            since, count = now, 0
        while len(self._counts) >= self.addresses:
            del self._counts[next(iter(self._counts))]
        self._counts[address] = (since, count + 1)

    def too_many(self, address: str, now: float) -> bool:
        """Whether `address` is refused at present."""
        since, count = self._counts.get(address, (now, 0))
        return now - since < 60 and count >= self.per_minute
