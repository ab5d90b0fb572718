"""Punching holes: through NAPTs of several kinds, a carrier's among them, and the kernel's."""

from __future__ import annotations

from pathlib import Path

import pytest

from napt_lab.labs.capture.wire import Wire
from napt_lab.labs.check.run import run_checks
from napt_lab.topologies.network.builder import Network
from napt_lab.topologies.spec.loader import loads

pytestmark = pytest.mark.network(timeout=60)

YAML = """
internet: {files: 198.51.100.10}
sites:
  cone: {gateway: {name: cone, kind: napt, public: 24.9.3.7, private: 10.0.0.1/24},
         hosts: {alice: 10.0.0.7, anna: 10.0.0.8}}
  symmetric: {gateway: {name: symmetric, kind: napt, public: 192.0.2.5, private: 10.0.0.1/24,
                        preset: symmetric}, hosts: {sam: 10.0.0.7}}
  kernel: {gateway: {name: kernel, kind: napt, public: 24.9.3.8, private: 10.0.0.1/24,
                     engine: nftables}, hosts: {kim: 10.0.0.7}}
  hotel: {gateway: {name: hotel, kind: napt, public: 24.9.3.9, private: 10.0.0.1/24,
                    preset: hotel}, hosts: {hal: 10.0.0.7}}
  carrier: {gateway: {name: cgn, kind: napt, public: 24.9.4.8, private: 100.64.0.1/10,
                      preset: carrier}}
  x: {gateway: {name: napt_x, kind: napt, behind: carrier, public: 100.64.0.7,
                private: 10.0.0.1/24}, hosts: {xena: 10.0.0.7}}
  y: {gateway: {name: napt_y, kind: napt, behind: carrier, public: 100.64.0.8,
                private: 10.0.0.1/24, preset: symmetric}, hosts: {yves: 10.0.0.7}}
expect:
"""
HOLDS = {  # sentence: words of its evidence
    # Two SYNs cross; the one from a port that was not told can only be accepted.
    "alice punches xena by tcp via direct": "their SYNs crossed",
    "sam punches files by tcp": "files's listener on the same port accepted",
    "anna punches alice via hairpinned": "in by cone:lan0, out by cone:lan0",
    "xena punches alice": "xena → napt_x → cgn → internet → cone → alice",
    # The kernel keeps ports: what it told is what it uses, although its mapping is symmetric.
    "kim punches alice": "kim → kernel → cone → alice",
    "alice cannot punch sam because filtered at cone": "sam was told 192.0.2.5:",
    "sam cannot punch alice by tcp because no-rule at symmetric": "still answers alice",
    # Behind a carrier, the packet dies at home, with another destination than it was sent to.
    "yves cannot punch xena because filtered at napt_x": "yves → napt_y → cgn → napt_x",
    "hal cannot punch alice because blocked at hotel": "control: hal reaches hotel",
    "hal punches alice by tcp": "their SYNs crossed",
}
FAILS = {  # sentence: words of the last line of its evidence
    "alice punches sam by tcp": "no-rule at symmetric, and filtered at cone",
    "alice punches anna via direct": "the path is hairpinned; expected: direct",
    "hal punches alice": "hal gets no answer from files: blocked at hotel",
    "alice cannot punch xena by tcp": "alice and xena hear each other",
    "alice cannot punch sam because filtered at symmetric": "expected: filtered at symmetric",
}


def test_holes_are_punched_or_the_reason_is_told():
    text = YAML + "".join(f"  - {sentence}\n" for sentence in (*HOLDS, *FAILS))
    topology = loads(text.encode(), Path("t.yaml"))
    with Network(topology) as net, Wire(net) as wire:
        outcomes = {o.expectation.text: o for o in run_checks(net, wire, topology.expect)}
    for sentence, words in HOLDS.items():
        assert outcomes[sentence].verdict == "passed", outcomes[sentence]
        assert any(words in line for line in outcomes[sentence].evidence), outcomes[sentence]
    for sentence, words in FAILS.items():
        assert outcomes[sentence].verdict == "failed", outcomes[sentence]
        assert words in outcomes[sentence].evidence[-1], outcomes[sentence]
