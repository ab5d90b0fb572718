"""A rule, and the sessions that use it.

What the course calls a *NAPT rule* is a *mapping* in RFC 4787: while it lives, an internal
endpoint is known outside by an external endpoint. What uses it are *sessions*: one for each
remote endpoint (RFC 2663, section 2.3). Where mapping is address-and-port-dependent, a rule has
exactly one session; where it is endpoint-independent, as many as there are remote endpoints.

A mapping made by a packet lives as long as its sessions; an explicit one until it is removed, or
until the lease ends that a program got for it (lease.py).
"""

from __future__ import annotations

from math import inf
from typing import Protocol

from napt_lab.nat_node.core.behavior import Endpoint
from napt_lab.nat_node.core.lease import Lease
from napt_lab.nat_node.core.packet import ICMP, TCP, UDP
from napt_lab.nat_node.core.tcp_state import TcpState

NOWHERE = -1
BY_HAND = "hand"
MADE_BY = {TCP: "TCP SYN", UDP: "UDP datagram", ICMP: "ICMP echo request"}
"""The kinds of packet that a rule is made by."""


class Remembers(Protocol):
    """What memory.py does for a session."""

    def touch(self, session: Session) -> None:
        """Write down when it was last used."""


class Mapping:
    """A rule and what has become of it. Counters are packets and bytes of IPv4; times seconds.

    `place` belongs to memory.py.
    """

    __slots__ = (
        "bytes_in", "bytes_out", "created", "explicit", "external_port", "first_remote",
        "internal", "lease", "made_by", "packets_in", "packets_out", "place", "protocol", "remote",
        "serial", "sessions",
    )  # fmt: skip

    def __init__(
        self,
        serial: int,
        protocol: int,
        internal: Endpoint,
        external_port: int,
        remote: Endpoint,
        now: float,
        made_by: str,
        explicit: bool,
    ) -> None:
        self.serial = serial
        self.protocol = protocol
        self.internal = internal
        self.external_port = external_port
        self.remote = remote  # as projected by the mapping behavior: blank where it does not count
        self.created = now
        self.explicit = explicit
        self.lease: Lease | None = None  # stays when it has ended, as long as the mapping does
        self.made_by = made_by  # the kind of packet, "hand", or the kind of request
        self.first_remote: Endpoint | None = None  # whom that packet went to
        self.sessions: dict[Endpoint, Session] = {}
        self.place = NOWHERE
        self.packets_out = self.packets_in = self.bytes_out = self.bytes_in = 0


class Session:
    """One remote endpoint's use of a mapping.

    `lifetime` is how long silence may last now, in seconds; `state` stays None but for TCP.
    `look_again_at` belongs to deadlines.py, `cached` and `slow_packets` to flow_cache.py, `carried`
    to kernel_datapath.py; `place`, `memory` and `remember_at` to memory.py.
    """

    __slots__ = (
        "cached", "carried", "last_used", "lifetime", "look_again_at", "mapping", "memory",
        "place", "remember_at", "remote", "serial", "slow_packets", "state",
    )  # fmt: skip

    def __init__(
        self, serial: int, mapping: Mapping, remote: Endpoint, now: float, lifetime: float
    ) -> None:
        self.serial = serial
        self.mapping = mapping
        self.remote = remote
        self.last_used = now
        self.lifetime = lifetime
        self.state: TcpState | None = None
        self.look_again_at: float | None = None
        self.cached = self.carried = False
        self.slow_packets = 0
        self.place = NOWHERE
        self.memory: Remembers | None = None
        self.remember_at = inf

    def use(self, now: float) -> None:
        """A packet has passed that keeps the session alive."""
        self.last_used = now
        if now >= self.remember_at:
            self.remember()

    def remember(self) -> None:
        """Have it outlive the translator that the session is in use."""
        if self.memory is not None:
            self.memory.touch(self)

    @property
    def deadline(self) -> float:
        """When the session is gone unless it is used before."""
        return self.last_used + self.lifetime
