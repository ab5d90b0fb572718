"""What a dead or faulty NAPT stops says nothing about what a NAPT would have stopped."""

from __future__ import annotations

from pathlib import Path

import pytest

from napt_lab.labs.capture.wire import Wire
from napt_lab.labs.check.run import run_checks
from napt_lab.topologies.network.builder import Network
from napt_lab.topologies.spec.loader import loads

pytestmark = pytest.mark.network(timeout=60)

TOPOLOGY = """
internet: {{web: 151.101.1.69, visitor: 203.0.113.5}}
sites:
  home:
    gateway: {{name: napt, kind: napt, public: 24.9.3.7, private: 10.0.0.1/24,
              translator: {translator}}}
    hosts: {{pc: 10.0.0.7}}
expect:
  - pc cannot reach web:80
  - visitor cannot reach pc:22 at 24.9.3.7
"""
FAULTS = {
    "dead.py": "def translate(packet, now):\n    return packet\n",
    "faulty.py": "def translate(packet, now):\n    return 1 / 0\n",
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_napt_that_is_no_napt_any_more_protects_nobody(fault, tmp_path):
    (tmp_path / fault).write_text(FAULTS[fault])
    source = TOPOLOGY.format(translator=fault).encode()
    topology = loads(source, Path(tmp_path / "home.yaml"))
    with Network(topology) as net, Wire(net) as wire:
        if fault == "dead.py":
            (program,) = net["napt"].processes
            program.kill()
            program.await_end()
        outcomes = run_checks(net, wire, topology.expect)
    assert [outcome.verdict for outcome in outcomes] == ["error", "error"], outcomes
