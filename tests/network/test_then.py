"""`then:` in a topology: something happens, and the sentences after it hold or say why not."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from napt_lab.labs.capture.wire import Wire
from napt_lab.labs.check.run import run_all
from napt_lab.topologies.network.builder import Network
from napt_lab.topologies.spec.loader import loads

pytestmark = pytest.mark.network(timeout=120)

TEXT = """
internet:
  files: {address: 198.51.100.10, runs: [file-server]}
  server: 198.51.100.11
  relay: {address: 198.51.100.12, runs: [relay]}
sites:
  a:
    gateway: {kind: napt, public: 24.9.3.7, private: 10.0.0.1/24,
              rules: ["tcp 8080 -> 10.0.0.7:80"]}
    hosts: {alice: 10.0.0.7}
  b:
    gateway: {kind: napt, public: 24.9.4.7, private: 10.0.0.1/24}
    hosts: {bob: 10.0.0.9}
expect:
  - server reaches alice:80 at napt_a:8080
then:
  - do: restart napt_a
    expect:
      - alice keeps its connection to files:8080
      - alice keeps its connection to server:5000
      - alice keeps its connection to relay:9000
      - server keeps its connection to alice:80 at napt_a:8080
  - do: reboot napt_a
    expect:
      - alice keeps its connection to server:5000
      - alice keeps its connection to relay:9000
      - server reaches alice:80 at napt_a:8080
  - do: [renumber napt_a 24.9.3.9, wait 0.1s]
    expect:
      - alice reaches files:8080 as 24.9.3.9
      - alice reaches files:8080 as napt_a
      - server cannot reach alice:80 at 24.9.3.7:8080 because no-neighbor at internet
  - do: plug alice into b as 10.0.0.20
    expect:
      - alice reaches files:8080 as napt_b
      - server cannot reach alice:80 at napt_a:8080 because no-route at napt_a
      - alice keeps its connection to server:5000
"""
BROKEN = {
    # What a NAPT forgets, its connections do not survive: TCP without a SYN makes no rule.
    "alice keeps its connection to server:5000": ["passed", "failed", "failed"],
    "alice keeps its connection to relay:9000": ["passed", "failed"],
}


def test_sentences_hold_after_what_happens():
    topology = loads(TEXT.encode(), Path("then.yaml"))
    with Network(topology) as net, Wire(net) as wire:
        outcomes = run_all(net, wire)
    assert [o.expectation for o in outcomes] == list(topology.expectations())
    found: dict[str, list[str]] = {}
    for outcome in outcomes:
        found.setdefault(outcome.expectation.text, []).append(outcome.verdict.value)
    for text, verdicts in BROKEN.items():
        assert found.pop(text) == verdicts
    wrong = [o for o in outcomes if o.verdict != "passed" and o.expectation.text not in BROKEN]
    assert not wrong


def test_what_does_not_happen_leaves_its_sentences_unchecked():
    text = (
        TEXT.partition("then:")[0]
        + """
then:
  - do: [kill files:file-server, kill files:file-server]
    expect: [alice reaches files:8080]
  - do: start files:file-server
    expect: [alice reaches files:8080]
"""
    )
    topology = loads(text.encode(), Path("then.yaml"))
    with Network(topology) as net, Wire(net) as wire:
        outcomes = run_all(net, wire)
    assert [o.verdict for o in outcomes] == ["passed", "error", "passed"]
    assert "it did not happen: file-server:8080 does not run on files" in outcomes[1].evidence[0]


# On port 5000 it speaks by itself all the time. What comes to port 5001 is lost once there is a
# connection, but its own keep-alives leave.
OWN_PROGRAM = """
import selectors, socket, subprocess
chatting, one_way = (socket.create_server(("", port)) for port in (5000, 5001))
subprocess.run(["nft", "add table ip t; add chain ip t c { type filter hook input priority 0; }"],
               check=True)
print("serving", flush=True)
deaf, _ = one_way.accept()
subprocess.run(["nft", "add rule ip t c tcp dport 5001 drop"], check=True)
deaf.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 1)
deaf.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 1)
deaf.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
end, _ = chatting.accept()
waiting = selectors.DefaultSelector()
waiting.register(end, selectors.EVENT_READ)
while not waiting.select(0.05):
    end.sendall(b"tick")
"""


def test_a_connection_to_a_program_that_speaks_by_itself_must_carry_in_both_directions():
    text = (
        TEXT.partition("expect:")[0]
        + """
then:
  - do: wait 0.1s
    expect:
      - alice keeps its connection to server:5001
      - alice keeps its connection to server:5000
"""
    )
    topology = loads(text.encode(), Path("then.yaml"))
    with Network(topology) as net, Wire(net) as wire:
        net["server"].start([sys.executable, "-c", OWN_PROGRAM], ready="serving").await_ready(10)
        one_way, chatting = run_all(net, wire)
    assert one_way.verdict == "failed"
    assert "no answer within" in one_way.evidence[-1]
    assert chatting.verdict == "passed"
