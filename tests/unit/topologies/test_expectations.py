"""`expect:` in a topology: sentences become data. What is wrong is in tests/bad_topologies."""

from __future__ import annotations

import re
from ipaddress import IPv4Address
from pathlib import Path
from typing import get_args

import pytest
import yaml

from napt_lab.nat_node.core.verdict import Drop
from napt_lab.topologies.spec.assertions import (
    DROP_REASONS,
    SEEN_REASONS,
    Assertion,
    CannotPunch,
    CannotReach,
    ConnectsByIce,
    Expectation,
    Filters,
    GetsFile,
    GetsFileThrough,
    Hairpins,
    Is,
    KeepsConnection,
    Loses,
    Maps,
    Protocol,
    Punches,
    Reaches,
    Target,
    Via,
)
from napt_lab.topologies.spec.errors import TopologyError
from napt_lab.topologies.spec.expectations import MAX_EXPECTATIONS
from napt_lab.topologies.spec.loader import loads
from napt_lab.topologies.spec.napt_settings import Behavior
from napt_lab.topologies.spec.services import Service

ROOT = Path(__file__).parents[3]
HOME = """
internet:
  stackoverflow: {address: 151.101.1.69, runs: [web]}
  files: {address: 198.51.100.10, runs: [file-server]}
  relay: {address: 198.51.100.11, runs: [{relay: {port: 9001}}, {turn: {user: "a:b"}}]}
sites:
  home:
    gateway: {name: napt, kind: napt, public: 24.9.3.7, private: 10.0.0.1/24}
    hosts: {pc: 10.0.0.7, pc2: 10.0.0.8}
expect:
"""
FIRST = HOME.count("\n") + 1  # line of the first expectation
STACKOVERFLOW, NAPT, PC = map(IPv4Address, ("151.101.1.69", "24.9.3.7", "10.0.0.7"))
ADDRESS = Behavior.ADDRESS_DEPENDENT
WEB = Target(STACKOVERFLOW, 80, "stackoverflow", 80)


def expect(entry: str) -> Expectation:
    (expectation,) = loads(f"{HOME}  - {entry}\n".encode(), Path("t.yaml")).expect
    return expectation


@pytest.mark.parametrize(
    ("text", "assertion"),
    [
        ("pc reaches stackoverflow:80", Reaches("pc", WEB, Protocol.TCP)),
        (
            "pc reaches stackoverflow:80 as 24.9.3.7 via direct by tcp",
            Reaches("pc", WEB, Protocol.TCP, NAPT, Via.DIRECT),
        ),
        ("pc reaches stackoverflow:80 as napt", Reaches("pc", WEB, Protocol.TCP, NAPT)),
        ("pc reaches stackoverflow by http", Reaches("pc", WEB, Protocol.HTTP)),
        (
            "pc reaches stackoverflow",
            Reaches("pc", Target(STACKOVERFLOW, None, "stackoverflow"), Protocol.PING),
        ),
        (
            "stackoverflow reaches 24.9.3.7:53 by udp",
            Reaches("stackoverflow", Target(NAPT, 53), Protocol.UDP),
        ),
        (
            "stackoverflow reaches pc:80 at 24.9.3.7:8080",
            Reaches("stackoverflow", Target(NAPT, 8080, "pc", 80), Protocol.TCP),
        ),
        (
            "stackoverflow reaches pc:80 at napt",
            Reaches("stackoverflow", Target(NAPT, 80, "pc", 80), Protocol.TCP),
        ),
        (
            "pc reaches pc:80 at 24.9.3.7:8080",
            Reaches("pc", Target(NAPT, 8080, "pc", 80), Protocol.TCP),
        ),
        (
            "stackoverflow cannot reach pc:80 because no-route",
            CannotReach("stackoverflow", Target(PC, 80, "pc", 80), Protocol.TCP, "no-route"),
        ),
        (
            "stackoverflow cannot reach pc:80 at 24.9.3.7 because no-rule at napt",
            CannotReach(
                "stackoverflow", Target(NAPT, 80, "pc", 80), Protocol.TCP, "no-rule", "napt"
            ),
        ),
        (
            "pc reaches pc2:80 at napt:8080 via hairpinned at home within 80ms",
            Reaches(
                "pc",
                Target(NAPT, 8080, "pc2", 80),
                Protocol.TCP,
                None,
                Via.HAIRPINNED,
                "napt",
                0.08,
            ),
        ),
        (
            "pc loses at most 2 of 100 datagrams to stackoverflow:53",
            Loses("pc", 2, 100, Target(STACKOVERFLOW, 53, "stackoverflow", 53)),
        ),
        (
            "stackoverflow loses at most 0 of 9 datagrams to pc:53 at napt:5353",
            Loses("stackoverflow", 0, 9, Target(NAPT, 5353, "pc", 53)),
        ),
        (
            "internet cannot reach 203.0.113.9",
            CannotReach("internet", Target(IPv4Address("203.0.113.9")), Protocol.PING),
        ),
        (
            "stackoverflow gets a file from pc:80 at napt:8080 as stackoverflow via forwarded",
            GetsFile("stackoverflow", Target(NAPT, 8080, "pc", 80), STACKOVERFLOW, Via.FORWARDED),
        ),
        (
            "pc gets a file from pc2 through files",
            GetsFileThrough("pc", "pc2", "files", Service("file-server", 8080)),
        ),
        (
            "pc gets a file from pc2 through relay via relayed",
            GetsFileThrough("pc", "pc2", "relay", Service("relay", 9001)),
        ),
        (
            "pc gets a file from pc2 through relay:3478",
            GetsFileThrough("pc", "pc2", "relay", Service("turn", 3478, {"user": "a:b"})),
        ),
        ("napt maps endpoint-independent", Maps("napt", Behavior.ENDPOINT_INDEPENDENT)),
        ("napt filters address-dependent", Filters("napt", ADDRESS)),
        ("napt hairpins", Hairpins("napt", does=True)),
        ("napt does not hairpin", Hairpins("napt", does=False)),
        ("napt is restricted-cone", Is("napt", Behavior.ENDPOINT_INDEPENDENT, ADDRESS)),
        ("napt is address-dependent/address-dependent", Is("napt", ADDRESS, ADDRESS)),
        ("pc punches pc2", Punches("pc", "pc2", Protocol.UDP)),
        (
            "pc punches pc2 via hairpinned by tcp",
            Punches("pc", "pc2", Protocol.TCP, Via.HAIRPINNED),
        ),
        (
            "pc cannot punch files by tcp because filtered at napt",
            CannotPunch("pc", "files", Protocol.TCP, "filtered", "napt"),
        ),
        ("pc connects to pc2 by ice", ConnectsByIce("pc", "pc2")),
        ("pc connects to pc2 via relayed by ice", ConnectsByIce("pc", "pc2", Via.RELAYED)),
    ],
)
def test_a_sentence_says(text, assertion):
    assert expect(text).assertion == assertion


def test_an_entry_keeps_its_words_and_its_line():
    short = expect("pc  reaches stackoverflow:80")
    assert (short.text, short.line) == ("pc reaches stackoverflow:80", FIRST)
    assert (short.wait, short.message, short.points) == (0.0, "", 1)
    full = expect(
        "wait: 1m30s\n    message: look at the rules\n    points: 3\n    check: pc reaches pc2"
    )
    assert (full.text, full.line) == ("pc reaches pc2", FIRST + 3)
    assert (full.wait, full.message, full.points) == (90.0, "look at the rules", 3)


def test_a_carrier_with_an_error_is_the_only_error():
    text = """
internet: {server: 151.101.1.69}
sites:
  carrier: {gateway: {kind: napt, public: "", private: 100.64.0.1/10}}
  home:
    gateway: {kind: napt, behind: carrier, public: 100.64.0.7, private: 10.0.0.1/24}
    hosts: {pc: 10.0.0.7}
expect: [napt_home hairpins]
"""
    with pytest.raises(TopologyError) as caught:
        loads(text.encode(), Path("t.yaml"))
    (problem,) = caught.value.problems
    assert "sites.carrier.gateway.public" in problem


def test_a_napt_is_measured_from_two_places():
    alone = """
sites:
  a:
    gateway: {name: napt, kind: napt, public: 24.9.3.7, private: 10.0.0.1/24}
    hosts: {pc: 10.0.0.7}
expect: [napt hairpins]
"""
    with pytest.raises(TopologyError) as caught:
        loads(alone.encode(), Path("t.yaml"))
    (problem,) = caught.value.problems
    assert "allowed: a topology with one more host on the Internet" in problem


def test_a_file_that_expects_nothing():
    assert loads(f"{HOME}  []\n".encode(), Path("t.yaml")).expect == ()


def test_there_are_only_so_many():
    entries = "  - pc reaches pc2\n" * (MAX_EXPECTATIONS + 5)
    with pytest.raises(TopologyError) as caught:
        loads(f"{HOME}{entries}".encode(), Path("t.yaml"))
    assert caught.value.problems == [
        f"t.yaml:{FIRST + MAX_EXPECTATIONS}: expect[{MAX_EXPECTATIONS}]: too many expectations; "
        f"allowed: {MAX_EXPECTATIONS}"
    ]


def test_a_node_that_is_wrong_itself_is_complained_about_once():
    text = HOME.replace("pc: 10.0.0.7", "pc: 10.0.0.777")
    with pytest.raises(TopologyError) as caught:
        loads(f"{text}  - pc reaches stackoverflow:80\n".encode(), Path("t.yaml"))
    assert len(caught.value.problems) == 1


def test_every_sentence_of_the_handbook_is_understood():
    handbook = (ROOT / "topologies" / "README.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"```yaml\n(title: Everything.*?)```", handbook, re.DOTALL)
    kinds = {type(e.assertion) for e in loads(example.encode(), Path("t.yaml")).expect}
    wanted = set(get_args(Assertion)) - {KeepsConnection}  # this one is below `then:`
    assert kinds == wanted, "put a sentence of each kind into the example in topologies/README.md"
    for word in (*Protocol, *Via, *SEEN_REASONS):
        assert f"`{word}`" in handbook or f" {word}`" in handbook, word


def test_the_readme_s_examples_are_understood():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```yaml\n(.*?)```", readme, re.DOTALL)
    (topology,) = [block for block in blocks if block.startswith("internet:")]
    (expected,) = [block for block in blocks if block.startswith("expect:")]
    assert len(loads((topology + expected).encode(), Path("t.yaml")).expect) == 4
    (workflow,) = [block for block in blocks if block.startswith("on:")]
    (job,) = yaml.safe_load(workflow)["jobs"].values()
    assert [set(step) for step in job["steps"]] == [{"uses"}, {"uses", "with"}]


def test_every_reason_of_the_translator_can_be_expected():
    assert {drop.label for drop in Drop} == set(DROP_REASONS), (
        "change DROP_REASONS in topologies/spec/assertions.py"
    )
