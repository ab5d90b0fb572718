"""Several external addresses and ports for each subscriber, with every engine that has them.

10.0.0.7 (alice) and 10.0.0.9 (carol) are paired with the first address, 10.0.0.8 (bob) with the
second.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from napt_lab.labs.capture.wire import Wire
from napt_lab.labs.check.run import run_all
from napt_lab.topologies.network.builder import Network
from napt_lab.topologies.spec.loader import loads
from tests.network.endless_transfer import EndlessTransfer
from tests.network.test_nat_node import run, set_mtu
from tests.waiting import wait_until

pytestmark = pytest.mark.network(timeout=120)

SIZE = 1_000_000
SERVER = "151.101.1.69"
TEXT = """
internet: {server: {address: 151.101.1.69}, other: 198.51.100.10}
sites:
  a:
    gateway:
      kind: napt
      public: [24.9.3.7, 24.9.3.8]
      private: 10.0.0.1/24
      rules: [RULES]
      ENGINE
    hosts: {alice: 10.0.0.7, bob: 10.0.0.8, carol: 10.0.0.9}
expect:
  - alice reaches server:80 as 24.9.3.7
  - bob reaches server:80 as 24.9.3.8
  - bob reaches server:5000 by udp as 24.9.3.8
  - bob reaches server as 24.9.3.8
  - carol reaches other:80 as 24.9.3.7
  - server reaches 24.9.3.8
  - bob reaches 24.9.3.8
  - server reaches alice:80 at 24.9.3.7:8080 via forwarded
  - server reaches bob:80 at 24.9.3.8:8080 via forwarded
  - server reaches 24.9.3.8:8080
  - bob reaches alice:80 at 24.9.3.7:8080 as 24.9.3.8 via hairpinned
  - carol reaches bob:80 at 24.9.3.8:8080 as 24.9.3.7 via hairpinned
  - server cannot reach bob:81 at 24.9.3.8:8081 because no-rule at napt_a
  - napt_a maps MAPPING
then:
  - do: restart napt_a
    expect:
      - bob keeps its connection to server:80
      - server keeps its connection to bob:80 at 24.9.3.8:8080
  - do: renumber napt_a 24.9.3.17 24.9.3.8 24.9.3.19
    expect:
      - alice reaches server:80 as 24.9.3.17
      - bob reaches server:80 as 24.9.3.8
      - carol reaches server:80 as 24.9.3.19
      - server reaches bob:80 at 24.9.3.8:8080
      - server cannot reach alice:80 at 24.9.3.7:8080 because no-neighbor at internet
"""
ENGINES = {"python": "", "kernel": "datapath: kernel", "nftables": "engine: nftables"}
every_engine = pytest.mark.parametrize("engine", ENGINES.values(), ids=ENGINES)


def topology(engine, expect=True):
    text = TEXT if expect else TEXT.partition("expect:")[0]
    mapping = "address-and-port-dependent" if "nftables" in engine else "endpoint-independent"
    rules = '"tcp 8080 -> 10.0.0.7:80", "tcp 8080 -> 10.0.0.8:80"'
    if "deterministic" in engine:
        rules = ""  # outside of their blocks
    text = text.replace("ENGINE", engine).replace("MAPPING", mapping).replace("RULES", rules)
    return loads(text.encode(), Path("pool.yaml"))


@every_engine
def test_paired_hosts_keep_their_address_in_both_directions(engine):
    with Network(topology(engine)) as net, Wire(net) as wire:
        outcomes = run_all(net, wire)
        assert [(o.expectation.text, o.evidence) for o in outcomes if o.verdict != "passed"] == []
        assert len(outcomes) == 21


def used(net):
    """The rule that a packet has made."""
    return next((r for r in net.napt("napt_a").rules() if not r["explicit"]), None)


@every_engine
def test_errors_fragments_and_much_data_by_the_second_address(engine):
    with Network(topology(engine, expect=False)) as net, Wire(net) as wire:
        transfer = EndlessTransfer(net["server"], net["bob"], SERVER)
        transfer.goes_on(500_000)
        assert used(net)["external"].startswith("24.9.3.8:")
        if engine != "engine: nftables":
            maps = net.napt("napt_a").ask({"do": "ports"})["ports"]
            assert maps.keys() == {"tcp 24.9.3.7", "tcp 24.9.3.8"}
        if engine == "datapath: kernel":
            wait_until(lambda: used(net)["sessions"][0]["carried_by"] == "kernel", "it", 20)
            transfer.goes_on()
        transfer.end()

        answered = run(net["bob"], f"ping -c1 -W3 -s 4000 {SERVER}")
        assert answered.status == 0, answered.stdout
        mark = wire.mark()
        net["bob"].run(["sh", "-c", f"echo hi | nc -u -w1 {SERVER} 7"])
        error = wire.wait_for(
            "bob:eth0", lambda p: p.icmp == (3, 3), deadline=5, what="the error", since=mark
        )
        assert error.packet.quoted is not None
        assert error.packet.quoted.source == "10.0.0.8"
        set_mtu(net["internet"], net["internet"].interfaces[0], 1300)
        told = run(net["bob"], f"ping -M do -c1 -W2 -s 1400 {SERVER}").stdout
        assert "Frag needed and DF set (mtu = 1300)" in told
        assert {c.packet.source for c in wire.packets("napt_a:wan0") if c.outgoing} == {"24.9.3.8"}


HOLD = """
import socket, sys
held = []
for port in range(5001, 5001 + int(sys.argv[1])):
    one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    one.bind(("", port))
    one.settimeout(5)
    one.connect(("151.101.1.69", 5000))
    one.send(b"x")
    try:
        one.recv(9)
        held.append("answered")
    except OSError as error:
        held.append(type(error).__name__)
print(*held)
"""
ECHO = """
import socket
one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
one.bind(("", 5000))
print('{"event": "ready"}', flush=True)
while True:
    data, peer = one.recvfrom(9)
    one.sendto(data, peer)
"""
LIMITS = {
    "python": "ports-per-subscriber: 3",
    "blocks": "{ports-per-subscriber: 3, port-assignment: deterministic}",
    "nftables": "{engine: nftables, ports-per-subscriber: 3}",
}


@pytest.mark.parametrize("limit", LIMITS.values(), ids=LIMITS)
def test_a_subscriber_has_so_many_ports_and_its_neighbor_goes_on(limit):
    keys = limit.strip("{}").replace(", ", "\n      ")
    with Network(topology(keys, expect=False)) as net:
        echo = net["server"].start_program(["python3", "-c", ECHO], name="echo")
        echo.wait_for("ready", deadline=10)
        mark = net.log.mark()
        told = net["alice"].run(["python3", "-c", HOLD, "5"])
        # Over UDP the ICMP error (3/13) is "No route to host".
        assert told.stdout.split() == ["answered"] * 3 + ["OSError"] * 2, told
        dropped = net.log.wait_for(
            lambda e: e.name == "drop", deadline=10, what="a drop", since=mark
        )
        assert dropped.fields["reason"] == "subscriber-limit"
        for neighbor in ("bob", "carol"):
            told = net[neighbor].run(["python3", "-c", HOLD, "3"])
            assert told.stdout.split() == ["answered"] * 3, told
        if "deterministic" in limit:
            blocks = {"10.0.0.7": "24.9.3.7", "10.0.0.8": "24.9.3.7", "10.0.0.9": "24.9.3.7"}
            for rule in net.napt("napt_a").rules():
                if rule["protocol"] == "udp":
                    host = rule["internal"].partition(":")[0]
                    address, _, port = rule["external"].partition(":")
                    first = 1024 + 3 * (int(host.rpartition(".")[2]) - 1)
                    assert address == blocks[host]
                    assert int(port) in range(first, first + 3)
