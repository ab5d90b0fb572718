"""The bench's traffic passes through every engine; how fast it passes is no test's business."""

from __future__ import annotations

from pathlib import Path

import pytest

from napt_lab.labs.bench.figures import COTURN, KERNEL, MININET_NAT, OURS, PASTA, SCAPY, SLIRP
from napt_lab.labs.bench.relaying import SERVERS, Relaying
from napt_lab.labs.bench.starting import many_hosts, many_hosts_of_mininet
from napt_lab.labs.bench.traffic import (
    Traffic,
    put_mininets_nat_in_place,
    put_scapy_in_place,
)
from napt_lab.topologies.network.builder import Network
from napt_lab.topologies.spec.loader import load

pytestmark = pytest.mark.network(timeout=60)
BENCH = Path(__file__).parents[2] / "topologies" / "bench.yaml"


def test_traffic_passes_through_every_engine():
    with Network(load(BENCH)) as net:
        put_scapy_in_place(net)
        put_mininets_nat_in_place(net)
        traffic = Traffic(net)
        for engine in (OURS, KERNEL, MININET_NAT, PASTA, SLIRP, SCAPY):
            assert traffic.latency(engine, 0.1)["count"] > 0
            rate, lost = traffic.datagrams(engine, 0.1)
            assert rate > 0
            assert 0 <= lost < 1
            assert traffic.connections(engine, 0.1) > 0
        assert traffic.stream(OURS, 1) > 0
        # The translator saw them: each program had a rule of its own.
        assert traffic.rules() >= 3
        assert traffic.memory() > 1_000_000


def test_datagrams_and_streams_pass_through_both_turn_servers():
    with Network(load(BENCH)) as net:
        relaying = Relaying(Traffic(net))
        assert SERVERS == (OURS, COTURN)
        for engine in SERVERS:
            rate, lost = relaying.datagrams(engine, 0.1, 64)
            assert rate > 0
            assert 0 <= lost < 1
            assert relaying.stream(engine, 0.1) > 0
            arrived, rate = relaying.under_flood(engine, 0.2, 1000)
            assert 0 < arrived <= 1
            assert rate > 0


def test_a_network_of_many_hosts_is_built_and_its_memory_found():
    for built in (many_hosts(3), many_hosts(4, napts=2), many_hosts_of_mininet(3)):
        assert built.seconds > 0
        assert abs(built.megabytes) < 10_000  # others take and give back memory meanwhile
