"""Links that lose packets by chance: a lost packet is no proof of anything."""

from __future__ import annotations

from pathlib import Path

import pytest

from napt_lab.labs.capture.wire import Wire
from napt_lab.labs.check.run import run_all, run_checks
from napt_lab.labs.verdict.verdicts import Verdict
from napt_lab.topologies.network.builder import Network
from napt_lab.topologies.spec.loader import loads

pytestmark = pytest.mark.network(timeout=150)


def verdicts(link, *sentences, gateway=""):
    """Of each sentence, with its evidence; `link`: that of the NAPT."""
    text = f"""
internet: {{server: 151.101.1.69, near: 151.101.1.70, other: 151.101.2.69}}
sites:
  home:
    gateway: {{name: napt, kind: napt, public: 24.9.3.7, private: 10.0.0.1/24, link: {link}
              {gateway}}}
    hosts: {{alice: 10.0.0.7, anna: 10.0.0.8}}
  away:
    gateway: {{name: far, kind: napt, public: 203.0.113.77, private: 10.0.0.1/24}}
    hosts: {{bob: 10.0.0.9}}
expect:
""" + "".join(f"  - {sentence}\n" for sentence in sentences)
    topology = loads(text.encode(), Path("chance.yaml"))
    with Network(topology) as net, Wire(net) as wire:
        return [(each.verdict, each.evidence) for each in run_checks(net, wire, topology.expect)]


UNPLUGGED = """
internet: {server: 151.101.1.69}
sites:
  home:
    gateway: {name: napt, kind: napt, public: 24.9.3.7, private: 10.0.0.1/24,
              rules: [tcp 80 -> 10.0.0.7:80]}
    hosts: {alice: 10.0.0.7, anna: 10.0.0.8}
then:
  - do: [unplug alice]
    expect:
      - server cannot reach alice:80 at 24.9.3.7
      - anna cannot reach alice
      - alice cannot reach anna:80
"""

FALSE = (
    "alice cannot reach server",
    "alice cannot reach server:3478 by udp",
    "alice cannot punch bob by udp",
)
TRUE = (
    "alice reaches server",
    "alice reaches server:3478 by udp",
    "alice punches bob by udp",
    "bob cannot reach alice:80 at 24.9.3.7",
)


@pytest.mark.parametrize("loss", ["5%", "50%"])
def test_what_is_lost_by_chance_makes_no_false_sentence_hold(loss):
    for verdict, evidence in verdicts(f"{{loss: {loss}}}", *FALSE * 4):
        assert verdict is not Verdict.PASSED, evidence


def test_true_sentences_hold_although_packets_are_lost():
    for verdict, evidence in verdicts("{loss: 10%}", *TRUE * 3):
        assert verdict is Verdict.PASSED, evidence


def test_all_that_is_lost_proves_nothing():
    ((verdict, evidence),) = verdicts("{loss: 99%}", "alice cannot reach server:3478 by udp")
    assert verdict is Verdict.ERROR
    assert "the next packet may pass (10 tries)" in evidence[-1]


def test_a_link_that_loses_packets_is_no_filter():
    behaviors = ("endpoint-independent", "address-dependent", "address-and-port-dependent")
    sentences = [f"napt filters {behavior}" for behavior in behaviors]
    seen = verdicts(
        "{loss: 25%}", *sentences, "napt is full-cone", gateway=", filtering: endpoint-independent"
    )
    assert [verdict for verdict, _ in seen] == [
        Verdict.PASSED, Verdict.FAILED, Verdict.FAILED, Verdict.PASSED
    ], seen  # fmt: skip


def test_an_unplugged_host_is_out_of_reach():
    """Nothing reaches it for a control, and it reaches nothing: it answers itself."""
    topology = loads(UNPLUGGED.encode(), Path("unplugged.yaml"))
    with Network(topology) as net, Wire(net) as wire:
        outcomes = run_all(net, wire)
    for each in outcomes:
        assert each.verdict is Verdict.PASSED, outcomes
        assert "control: alice answers itself by the same probe" in each.evidence


def test_what_is_measured_has_the_link_for_itself():
    sentence = "alice loses at most 11 of 100 datagrams to server:9"
    others = ["bob reaches server:80"] * 4
    seen = verdicts("{loss: {every: 10}}", *[sentence, *others] * 4)
    assert all(verdict is Verdict.PASSED for verdict, _ in seen), seen
