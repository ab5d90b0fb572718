"""What lab 8 is made of: packets side by side, its connections, its gateways, the last ports."""

from __future__ import annotations

import argparse
import random
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from napt_lab.labs.capture.wire import Captured
from napt_lab.labs.level_8 import connections, fields
from napt_lab.nat_node.core.ports import PortPool, part_of
from napt_lab.nat_node.core.settings import PortAssignment
from napt_lab.topologies.network.plan import node_plans
from napt_lab.topologies.network.programs import proxy_command
from napt_lab.topologies.spec.loader import load
from tests.packets import ethernet, tcp

TOPOLOGIES = Path(__file__).parents[3] / "topologies"


def captured(*, src="10.0.0.7", dport=80, flags="PA", data=b"GET /", **changes):
    usual: dict[str, Any] = {"ttl": 64, "seq": 7, "ack": 8, "window": 9}
    frame = ethernet(tcp(f"{src}:40000", f"151.101.1.69:{dport}", flags, data, **usual | changes))
    return Captured("pc:eth0", 0, True, len(frame), frame)


@pytest.mark.parametrize(
    ("change", "seen"),
    [
        ({"src": "24.9.3.7"}, {fields.SOURCE, fields.HEADER_CHECKSUM, fields.TCP_CHECKSUM}),
        ({"dport": 81}, {fields.DESTINATION_PORT, fields.TCP_CHECKSUM}),
        ({"ttl": 63}, {fields.TTL, fields.HEADER_CHECKSUM}),
        ({"id": 2}, {"identification", fields.HEADER_CHECKSUM}),
        ({"seq": 9}, {"sequence number", fields.TCP_CHECKSUM}),
        ({"flags": "A"}, {"data offset, flags", fields.TCP_CHECKSUM}),
        ({"data": b"GET !"}, {fields.REST, fields.TCP_CHECKSUM}),
        ({}, set()),
    ],
)
def test_each_change_of_a_packet_is_seen_and_no_other(change, seen):
    assert fields.rewritten(fields.compare(captured(), captured(**change))) == seen


def test_fields_are_shown_as_people_write_them():
    lines = [str(field) for field in fields.compare(captured(), captured(src="24.9.3.7"))]
    assert any(line.split() == ["source", "address", "10.0.0.7", "24.9.3.7"] for line in lines)
    assert any(line.split() == ["source", "port", "40000", "the", "same"] for line in lines)


def test_a_header_with_options_is_not_compared():
    odd = captured()
    odd.data = odd.data[:14] + b"\x46" + odd.data[15:]
    with pytest.raises(ValueError, match="20 bytes"):
        fields.compare(captured(), odd)


@pytest.mark.parametrize("text", ["", "151.101.1.69", "151.101.1.69:0", "1.2.3.4:65536", "a:80"])
def test_what_is_no_server_is_refused(text):
    with pytest.raises(argparse.ArgumentTypeError):
        connections.server(text)


def test_a_server_is_an_address_and_a_port():
    assert connections.server("151.101.1.69:80") == ("151.101.1.69", 80)


@pytest.mark.parametrize(
    ("topology", "command"),
    [
        (
            "level-8-proxy.yaml",
            "napt_lab.servers.proxy.explicit --listen 10.0.0.1 --device lan0 --source 24.9.3.7"
            " --port 3128",
        ),
        (
            "level-8-transparent-proxy.yaml",
            "napt_lab.servers.proxy.transparent --listen 10.0.0.1 --device lan0 --source 24.9.3.7"
            " --intercept lan0:80",
        ),
    ],
)
def test_a_proxy_serves_its_site_only_and_forwards_no_packets(topology, command):
    loaded = load(TOPOLOGIES / topology)
    gateway = loaded.sites[0].gateway
    assert " ".join(proxy_command(gateway)) == command
    assert {plan.name for plan in node_plans(loaded) if plan.forwards} == {"internet"}


def test_the_last_ports_of_a_large_pool_are_found_soon():
    """Looks a port: about twelve if the taken ones lie at random, hundreds if they lie in runs."""
    dice = random.Random(8)
    size = 65_535
    pool = PortPool(range(1, size + 1), PortAssignment.RANDOM, False, dice.randrange)
    taken: set[int] = set()
    parts: Counter[int] = Counter()
    looks = 0

    def is_free(port):
        nonlocal looks
        looks += 1
        return port not in taken

    for _ in range(size):
        port = pool.choose(40_000, is_free, parts.__getitem__)
        taken.add(port)
        parts[part_of(port)] += 1
    assert taken == set(range(1, size + 1))
    assert looks < 20 * size
