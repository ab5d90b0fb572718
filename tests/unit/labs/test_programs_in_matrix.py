"""By which way the data of two programs went, of which the wires show nothing but packets."""

from __future__ import annotations

import os
from types import SimpleNamespace
from typing import Any

import pytest

from napt_lab.labs.capture.wire import Captured
from napt_lab.labs.check.outcome import CannotTell
from napt_lab.labs.matrix import user_programs
from napt_lab.labs.matrix.field import SERVER_ADDRESS
from napt_lab.labs.matrix.prediction import Way
from tests.packets import ethernet, tcp, udp

A, B, TURN = "10.0.1.2:5000", "10.0.2.2:5000", f"{SERVER_ADDRESS}:5349"
NAPT_A, NAPT_B = "24.9.3.10:40001", "203.0.113.10:40002"
PROBE, FILE = b"probe" * 6, os.urandom(1000)
PROBE_TO_A = ("a1", False, udp(NAPT_B, A, PROBE))
PROBE_TO_B = ("b1", False, udp(NAPT_A, B, PROBE))
FILE_TO_B = ("b1", False, udp(NAPT_A, B, FILE))
FILE_TO_RELAY = ("a1", True, tcp(A, TURN, "PA", FILE))
FILE_FROM_RELAY = ("b1", False, tcp(TURN, B, "PA", FILE))
ENCRYPTED_FROM_RELAY = ("b1", False, tcp(TURN, B, "PA", os.urandom(1000)))
SIGNALING = ("b1", False, tcp(TURN, B, "PA", os.urandom(20)))


def way(*seen):
    record = [
        Captured(f"{node}:eth0", number, outgoing, len(packet), ethernet(packet))
        for number, (node, outgoing, packet) in enumerate(seen)
    ]
    ground: Any = SimpleNamespace(
        wire=SimpleNamespace(
            packets=lambda where, test: [c for c in record if c.where == where and test(c.packet)]
        )
    )
    return user_programs._way(ground, ("a1", "b1"), 0, len(record))


@pytest.mark.parametrize(
    ("seen", "found", "told"),
    [
        ([FILE_TO_B, PROBE_TO_A], Way.DIRECT, "1,030 bytes came directly, 0 were relayed"),
        ([FILE_TO_B, SIGNALING], Way.DIRECT, "1,000 bytes came directly, 0 were relayed"),
        (
            [FILE_TO_RELAY, FILE_FROM_RELAY, PROBE_TO_B],
            Way.RELAYED,
            "30 bytes came directly, 1,000 were relayed",
        ),
        # Where both directions are open, no relay is needed.
        (
            [PROBE_TO_A, PROBE_TO_B, ENCRYPTED_FROM_RELAY],
            Way.DIRECT,
            "60 bytes came directly, 0 were relayed",
        ),
    ],
)
def test_the_way_with_more_bytes_counts(seen, found, told):
    assert way(*seen) == (found, told)


@pytest.mark.parametrize("probe", [PROBE_TO_A, PROBE_TO_B])
def test_probes_in_one_direction_beside_what_may_be_relayed_tell_no_way(probe):
    with pytest.raises(CannotTell, match=r"30 bytes came directly.* 1,000 bytes came from public"):
        way(probe, FILE_TO_RELAY, ENCRYPTED_FROM_RELAY)


def test_two_programs_of_which_nothing_arrives_have_no_way():
    with pytest.raises(CannotTell, match="no data from a1 was seen to reach b1"):
        way(SIGNALING)
