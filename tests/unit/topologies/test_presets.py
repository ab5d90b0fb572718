"""Presets named after places bring a firewall along, and keys beside them win."""

from __future__ import annotations

from ipaddress import IPv4Interface
from pathlib import Path

import pytest

from napt_lab.topologies.spec.firewall import Firewall, Traffic
from napt_lab.topologies.spec.loader import loads
from napt_lab.topologies.spec.presets import FIREWALLS, PRESETS, Preset

UDP = Traffic("udp")


def gateway(keys):
    text = f"""
sites:
  a:
    gateway: {{kind: napt, public: 24.9.3.7, private: 10.0.0.1/24, {keys}}}
"""
    return loads(text.encode(), Path("t.yaml")).sites[0].gateway


@pytest.mark.parametrize("preset", Preset)
def test_a_preset_gives_settings_and_a_firewall(preset):
    made = gateway(f"preset: {preset.value}")
    assert made.napt == PRESETS[preset]
    assert made.firewall == FIREWALLS.get(preset)


def test_the_hotel_blocks_udp_and_the_office_lets_dns_through():
    assert gateway("preset: hotel").firewall == Firewall(blocks=(UDP,))
    office = gateway("preset: office").firewall
    assert office == Firewall(blocks=(UDP,), allows=(Traffic("udp", 53),))
    lines = [line.strip() for line in office.ruleset([IPv4Interface("24.9.3.7/24")]).splitlines()]
    drop = 'log prefix "blocked" group 8 drop'
    assert lines[3:5] == ["udp dport 53 accept", f'iifname "lan0" meta l4proto udp {drop}']


def test_a_firewall_beside_a_preset_takes_its_place():
    made = gateway("preset: hotel, firewall: {blocks: [tcp 25]}")
    assert made.firewall == Firewall(blocks=(Traffic("tcp", 25),))
    assert gateway("").firewall is None
