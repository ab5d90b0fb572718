"""`reaches` and `cannot reach`, on real packets: what holds passes, what does not fails."""

from __future__ import annotations

from pathlib import Path

import pytest

from napt_lab.labs.capture.wire import Wire
from napt_lab.labs.check.run import run_checks
from napt_lab.topologies.network.builder import Network
from napt_lab.topologies.spec.loader import loads

pytestmark = pytest.mark.network(timeout=60)

TWO_HOMES = """
internet:
  stackoverflow: {address: 151.101.1.69, runs: [web]}
  files: {address: 198.51.100.10, runs: [file-server]}
sites:
  a:
    gateway: {name: napt_a, kind: napt, public: 24.9.3.7, private: 10.0.0.1/24,
              rules: ["tcp 8080 -> 10.0.0.7:80"]}
    hosts: {pc: 10.0.0.7, pc2: 10.0.0.8}
  b:
    gateway: {name: napt_b, kind: napt, public: 203.0.113.77, private: 10.0.0.1/24}
    hosts: {bob: 10.0.0.9}
expect:
"""

# What is so; with the words that the evidence must have.
HOLDS = {
    "pc reaches stackoverflow:80 as 24.9.3.7 via direct": "pc → napt_a → internet → stackoverflow",
    "pc reaches stackoverflow:80 by http as napt_a": "saw 24.9.3.7:",
    "pc reaches stackoverflow:53 by udp as 24.9.3.7 via direct": "saw 24.9.3.7:",
    "pc reaches stackoverflow as 24.9.3.7": "echo request",
    "pc reaches pc2:9 as 10.0.0.7 via direct": "pc → pc2",
    "bob reaches 24.9.3.7:8080 by http as 203.0.113.77 via forwarded": "rewrote 24.9.3.7:8080",
    "pc2 reaches pc:80 at napt_a:8080 as 24.9.3.7 via hairpinned": "in by napt_a:lan0, out by",
    "files cannot reach pc:80 because no-route at internet": "about 198.51.100.10:",
    "files cannot reach pc because no-route at internet": "control: napt_a reaches pc",
    "files cannot reach pc:80 at 24.9.3.7 because no-rule at napt_a": "napt_a dropped tcp SYN",
    "files cannot reach pc:53 by udp at napt_a because no-rule at napt_a": "dropped udp",
    "bob cannot reach pc:80 because no-neighbor at bob": "ARP who has 10.0.0.7?",
    "files cannot reach stackoverflow:81 because refused at stackoverflow": "RST",
    "files cannot reach stackoverflow:53 by udp because refused": "destination unreachable (port)",
    "bob cannot reach 24.9.3.99 because no-neighbor at internet": "no node has 24.9.3.99",
}
# What is not so; with the words that say why.
HOLDS_NOT = {
    "bob reaches stackoverflow:80 as 24.9.3.7": "sees 203.0.113.77; expected: 24.9.3.7",
    "bob reaches stackoverflow:80 via forwarded": "the path is direct; expected: forwarded",
    "files reaches pc:80 at napt_a": "no answer to the SYN: no-rule at napt_a",
    "bob cannot reach stackoverflow:80": "bob reaches it: bob → napt_b",
    "pc cannot reach stackoverflow:81": "pc reaches it: pc → napt_a",
    "files cannot reach pc:80 because no-rule": "no-route at internet; expected: no-rule",
    "files cannot reach pc because no-route at napt_a": "expected: no-route at napt_a",
}
OUR_LISTENERS = {
    "pc reaches pc2:9 as 10.0.0.7 via direct": "pc2:9",
    "bob reaches 24.9.3.7:8080 by http as 203.0.113.77 via forwarded": "pc:80",
    "files cannot reach pc:53 by udp at napt_a because no-rule at napt_a": "pc:53 by udp",
    "pc cannot reach stackoverflow:81": "stackoverflow:81",
}


def test_what_holds_passes_and_what_does_not_fails():
    sentences = [*HOLDS, *HOLDS_NOT]
    text = TWO_HOMES + "".join(f"  - {sentence}\n" for sentence in sentences)
    topology = loads(text.encode(), Path("t.yaml"))
    told = []
    with Network(topology) as net, Wire(net) as wire:
        outcomes = run_checks(net, wire, topology.expect, told.append)
    assert [outcome.expectation.text for outcome in outcomes] == sentences
    assert sorted(told, key=outcomes.index) == outcomes
    for outcome, words in zip(outcomes, [*HOLDS.values(), *HOLDS_NOT.values()], strict=True):
        expected = "passed" if outcome.expectation.text in HOLDS else "failed"
        assert outcome.verdict == expected, outcome
        said = outcome.evidence if expected == "passed" else outcome.evidence[-1:]
        assert any(words in line for line in said), outcome
    listened = {
        outcome.expectation.text: line
        for outcome in outcomes
        for line in outcome.evidence
        if line.startswith("the check put a listener on ")
    }
    for sentence, place in OUR_LISTENERS.items():
        assert listened[sentence] == f"the check put a listener on {place}"
    assert not any("stackoverflow:80 " in s or "refused" in s for s in listened)
