"""How much we relay, and for whom (RFC 8656, section 21.3: denial of service).

Theory of operation. Every allocation is on two accounts: its user's, and that of the client's
IP address, so that neither one stolen password nor one host can take the whole server. An
account counts allocations (486 beyond the quota) and holds a token bucket of bytes: it fills
at the account's rate, and what finds it empty is dropped, as on any full link. TCP data
connections are paced by the kernel instead, which divides the rate among them.

`ReplyBudget` bounds what the server sends to addresses that may be forged. The smallest
Allocate request has 28 bytes, and no challenge (401) with a realm and a nonce fits into that; a
Binding request has 20, and its answer 32. A server which always answers is an amplifier; one
which never sends more than it got does not serve a client that asks once. Here a request earns
its bytes, a reply costs its bytes, and what cannot be paid is not sent. An address that has
proved nothing has one challenge on credit, given back at 32 bytes/s. So for every address, over
any time,

    bytes sent <= bytes received + one challenge + 32 bytes/s + 1,024 bytes a proof

where a proof is an authenticated request: its nonce had arrived at the address. Without proofs
that is an excess of one challenge for a victim, and of 32 bytes/s from then on. A client whose
challenge was lost gets another at its second retransmission; many behind one NAT start with
the first one's proof. The budget is a fixed array, indexed by a keyed hash of the address: a
flood cannot make it grow, and all victims together get no more than 4,096 times the excess.
Addresses that share a place share its credit. Answers over TCP, whose handshake proved the
address, and to authenticated requests are not charged.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass

from napt_lab.servers.turn.allocation import FiveTuple

MAX_STREAMS = 1024
MAX_STREAMS_PER_CLIENT = 64

REPLY_REFILL = 32.0  # bytes/s
REPLY_PROOF = 1024.0  # bytes that an authenticated request earns
REPLY_CREDIT = 4096.0  # bytes at most, earned and not spent
REPLY_SLOTS = 4096


@dataclass(frozen=True, slots=True)
class Quota:
    """Limits of one account: how many allocations, and bytes/s relayed (0: unlimited)."""

    allocations: int
    bandwidth: int = 0


@dataclass(frozen=True, slots=True)
class Limits:
    """What one user, and one client's IP address, may have."""

    user: Quota
    client: Quota


LARGEST_DATAGRAM = 65_535  # bytes


class Budget:
    """A token bucket of bytes that holds one second of its rate, or one datagram if more."""

    __slots__ = ("_filled_at", "_rate", "_size", "_tokens")

    def __init__(self, rate: float, now: float) -> None:
        """`rate` in bytes/s."""
        self._rate = rate
        self._size = self._tokens = max(rate, LARGEST_DATAGRAM)
        self._filled_at = now

    def spend(self, size: int, now: float) -> bool:
        """Take `size` bytes, or False: not enough is left."""
        if self._tokens < size:
            filled = self._tokens + (now - self._filled_at) * self._rate
            self._tokens = min(self._size, filled)
            self._filled_at = now
            if self._tokens < size:
                return False
        self._tokens -= size
        return True


class Account:
    """What one user, or one client IP address, has in use."""

    __slots__ = ("allocations", "budget")

    def __init__(self, quota: Quota, now: float) -> None:
        self.allocations = 0
        self.budget = Budget(quota.bandwidth, now) if quota.bandwidth else None


class Accounts:
    """Accounts by name; only those with allocations exist, so their number is bounded too."""

    def __init__(self, quota: Quota) -> None:
        self._quota = quota
        self._accounts: dict[str, Account] = {}

    def full(self, name: str) -> bool:
        """Whether another allocation must be refused."""
        account = self._accounts.get(name)
        return account is not None and account.allocations >= self._quota.allocations

    def open(self, name: str, now: float) -> Budget | None:
        """Count an allocation more; return the budget to charge, if there is a limit."""
        account = self._accounts.get(name)
        if account is None:
            account = self._accounts[name] = Account(self._quota, now)
        account.allocations += 1
        return account.budget

    def close(self, name: str) -> None:
        """Count an allocation less."""
        account = self._accounts[name]
        account.allocations -= 1
        if not account.allocations:
            del self._accounts[name]


class Streams:
    """TCP connections from clients: what strangers can make us hold, so it is bounded."""

    def __init__(self) -> None:
        self._five_tuples: set[FiveTuple] = set()
        self._per_client: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self._five_tuples)

    def __contains__(self, five_tuple: FiveTuple) -> bool:
        return five_tuple in self._five_tuples

    def add(self, five_tuple: FiveTuple) -> bool:
        """Count a connection more, or False: there are too many."""
        client = five_tuple.client[0]
        if len(self) >= MAX_STREAMS or self._per_client[client] >= MAX_STREAMS_PER_CLIENT:
            return False
        self._five_tuples.add(five_tuple)
        self._per_client[client] += 1
        return True

    def remove(self, five_tuple: FiveTuple) -> None:
        """Count a connection less."""
        self._five_tuples.remove(five_tuple)
        client = five_tuple.client[0]
        self._per_client[client] -= 1
        if not self._per_client[client]:
            del self._per_client[client]


class ReplyBudget:
    """Bytes that may be sent to addresses which have not proved to be real."""

    def __init__(self, secret: bytes, first: int) -> None:
        """`first`: bytes that an address has on credit from the beginning."""
        self._secret = secret
        self._first = float(first)
        self._credit = [self._first] * REPLY_SLOTS
        self._filled_at = [0.0] * REPLY_SLOTS

    def allows(self, client: str, request: int, reply: int, now: float) -> bool:
        """Earn the request's bytes, and spend the reply's if there is enough."""
        slot = self._slot(client)
        credit = self._credit[slot]
        # Time gives back the first credit, and nothing on top of it.
        if credit < self._first:
            refilled = credit + (now - self._filled_at[slot]) * REPLY_REFILL
            credit = min(self._first, refilled)
        self._filled_at[slot] = now
        credit = min(REPLY_CREDIT, credit + request)
        granted = credit >= reply
        self._credit[slot] = credit - reply if granted else credit
        return granted

    def proved(self, client: str) -> None:
        """The address is real: a request from it had a nonce that was sent there."""
        slot = self._slot(client)
        self._credit[slot] = min(REPLY_CREDIT, self._credit[slot] + REPLY_PROOF)

    def _slot(self, client: str) -> int:
        digest = hashlib.blake2b(client.encode(), digest_size=4, key=self._secret).digest()
        return int.from_bytes(digest) % REPLY_SLOTS
