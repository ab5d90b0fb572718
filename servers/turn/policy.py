"""Which peers are relayed to (RFC 8656, sections 21.2.1 and 21.4).

Theory of operation. A relayed packet leaves from the server's own address, inside the
server's own network. Without a policy a client could reach the server's loopback, its private
neighbors, or all hosts at once by broadcast. An address that is not a unicast address of the
public Internet is refused unless the operator allows it (`--allow-peer`).

The server's own addresses are refused too, with one exception: the relayed transport
addresses of living allocations, so that two clients of the same server can meet.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network

from napt_lab.servers.shared.special_addresses import NOT_PUBLIC


class PeerPolicy:
    """Which IP addresses may be peers."""

    def __init__(
        self,
        relay: str,
        is_own: Callable[[IPv4Address], bool],
        allowed: Iterable[IPv4Network] = (),
    ) -> None:
        """Make a policy for allocations on the address `relay`.

        `is_own`: whether an address is the server's; `allowed`: networks that the operator permits
        in spite of that.
        """
        self._relay = relay
        self._is_own = is_own
        self._allowed = tuple(allowed)
        # Bounded, because a client may name any number of addresses.
        self.permits = lru_cache(maxsize=4096)(self._permits)
        """Whether permissions may be installed for this IPv4 address."""

    def needs_allocation(self, address: str) -> bool:
        """Whether at this address only living relayed transport addresses may be peers."""
        return address == self._relay and not self._is_allowed(address)

    def _permits(self, address: str) -> bool:
        if self._is_allowed(address):
            return True
        if any(IPv4Address(address) in network for network in NOT_PUBLIC):
            return False
        return address == self._relay or not self._is_own(IPv4Address(address))

    def _is_allowed(self, address: str) -> bool:
        return any(IPv4Address(address) in network for network in self._allowed)
