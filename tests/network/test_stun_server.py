"""The STUN server on a host with two addresses, asked by coturn's clients through NAPTs."""

from __future__ import annotations

from pathlib import Path

import pytest

from napt_lab.topologies.network.builder import Network
from napt_lab.topologies.spec.loader import loads
from tests.network.turn_programs import need

pytestmark = pytest.mark.network(timeout=60)

PRESETS = {  # what coturn's client says of them
    "full-cone": ("Endpoint Independent Mapping", "Endpoint Independent Filtering"),
    "restricted-cone": ("Endpoint Independent Mapping", "Address Dependent Filtering"),
    "port-restricted-cone": ("Endpoint Independent Mapping", "Address and Port Dependent Filter"),
    "symmetric": ("Address and Port Dependent Mapping", "Address and Port Dependent Filtering"),
}
SITE = """
  s{number}:
    gateway: {{kind: napt, public: 24.9.3.{number}, private: 10.0.0.1/24, preset: {preset}}}
    hosts: {{pc{number}: 10.0.0.7}}
"""


@pytest.fixture(scope="module")
def net():
    text = "internet:\n  stun: {address: [198.51.100.2, 198.51.100.3], runs: [stun]}\n"
    text += "  outside: 203.0.113.5\nsites:"
    for number, preset in enumerate(PRESETS, start=11):
        text += SITE.format(number=number, preset=preset)
    with Network(loads(text.encode(), Path("stun.yaml"))) as net:
        yield net


def test_coturn_finds_out_what_each_napt_does(net):
    need("turnutils_natdiscovery")
    asked = {
        preset: net[f"pc{number}"].start(["turnutils_natdiscovery", "-m", "-f", "198.51.100.2"])
        for number, preset in enumerate(PRESETS, start=11)
    }
    for preset, process in asked.items():
        said = process.wait(30.0).stdout
        for found in PRESETS[preset]:
            assert f"NAT with {found}" in said, f"{preset}: {said}"
        assert "Other addr: : 198.51.100.3:3479" in said


def test_coturns_other_client_gets_all_its_answers(net):
    """Also the one to another of its ports, and the one in fragments: it waits for them forever."""
    need("turnutils_stunclient")
    for address in ("198.51.100.2", "198.51.100.3"):
        said = net["outside"].run(["turnutils_stunclient", address]).stdout
        assert said.count("UDP reflexive addr: 203.0.113.5:") == 3, said
    told = [event.fields for event in net.log.since() if event.name == "told"]
    assert {each["by"] for each in told} >= {"198.51.100.2:3478", "198.51.100.3:3478"}
