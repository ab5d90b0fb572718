"""How much we relay, and for whom (RFC 8656, section 21.3: denial of service).

Theory of operation. Every allocation is on two accounts: its user's, and that of the client's
IP address, so that neither one stolen password nor one host can take the whole server. An
account counts allocations (486 beyond the quota) and holds a token bucket of bytes: it fills
at the account's rate, and a datagram that finds it empty is dropped, as on any full link. TCP
data connections are paced by the kernel instead: the rate is divided among them.
"""

from __future__ import annotations

from dataclasses import dataclass

LARGEST_DATAGRAM = 65_535  # bytes


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
