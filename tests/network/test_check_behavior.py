"""What a NAPT does, measured from outside: with every behavior, whatever its ports are like."""

from __future__ import annotations

from pathlib import Path

import pytest

from napt_lab.labs.capture.wire import Wire
from napt_lab.labs.check.run import run_checks
from napt_lab.topologies.network.builder import Network
from napt_lab.topologies.spec.loader import loads
from napt_lab.topologies.spec.napt_settings import Behavior
from napt_lab.topologies.spec.presets import KINDS

pytestmark = pytest.mark.network(timeout=60)

INDEPENDENT, ADDRESS, BOTH = (
    "endpoint-independent",
    "address-dependent",
    "address-and-port-dependent",
)
NAPTS = {  # settings in YAML: mapping, filtering, and whether it hairpins (None: nobody can tell)
    "filtering: endpoint-independent": (INDEPENDENT, INDEPENDENT, True),
    f"mapping: {ADDRESS}, filtering: {ADDRESS}, port-assignment: preserve": (
        ADDRESS,
        ADDRESS,
        True,
    ),
    f"mapping: {BOTH}": (BOTH, BOTH, None),
    f"mapping: {BOTH}, port-assignment: preserve, hairpinning: false": (BOTH, BOTH, False),
    "engine: nftables, preset: symmetric": (BOTH, BOTH, None),
    "engine: nftables": (BOTH, BOTH, None),  # keeps a port until a session would clash
}


def yaml():
    """All of these NAPTs, what they do, and what they do not."""
    sites, expected = [], {}
    for number, (settings, (mapping, filtering, hairpins)) in enumerate(NAPTS.items()):
        name = f"napt{number}"
        sites.append(
            f"  s{number}: {{gateway: {{name: {name}, kind: napt, public: 24.9.{number}.7, "
            f"private: 10.0.0.1/24, {settings}}}, "
            f"hosts: {{pc{number}: 10.0.0.7, tv{number}: 10.0.0.8}}}}\n"
        )
        for behavior in (INDEPENDENT, ADDRESS, BOTH):
            expected[f"{name} maps {behavior}"] = "passed" if behavior == mapping else "failed"
            expected[f"{name} filters {behavior}"] = "passed" if behavior == filtering else "failed"
        kind = KINDS[Behavior(mapping), Behavior(filtering)]
        for word in (kind, "symmetric", "restricted-cone"):
            expected[f"{name} is {word}"] = "passed" if word == kind else "failed"
        yes, no = ("error", "error") if hairpins is None else ("passed", "failed")
        expected[f"{name} hairpins"] = no if hairpins is False else yes
        expected[f"{name} does not hairpin"] = yes if hairpins is False else no
    hosts = "internet: {a: 198.51.100.2}\n"
    sentences = "".join(f"  - {sentence}\n" for sentence in expected)
    return f"{hosts}sites:\n{''.join(sites)}expect:\n{sentences}", expected


def test_every_behavior_is_told_from_the_others():
    text, expected = yaml()
    topology = loads(text.encode(), Path("t.yaml"))
    with Network(topology) as net, Wire(net) as wire:
        outcomes = run_checks(net, wire, topology.expect)
    found = {outcome.expectation.text: outcome.verdict.value for outcome in outcomes}
    assert found == expected, [o for o in outcomes if found != expected]
    unknown = [o.evidence[-1] for o in outcomes if o.verdict == "error"]
    assert [words for words in unknown if "so hairpinning cannot be seen" not in words] == []


def test_a_lonely_host_cannot_show_what_a_preserved_port_hides():
    text = """
internet: {a: 198.51.100.2}
sites:
  s: {gateway: {name: napt, kind: napt, public: 24.9.3.7, private: 10.0.0.1/24,
                port-assignment: preserve}, hosts: {pc: 10.0.0.7}}
expect: [napt maps endpoint-independent, napt filters address-and-port-dependent]
"""
    topology = loads(text.encode(), Path("t.yaml"))
    with Network(topology) as net, Wire(net) as wire:
        mapping, filtering = run_checks(net, wire, topology.expect)
    assert mapping.verdict == "error"
    (why,) = mapping.evidence
    assert why.startswith("cannot tell: napt keeps")
    assert "only with a second host" in why
    assert filtering.verdict == "passed"
