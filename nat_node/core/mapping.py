"""A rule, and the sessions that use it.

What the course calls a *NAPT rule* is a *mapping* in RFC 4787: while it lives, an internal
endpoint is known outside by an external endpoint. *Sessions* use it, one for each remote endpoint
(RFC 2663, section 2.3). Where mapping is address-and-port-dependent, a rule has exactly one
session; where it is endpoint-independent, as many as there are remote endpoints.

A mapping made by a packet lives as long as its sessions. An explicit one lives until it is
removed, or until the lease ends by which a program asked for it (lease.py).
"""

from __future__ import annotations

from collections.abc import Collection

from napt_lab.nat_node.core.behavior import Endpoint
from napt_lab.nat_node.core.lease import Lease
from napt_lab.nat_node.core.packet import ICMP, TCP, UDP
from napt_lab.nat_node.core.tcp_state import TcpState

BY_HAND = "hand"
MADE_BY = {TCP: "TCP SYN", UDP: "UDP datagram", ICMP: "ICMP query"}
"""The kinds of packet that make a rule."""


class Mapping:
    """A rule and its counters. Counters are packets and bytes of IPv4; times are in seconds."""

    __slots__ = (
        "_only", "_several", "bytes_in", "bytes_out", "created", "explicit", "external",
        "first_remote", "internal", "key", "lease", "made_by", "packets_in", "packets_out",
        "protocol", "remote", "serial",
    )  # fmt: skip

    def __init__(
        self,
        serial: int,
        protocol: int,
        internal: Endpoint,
        external: Endpoint,
        remote: Endpoint,
        now: float,
        made_by: str,
        explicit: bool,
    ) -> None:
        self.serial = serial
        self.protocol = protocol
        self.internal = internal
        self.external = external
        self.remote = remote  # as the mapping behavior projects it: blank where it does not count
        self.key = protocol, internal, remote  # in the table
        self.created = now
        self.explicit = explicit
        self.lease: Lease | None = None  # stays when it has ended, as long as the mapping does
        self.made_by = made_by  # the kind of packet, "hand", or the kind of request
        self.first_remote: Endpoint | None = None  # the destination of the packet that made it
        # Most rules never have a second session: a dictionary for each would take 240 bytes.
        self._only: Session | None = None
        self._several: dict[Endpoint, Session] | None = None
        self.packets_out = self.packets_in = self.bytes_out = self.bytes_in = 0

    @property
    def sessions(self) -> Collection[Session]:
        """The sessions that use it, the oldest first."""
        if self._several is None:
            return () if self._only is None else (self._only,)
        return self._several.values()

    def begin(self, session: Session) -> None:
        """Add a session that uses it from now on."""
        if self._several is None:
            if self._only is None:
                self._only = session
                return
            self._several, self._only = {self._only.remote: self._only}, None
        self._several[session.remote] = session

    def end(self, session: Session) -> None:
        """Take out a session that has ended."""
        if self._several is None:
            self._only = None
        else:
            del self._several[session.remote]


class Session:
    """One remote endpoint's use of a mapping.

    `lifetime` is how long the session may be unused now, in seconds. `state` is None except for
    TCP. `look_again_at` belongs to deadlines.py.
    """

    __slots__ = (
        "last_used", "lifetime", "look_again_at", "mapping", "remote", "serial", "state",
    )  # fmt: skip

    def __init__(
        self,
        serial: int,
        mapping: Mapping,
        remote: Endpoint,
        now: float,
        lifetime: float,
        state: TcpState | None = None,
    ) -> None:
        self.serial = serial
        self.mapping = mapping
        self.remote = remote
        self.last_used = now
        self.lifetime = lifetime
        self.state = state
        self.look_again_at: float | None = None

    @property
    def deadline(self) -> float:
        """When the session ends unless it is used before."""
        return self.last_used + self.lifetime
