"""A NAPT's report that it dropped a packet is recognized by the packet's whole endpoints."""

from __future__ import annotations

import pytest

from napt_lab.labs.shared_steps.dropped import is_drop
from napt_lab.topologies.network.processes import Event


def event(packet, name="drop"):
    return Event(0.0, "napt_b", "napt", name, {"packet": packet, "reason": "no-rule"})


SYN = event("tcp SYN 24.9.3.7:4000 > 203.0.113.7:80")


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ({}, True),
        ({"source": "24.9.3.7:4000", "destination": "203.0.113.7:80"}, True),
        ({"kind": "tcp SYN", "source": "24.9.3.7"}, True),
        ({"destination": "203.0.113.7"}, True),
        ({"source": "24.9.3.7:400"}, False),
        ({"destination": "203.0.113.7:8"}, False),
        ({"destination": "203.0.113"}, False),
        ({"source": "203.0.113.7:80"}, False),
        ({"kind": "udp"}, False),
        ({"kind": "tcp"}, False),
    ],
)
def test_an_endpoint_or_an_address_must_match_as_a_whole(wanted, found):
    assert is_drop(SYN, **wanted) is found


def test_other_reports_and_packets_without_ports():
    assert not is_drop(event("tcp SYN 24.9.3.7:4000 > 203.0.113.7:80", name="rule-ended"))
    ping = event("icmp type 8 24.9.3.7 > 203.0.113.7")
    assert is_drop(ping, kind="icmp type 8", source="24.9.3.7", destination="203.0.113.7")
