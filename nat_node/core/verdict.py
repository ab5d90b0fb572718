"""Why a packet was dropped: every drop has one of these reasons, and a sentence for people."""

from __future__ import annotations

from enum import Enum


class Drop(Enum):
    """The reason's name (as in events and counters) and what it means."""

    def __init__(self, label: str, meaning: str) -> None:
        self.label = label
        self.meaning = meaning

    # from the outside
    NO_RULE = "no-rule", "there is no rule for this port: no inside host is known by it"
    FILTERED = "filtered", "there is a rule, but its filter does not admit this remote endpoint"
    UNANSWERED = "unanswered", "too many connections to this inside host are not established yet"
    NOT_FOR_US = "not-for-us", "the packet is not addressed to the NAPT's external address"
    # from the inside
    PRIVATE_DESTINATION = (
        "private-destination",
        "a private address means nothing on the public Internet",
    )
    PORTS_EXHAUSTED = "ports-exhausted", "every external port that could be used is taken"
    HOST_LIMIT = "host-limit", "this inside host already has as many sessions as one may have"
    HAIRPINNING_OFF = "hairpinning-off", "inside to our own external address is not configured"
    # from either side
    NO_CONNECTION = "no-connection", "a TCP segment without SYN for no known connection"
    SPOOFED_SOURCE = "spoofed-source", "a source address that cannot come from this side"
    TABLE_FULL = "table-full", "the table holds as many sessions as it may"
    SESSION_CLASH = "session-clash", "two rules would give one packet the same five-tuple"
    ICMP_UNRELATED = "icmp-unrelated", "an ICMP error about a packet that we did not translate"
    ICMP_UNSUPPORTED = "icmp-unsupported", "an ICMP type that a NAPT does not translate"
    BAD_CHECKSUM = "bad-checksum", "an ICMP message whose checksum is wrong"
    SOURCE_ROUTED = (
        "source-routed",
        "its sender chose the route (source routing), which ends at a NAPT",
    )
    UNSUPPORTED_PROTOCOL = "unsupported-protocol", "neither TCP, UDP nor ICMP: no ports to map"
    MALFORMED = "malformed", "the headers contradict each other or the packet ends too early"
    FRAGMENT_LOST = (
        "fragment-lost",
        "a fragment whose first fragment did not come in time, or was dropped",
    )
    FRAGMENTS_FULL = "fragments-full", "more fragments of its packet are waiting than may wait"
    # at the device
    OVERLOAD = "overload", "it arrived faster than the NAPT could read it"
    REFUSED_BY_KERNEL = "refused-by-kernel", "the kernel would not take the translated packet"
