"""The fixture `napt_lab` takes a topology as text and as a dictionary."""

from __future__ import annotations

from pathlib import Path

import pytest

from napt_lab.labs.pytest_plugin.one_network import OneNetwork

pytestmark = pytest.mark.network(timeout=60)

TEXT = """
internet: {server: 151.101.1.69}
sites:
  home:
    gateway: {kind: napt, public: 24.9.3.7, private: 10.0.0.1/24}
    hosts: {pc: 10.0.0.7}
"""
SAME = {
    "internet": {"server": "151.101.1.69"},
    "sites": {
        "home": {
            "gateway": {"kind": "napt", "public": "24.9.3.7", "private": "10.0.0.1/24"},
            "hosts": {"pc": "10.0.0.7"},
        }
    },
}


@pytest.mark.parametrize("topology", [TEXT, SAME], ids=["text", "dictionary"])
def test_a_topology_need_not_be_in_a_file(topology, tmp_path: Path):
    with OneNetwork(tmp_path) as network:
        net = network.build(topology)
        assert net["pc"].run(["ping", "-c1", "-W2", "151.101.1.69"]).status == 0


def test_its_errors_have_a_place(tmp_path: Path):
    wrong = {**SAME, "internett": {}}
    with OneNetwork(tmp_path) as network, pytest.raises(pytest.fail.Exception) as failed:
        network.build(wrong)
    assert "topology.yaml:" in str(failed.value)
    assert "internett: unknown key" in str(failed.value)
    assert failed.value.__suppress_context__  # else pytest would show it twice
