"""When two peers have met: a relay tells them one after the other, and none of it is too late."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from napt_lab.labs.capture.wire import Captured, Wire
from napt_lab.labs.shared_steps.peers import Peers
from napt_lab.labs.shared_steps.two_sites import NAPT_A, NAPT_B, RELAY, RELAY_PORT
from tests.packets import ethernet, tcp, udp

A, B, MEETING = f"{NAPT_A}:5000", f"{NAPT_B}:5000", f"{RELAY}:{RELAY_PORT}"
SIZE = 500


class Recorded(Wire):
    """A wire that has seen all it will see."""

    def __init__(self, record):
        self._record = record

    def mark(self):
        return len(self._record)

    def captured(self, where, test, *, since=0):
        return [each for each in self._record[since:] if each.where == where and test(each)]

    def wait_for_captured(self, where, test, **_):
        return self.captured(where, test)[0]


class Required:
    """Keeps what was required, as a claim does."""

    def __init__(self):
        self.failed = []

    def require(self, holds, evidence, wanted=""):
        if not holds:
            self.failed.append(evidence)


def seen(*packets):
    """The packets in their order, a millisecond apart, each as it passed one interface."""
    return [
        Captured(where, number * 1_000_000, True, len(packet), ethernet(packet))
        for number, (where, packet) in enumerate(packets)
    ]


TOLD_ALICE = ("relay:eth0", tcp(MEETING, A, "PA", B.encode()))
TOLD_BOB = ("relay:eth0", tcp(MEETING, B, "PA", A.encode()))
FROM_ALICE = ("napt_a:wan0", udp(A, B))
FROM_BOB = ("napt_b:wan0", udp(B, A))
BOBS_AT_ALICES = ("napt_a:wan0", udp(B, A))
ARRIVED = (
    ("alice:eth0", udp(B, "10.0.0.7:5000")),
    ("bob:eth0", udp(A, "10.0.0.9:5000", bytes(SIZE))),
)
AFTERWARDS = ("relay:eth0", tcp(A, MEETING, "PA", b"the file"))


@pytest.mark.parametrize(
    ("packets", "failed"),
    [
        ([TOLD_ALICE, TOLD_BOB, FROM_ALICE, FROM_BOB], []),
        ([TOLD_ALICE, FROM_ALICE, TOLD_BOB, FROM_BOB], []),
        ([TOLD_BOB, FROM_BOB, TOLD_ALICE, FROM_ALICE], []),
        (
            [TOLD_ALICE, TOLD_BOB, FROM_ALICE, FROM_BOB, AFTERWARDS],
            ["relay:eth0: 1 packet after the meeting"],
        ),
        (  # bob has sent, although his packet has not arrived
            [TOLD_ALICE, TOLD_BOB, FROM_ALICE, FROM_BOB, AFTERWARDS, BOBS_AT_ALICES],
            ["relay:eth0: 1 packet after the meeting"],
        ),
    ],
)
def test_no_server_in_between(packets, failed):
    stage: Any = SimpleNamespace(wire=Recorded(seen(*packets, *ARRIVED)))
    claim: Any = Required()
    peers = Peers(stage, "punch:5000", SIZE, 0, 0, stage, stage)
    peers.require_no_server(claim)
    assert claim.failed == failed
