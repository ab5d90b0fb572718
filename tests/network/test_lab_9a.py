"""Lab 9a, played in silence, and what it leaves behind."""

from __future__ import annotations

from typing import Any, cast

import pytest
from scapy.layers.inet import IP
from scapy.layers.l2 import Ether
from scapy.utils import RawPcapNgReader

from napt_lab.labs.level_9a.lab import LAB
from tests.network.lab_run import assert_all_hold, play

pytestmark = pytest.mark.network(timeout=60)


def test_all_claims_hold(tmp_path):
    results, records = play(LAB, tmp_path)
    assert_all_hold(results, {"9a.exchange", "9a.server-holds"})
    assert (results["lab"], results["topology"], results["engine"]) == ("9a", "two-sites", "python")
    requests = [r["fields"] for r in records if r["event"] == "program" and r["name"] == "request"]
    assert [r["method"] for r in requests] == ["PUT", "PUT", "GET", "GET", "GET"]
    # An independent eye on the capture: who talks to whom at the server's leg of the router.
    with RawPcapNgReader(str(tmp_path / "capture.pcapng")) as reader:
        packets = cast(Any, reader)
        frames = {bytes(data[:34]) for data, meta in packets if meta.ifname == b"internet:isp1"}
    packets = [Ether(frame) for frame in frames]
    ends = {frozenset((packet[IP].src, packet[IP].dst)) for packet in packets if IP in packet}
    assert ends == {frozenset(("198.51.100.10", napt)) for napt in ("24.9.3.7", "203.0.113.77")}
