"""The sentences of `expect:` in a topology file, as data.

Each kind of sentence has a class. expectations.py reads them, labs/check/ tests whether they hold.
Nodes are given by their names in the topology, addresses are IPv4.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from ipaddress import IPv4Address

from napt_lab.topologies.spec.napt_settings import Behavior
from napt_lab.topologies.spec.services import Service


class Protocol(StrEnum):
    """How one node tries to reach another."""

    TCP = "tcp"
    UDP = "udp"
    PING = "ping"  # an ICMP echo (RFC 792)
    HTTP = "http"


class Via(StrEnum):
    """What is done to packets, or to their payload, between the two ends."""

    DIRECT = "direct"  # it arrives at the address that was dialed
    FORWARDED = "forwarded"  # a NAPT on the way rewrote that address
    HAIRPINNED = "hairpinned"  # a NAPT rewrote it and sent it back to the side of its sender
    PROXIED = "proxied"  # a proxy ended the connection and opened another one
    RELAYED = "relayed"  # both ends dialed a relay, which passes the payload on


#: Why a packet was not delivered, as captures show it: with any NAPT or router.
SEEN_REASONS = (
    "no-route",  # a router says so (ICMP destination unreachable: net or host)
    "prohibited",  # a router or host says so (ICMP destination unreachable: prohibited)
    "refused",  # no program listens: TCP RST, or ICMP port unreachable
    "no-neighbor",  # an ARP request for its address got no reply
    "not-forwarded",  # it reached a node that neither forwarded it nor sent an error
    "no-answer",  # it arrived, and no reply came back
)
#: The reason that a gateway's firewall reports for its drops (firewall.py).
FIREWALL_REASONS = ("blocked",)
#: The reasons that a slow link reports for what it loses (topologies/links/line.py).
LINK_REASONS = ("lost", "queue-full", "black-hole", "link-down")
#: The reasons that the Python translator reports for its drops (nat_node/core/verdict.py).
DROP_REASONS = (
    "no-rule", "filtered", "unanswered", "not-for-us", "private-destination", "ports-exhausted",
    "subscriber-limit", "host-limit", "hairpinning-off", "no-connection", "spoofed-source",
    "table-full", "session-clash", "icmp-unrelated", "icmp-unsupported", "bad-checksum",
    "unsupported-protocol", "malformed", "fragment-lost", "fragments-full", "source-routed",
    "overload", "refused-by-kernel",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Target:
    """The target of a probe: `address` and `port` are dialed.

    `node` is the host of the service and `service_port` the port there; None if the sentence
    names only an address. Ports are None for a ping.
    """

    address: IPv4Address
    port: int | None = None
    node: str | None = None
    service_port: int | None = None


@dataclass(frozen=True, slots=True)
class Reaches:
    """`pc reaches stackoverflow:80 as 24.9.3.7`; `seen_as`: the sender that the target sees.

    `at`: the node that makes the path what `via` says. `within`: seconds of the round trip.
    """

    source: str
    target: Target
    protocol: Protocol
    seen_as: IPv4Address | None = None
    via: Via | None = None
    at: str | None = None
    within: float | None = None


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
class Is:
    """`napt is port-restricted-cone`: mapping and filtering in one word (presets.py, KINDS)."""

    napt: str
    mapping: Behavior
    filtering: Behavior


@dataclass(frozen=True, slots=True)
class Punches:
    """`alice punches bob by udp`: directly, without an explicit rule (RFC 5128, 3.3 and 3.4)."""

    source: str
    target: str
    protocol: Protocol  # UDP or TCP
    via: Via | None = None  # DIRECT or HAIRPINNED


@dataclass(frozen=True, slots=True)
class CannotPunch:
    """`alice cannot punch bob by udp because filtered at napt_b`."""

    source: str
    target: str
    protocol: Protocol
    reason: str | None = None
    at: str | None = None


@dataclass(frozen=True, slots=True)
class GetsFile:
    """`bob gets a file from alice:8080 at 24.9.3.7`: by HTTP, from the host itself."""

    receiver: str
    target: Target
    seen_as: IPv4Address | None = None
    via: Via | None = None
    at: str | None = None


@dataclass(frozen=True, slots=True)
class GetsFileThrough:
    """`bob gets a file from alice through relay:9000`.

    `service` is a file server, which stores the file, or a relay or TURN server: then the path is
    relayed, with or without `via relayed` in the sentence.
    """

    receiver: str
    sender: str
    server: str
    service: Service


@dataclass(frozen=True, slots=True)
class Loses:
    """`alice loses at most 2 of 100 datagrams to game:7000`: on the way there."""

    source: str
    most: int
    of: int
    target: Target


@dataclass(frozen=True, slots=True)
class KeepsConnection:
    """`alice keeps its connection to files:8080`: over what happens before this sentence."""

    source: str
    target: Target


@dataclass(frozen=True, slots=True)
class ConnectsByIce:
    """`alice connects to bob by ice via relayed`: by the way that ICE selects (RFC 8445)."""

    source: str
    target: str
    via: Via | None = None


Assertion = (
    Reaches | CannotReach | Loses | KeepsConnection | GetsFile | GetsFileThrough
    | Punches | CannotPunch | ConnectsByIce | Maps | Filters | Hairpins | Is
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Expectation:
    """One entry of `expect:`.

    `text` is the sentence, on `line` of the file. It must hold within `wait` seconds. `message` is
    shown if it does not hold; `points` count in exercises.
    """

    text: str
    line: int
    assertion: Assertion
    wait: float = 0.0
    message: str = ""
    points: int = 1
