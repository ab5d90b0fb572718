"""Links that lose packets by chance: a lost packet is no proof of anything."""

from __future__ import annotations

from pathlib import Path

import pytest

from napt_lab.labs.capture.wire import Wire
from napt_lab.labs.check.run import run_all
from napt_lab.labs.verdict.verdicts import Verdict
from napt_lab.topologies.network.builder import Network
from napt_lab.topologies.spec.loader import loads

pytestmark = pytest.mark.network(timeout=150)


def outcomes_of(text):
    topology = loads(text.encode(), Path("chance.yaml"))
    with Network(topology) as net, Wire(net) as wire:
        return run_all(net, wire)


def verdicts(link, *sentences, gateway="", far=""):
    """Of each sentence, with its evidence; `link`: that of the NAPT."""
    text = f"""
internet: {{server: 151.101.1.69, near: 151.101.1.70, other: 151.101.2.69}}
sites:
  home:
    gateway: {{name: napt, kind: napt, public: 24.9.3.7, private: 10.0.0.1/24, link: {link}
              {gateway}}}
    hosts: {{alice: 10.0.0.7, anna: 10.0.0.8}}
  away:
    gateway: {{name: far, kind: napt, public: 203.0.113.77, private: 10.0.0.1/24 {far}}}
    hosts: {{bob: 10.0.0.9}}
expect:
""" + "".join(f"  - {sentence}\n" for sentence in sentences)
    return [(each.verdict, each.evidence) for each in outcomes_of(text)]


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
  - do: [plug alice, unplug napt]
    expect: [server cannot reach napt]
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


@pytest.mark.parametrize(
    ("protocol", "link", "gateway", "far"),
    [
        ("udp", "{loss: 30%}", "", ""),
        ("tcp", "{loss: 30%}", "", ""),
        ("udp", "{delay: 1ms}", ", preset: symmetric",
         ", preset: restricted-cone, link: {loss: 60%}"),
    ],
)  # fmt: skip
def test_no_hole_is_missed_by_chance(protocol, link, gateway, far):
    """One loss may be why what follows is filtered; and TCP's ends seldom are the loss itself."""
    sentence = f"alice cannot punch bob by {protocol}"
    for verdict, evidence in verdicts(link, *[sentence] * 16, gateway=gateway, far=far):
        assert verdict is not Verdict.PASSED, evidence


def test_each_ping_is_lost_for_itself():
    sentences = ["alice reaches server", "anna reaches server"] * 6
    for verdict, evidence in verdicts("{delay: 50ms, loss: 20%}", *sentences):
        assert verdict is Verdict.PASSED, evidence


def test_a_slow_answer_is_one():
    false = ("alice cannot reach server", "alice cannot reach server:80",
             "alice cannot reach server:3478 by udp", "alice cannot punch bob by udp")  # fmt: skip
    for verdict, evidence in verdicts("{delay: 3s}", *false):
        assert verdict is Verdict.FAILED, evidence


def test_what_is_lost_always_is_not_lost_by_chance():
    seen = verdicts("{loss: 100%}", "alice cannot reach server", "alice reaches server")
    assert [verdict for verdict, _ in seen] == [Verdict.PASSED, Verdict.FAILED], seen
    assert "the link loses all packets (loss)" in str(seen[0])


def test_a_host_whose_link_loses_all_answers_itself():
    text = """
internet: {server: 151.101.1.69}
sites:
  home:
    gateway: {name: napt, kind: napt, public: 24.9.3.7, private: 10.0.0.1/24}
    hosts: {alice: {address: 10.0.0.7, link: {loss: 100%}}, anna: 10.0.0.8}
expect: [alice cannot reach server because lost at alice, anna cannot reach alice]
"""
    outcomes = outcomes_of(text)
    assert all(each.verdict is Verdict.PASSED for each in outcomes), outcomes


def test_all_that_is_lost_proves_nothing():
    ((verdict, evidence),) = verdicts("{loss: 99%}", "alice cannot reach server:3478 by udp")
    assert verdict is Verdict.ERROR
    assert "the next packet may pass (so in 10 tries)" in evidence[-1]


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
    outcomes = outcomes_of(UNPLUGGED)
    *of_alice, of_napt = outcomes
    assert all(each.verdict is Verdict.PASSED for each in outcomes), outcomes
    for each in of_alice:
        assert "control: alice answers itself by the same probe" in each.evidence
    assert "control: alice reaches napt by the same probe on their own segment" in of_napt.evidence


def test_what_is_measured_has_the_link_for_itself():
    sentence = "alice loses at most 11 of 100 datagrams to server:9"
    others = ["bob reaches server:80"] * 4
    seen = verdicts("{loss: {every: 10}}", *[sentence, *others] * 4)
    assert all(verdict is Verdict.PASSED for verdict, _ in seen), seen


def test_a_kept_connection_shares_its_listener():
    text = """
internet: {server: 151.101.1.69}
sites:
  home:
    gateway: {name: napt, kind: napt, public: 24.9.3.7, private: 10.0.0.1/24}
    hosts: {alice: 10.0.0.7}
then:
  - do: [wait 0s]
    expect:
      - alice keeps its connection to server:90
      - alice gets a file from server:90
      - alice cannot reach server:91 because refused at server
"""
    outcomes = outcomes_of(text)
    assert all(each.verdict is Verdict.PASSED for each in outcomes), outcomes
