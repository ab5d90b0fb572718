"""An explicit rule for a time: what an inside host got by asking for it (RFC 6887, RFC 6886).

A rule by hand stays until it is removed. One that a program asked for has a lifetime: then the rule
is no longer explicit, unless the program has renewed it, for which it shows the *nonce* that it
chose. Sessions that use the rule then may finish; no new ones get in.

A lease may have filters (RFC 6887, section 13.3). It then invites only some remote endpoints,
where an explicit rule otherwise invites everyone.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from napt_lab.nat_node.core.behavior import Endpoint, show_address


class Filter(NamedTuple):
    """Remote endpoints that may come in: a network as number and mask; port 0 is any port."""

    network: int
    mask: int
    port: int

    def admits(self, remote: Endpoint) -> bool:
        """Whether this remote endpoint is one of them."""
        address, port = remote
        return address & self.mask == self.network and self.port in (0, port)

    def __str__(self) -> str:
        return f"{show_address(self.network)}/{self.mask.bit_count()}:{self.port or '*'}"


@dataclass(slots=True, eq=False)
class Lease:
    """One host's claim on an explicit rule, until `deadline` (seconds on the translator's clock).

    `serial` and `look_again_at` belong to deadlines.py. The mapping refers to its lease, and not
    the other way round: the translator's objects form no reference cycles.
    """

    serial: int
    protocol: int
    internal: Endpoint
    asked_by: str
    """By which protocol: `PCP` or `NAT-PMP`."""
    nonce: bytes | None
    """What its owner must show to change it; None with NAT-PMP, which has no nonces."""
    lifetime: int
    """Seconds, as granted the last time."""
    deadline: float
    filters: tuple[Filter, ...] = ()
    ended: str | None = None
    """Why the lease is over: expired, deleted, removed."""
    look_again_at: float | None = field(default=None, repr=False)

    def admits(self, remote: Endpoint) -> bool:
        """Whether the rule invites this remote endpoint."""
        return not self.filters or any(entry.admits(remote) for entry in self.filters)

    def remaining(self, now: float) -> int:
        """Whole seconds until it ends, not below 0."""
        return max(0, round(self.deadline - now))
