"""The STUN server on a host with two addresses, asked by coturn's clients through NAPTs."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from napt_lab.labs.capture.wire import Wire
from napt_lab.labs.check.run import run_checks
from napt_lab.labs.matrix.napt_types import KERNEL, USUAL_TYPES, chosen
from napt_lab.topologies.network.builder import Network
from napt_lab.topologies.spec.assertions import Expectation
from napt_lab.topologies.spec.loader import loads
from napt_lab.topologies.spec.napt_settings import Behavior, PortAssignment
from napt_lab.topologies.spec.presets import KINDS
from napt_lab.topologies.spec.roster import Roster
from napt_lab.topologies.spec.sentences import sentence
from tests.network.turn_programs import need
from tests.waiting import wait_until

pytestmark = pytest.mark.network(timeout=60)

SITE = """
  s{number}:
    gateway: {{name: napt_{number}, kind: napt, public: 24.9.3.{number}, private: 10.0.0.1/24,
               {keys}}}
    hosts: {{pc{number}: 10.0.0.7, tv{number}: 10.0.0.8}}
"""
ASK = ["turnutils_natdiscovery", "-m", "-f", "198.51.100.2"]
RANDOM = [type_ for type_ in USUAL_TYPES if type_.nat.ports is PortAssignment.RANDOM]
TYPES = [*RANDOM, *chosen(KERNEL, None)[0]]
KERNELS = 10 + len(RANDOM)  # its number


@pytest.fixture(scope="session")
def net():
    text = "internet:\n  stun: {address: [198.51.100.2, 198.51.100.3], runs: [stun]}\n"
    text += "  outside: 203.0.113.5\nsites:"
    for number, type_ in enumerate(TYPES, start=10):
        keys = ", ".join(f"{key}: {value}" for key, value in type_.keys.items())
        text += SITE.format(number=number, keys=keys)
    with Network(loads(text.encode(), Path("stun.yaml"))) as net:
        yield net


def found_by_coturn(said):
    """The kind of NAPT in coturn's words, in those of `is`.

    Its third question goes to the other port of the *first* address (RFC 5780, section 4.3: of the
    other one), so it never finds address-dependent mapping. The answers that it prints show it.
    """
    words = re.findall("NAT with (.*?) (Mapping|Filtering)!", said)
    behaviors = {what: Behavior("-".join(name.lower().split())) for name, what in words}
    seen = re.findall("UDP reflexive addr: (.*)", said)
    if behaviors["Mapping"] is not Behavior.ENDPOINT_INDEPENDENT and seen[0] == seen[2]:
        behaviors["Mapping"] = Behavior.ADDRESS_DEPENDENT
    return KINDS[behaviors["Mapping"], behaviors["Filtering"]]


def test_coturn_and_our_own_measurement_agree_on_every_type(net):
    """Where a port is kept, coturn's client, alone in its site, takes the mapping for another."""
    need("turnutils_natdiscovery")
    asked = {n: net[f"pc{n}"].start(ASK) for n, _ in enumerate(TYPES, start=10)}
    said = {number: process.wait(30.0).stdout for number, process in asked.items()}
    found = {number: found_by_coturn(words) for number, words in said.items()}
    assert found.pop(KERNELS) == "port-restricted-cone"
    assert len(set(found.values())) == len(KINDS)
    assert all("Other addr: : 198.51.100.3:3479" in words for words in said.values())
    sentences = [f"napt_{number} is {kind}" for number, kind in found.items()]
    sentences.append(f"napt_{KERNELS} is symmetric")
    roster = Roster(net.topology)
    expected = [Expectation(text, 1, sentence(text, roster)) for text in sentences]
    with Wire(net) as wire:
        outcomes = run_checks(net, wire, expected)
    assert not [outcome for outcome in outcomes if outcome.verdict != "passed"]


def test_coturns_other_client_gets_all_its_answers(net):
    """Also the one to another of its ports, and the one in fragments: it waits for them forever."""
    need("turnutils_stunclient")
    for address in ("198.51.100.2", "198.51.100.3"):
        said = net["outside"].run(["turnutils_stunclient", address]).stdout
        assert said.count("UDP reflexive addr: 203.0.113.5:") == 3, said
    wanted = {"198.51.100.2:3478", "198.51.100.3:3478"}

    def told():
        return {event.fields["by"] for event in net.log.since() if event.name == "told"}

    wait_until(lambda: told() >= wanted, lambda: f"answers by {wanted}, not only by {told()}")
