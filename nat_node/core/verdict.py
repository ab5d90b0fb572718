"""Why a packet was dropped: every drop has one of these reasons, and a sentence for people."""

from __future__ import annotations

from enum import Enum


class Drop(Enum):
    """The reason's name (as in events and counters) and what it means."""

    def __init__(self, label: str, meaning: str) -> None:
        self.label = label
        self.meaning = meaning

    # from the outside
    NO_RULE = "no-rule", "no rule says which inside host this port belongs to"
    FILTERED = "filtered", "there is a rule, but its filtering does not let this remote endpoint in"
    UNANSWERED = (
        "unanswered",
        "this inside host already has too many connections that are not established",
    )
    NOT_FOR_US = "not-for-us", "the packet is not addressed to the NAPT's external address"
    # from the inside
    PRIVATE_DESTINATION = (
        "private-destination",
        "a private address cannot be reached on the public Internet",
    )
    PORTS_EXHAUSTED = (
        "ports-exhausted",
        "every external port that this connection could get is in use",
    )
    HOST_LIMIT = (
        "host-limit",
        "this inside host already has the most sessions that one host may have",
    )
    SUBSCRIBER_LIMIT = (
        "subscriber-limit",
        "this inside host already has the most external ports that one host may have",
    )
    HAIRPINNING_OFF = (
        "hairpinning-off",
        "this NAPT does not send packets from the inside back to the inside",
    )
    # from either side
    NO_CONNECTION = (
        "no-connection",
        "a TCP segment without SYN that belongs to no connection in the table",
    )
    SPOOFED_SOURCE = (
        "spoofed-source",
        "its source address does not belong to the side from which it came",
    )
    TABLE_FULL = "table-full", "the table already has the most sessions that it may have"
    SESSION_CLASH = (
        "session-clash",
        "another session already has this protocol and these two endpoints",
    )
    ICMP_UNRELATED = (
        "icmp-unrelated",
        "an ICMP error about a packet that this NAPT did not translate",
    )
    ICMP_UNSUPPORTED = "icmp-unsupported", "an ICMP type that a NAPT does not translate"
    BAD_CHECKSUM = "bad-checksum", "an ICMP message whose checksum is wrong"
    SOURCE_ROUTED = (
        "source-routed",
        "it has a source-route option, which a NAPT cannot translate",
    )
    UNSUPPORTED_PROTOCOL = "unsupported-protocol", "neither TCP, UDP nor ICMP: no ports to map"
    MALFORMED = "malformed", "the headers contradict each other or the packet ends too early"
    FRAGMENT_LOST = (
        "fragment-lost",
        "the first fragment of its packet did not come in time, or was dropped",
    )
    FRAGMENTS_FULL = (
        "fragments-full",
        "too many fragments are already waiting for their first fragment",
    )
    # at the device
    OVERLOAD = "overload", "it arrived faster than the NAPT could read it"
    REFUSED_BY_KERNEL = "refused-by-kernel", "the kernel refused to send the translated packet"
