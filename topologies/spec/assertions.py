"""What a topology is expected to do (`expect:` in its file), as data.

Each kind of sentence has a class; expectations.py makes them from text, labs/check/ finds out
whether they hold. Node names are those of the topology, addresses are IPv4.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from ipaddress import IPv4Address

from napt_lab.topologies.spec.model import Behavior, Service


class Protocol(StrEnum):
    """How one node tries to reach another."""

    TCP = "tcp"
    UDP = "udp"
    PING = "ping"  # an ICMP echo (RFC 792)
    HTTP = "http"


class Via(StrEnum):
    """What becomes of a packet, or of what it carries, between the two ends."""

    DIRECT = "direct"  # it arrives at the address that was dialed
    FORWARDED = "forwarded"  # a NAPT on the way rewrote that address
    HAIRPINNED = "hairpinned"  # a NAPT rewrote it and sent it back to the side it came from
    PROXIED = "proxied"  # somebody in between ended the connection and made another
    RELAYED = "relayed"  # both ends dialed somebody in between, who passes on what they say


#: Why a packet got no further: what the wires show, whoever is in between.
SEEN_REASONS = (
    "no-route",  # a router says so (ICMP destination unreachable: net or host)
    "prohibited",  # somebody says so (ICMP destination unreachable: prohibited)
    "refused",  # nobody listens: TCP RST, or ICMP port unreachable
    "no-neighbor",  # its address was asked for (ARP), and nobody answered
    "not-forwarded",  # it came to a node that neither passed it on nor said anything
    "no-answer",  # it arrived, and no answer came back
)
#: … and what the Python translator says of packets that it drops (nat_node/core/verdict.py).
DROP_REASONS = (
    "no-rule", "filtered", "unanswered", "not-for-us", "private-destination", "ports-exhausted",
    "host-limit", "hairpinning-off", "no-connection", "spoofed-source", "table-full",
    "session-clash", "icmp-unrelated", "icmp-unsupported", "bad-checksum", "unsupported-protocol",
    "malformed", "fragment-lost", "fragments-full", "source-routed", "refused-by-kernel",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Target:
    """Who is to be reached, and where: `address` and `port` are what is dialed.

    `node` is the host whose service it is, on its own `service_port`; None where the sentence
    names only an address. Ports are None for a ping.
    """

    address: IPv4Address
    port: int | None = None
    node: str | None = None
    service_port: int | None = None


@dataclass(frozen=True, slots=True)
class Reaches:
    """`pc reaches stackoverflow:80 as 24.9.3.7`; `seen_as` is whom the target sees."""

    source: str
    target: Target
    protocol: Protocol
    seen_as: IPv4Address | None = None
    via: Via | None = None


@dataclass(frozen=True, slots=True)
class CannotReach:
    """`stackoverflow cannot reach pc:80 because no-route at internet`."""

    source: str
    target: Target
    protocol: Protocol
    reason: str | None = None
    at: str | None = None


@dataclass(frozen=True, slots=True)
class Maps:
    """`napt maps endpoint-independent` (RFC 4787, section 4.1)."""

    napt: str
    behavior: Behavior


@dataclass(frozen=True, slots=True)
class Filters:
    """`napt filters address-dependent` (RFC 4787, section 5)."""

    napt: str
    behavior: Behavior


@dataclass(frozen=True, slots=True)
class Hairpins:
    """`napt hairpins`, `napt does not hairpin` (RFC 4787, section 6)."""

    napt: str
    does: bool


@dataclass(frozen=True, slots=True)
class GetsFile:
    """`bob gets a file from alice:8080 at 24.9.3.7`: over HTTP, from the host itself."""

    receiver: str
    target: Target
    seen_as: IPv4Address | None = None
    via: Via | None = None


@dataclass(frozen=True, slots=True)
class GetsFileThrough:
    """`bob gets a file from alice through relay:9000`.

    `service` is a file server, which then holds the file, or a relay or TURN server: then the
    path is a relayed one, whether the sentence says so or not.
    """

    receiver: str
    sender: str
    server: str
    service: Service


Assertion = Reaches | CannotReach | GetsFile | GetsFileThrough | Maps | Filters | Hairpins


@dataclass(frozen=True, slots=True)
class Expectation:
    """One entry of `expect:`.

    `text` is the sentence as written, on `line` of the file. It may take `wait` seconds until it
    holds. `message` is the writer's own, for when it does not; `points` are for exercises.
    """

    text: str
    line: int
    assertion: Assertion
    wait: float = 0.0
    message: str = ""
    points: int = 1
