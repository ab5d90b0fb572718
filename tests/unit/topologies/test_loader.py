"""Topology files: good ones become models, bad ones become lines that say what to mend.

Each file in tests/bad_topologies is wrong in one way, and the file of the same name with
`.expected` holds every line that its writer must see.
"""

from __future__ import annotations

import os
import re
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from napt_lab.topologies.spec.errors import TopologyError
from napt_lab.topologies.spec.loader import MAX_NODES, load, loads
from napt_lab.topologies.spec.model import (
    Engine,
    Gateway,
    GatewayKind,
    Isp,
)
from napt_lab.topologies.spec.napt_settings import (
    Behavior,
    LeaseLimits,
    NaptSettings,
    PortAssignment,
    StaticRule,
)
from napt_lab.topologies.spec.presets import PRESETS, Preset
from napt_lab.topologies.spec.services import Channels, Service
from napt_lab.topologies.spec.yaml_nodes import MAX_BYTES

ROOT = Path(__file__).parents[3]
BAD = ROOT / "tests" / "bad_topologies"
SHIPPED = sorted((ROOT / "topologies").glob("*.yaml"))

ALL_SETTINGS = """
title: Every key there is
offload: on
internet:
  files:
    address: 198.51.100.10/24
    runs:
      - web
      - file-server: {port: 8081, read-only: yes}
      - turn: {user: "al:pw", channels: rfc5766}
  relay: 203.0.113.70/26
sites:
  a:
    gateway:
      name: border
      kind: napt
      public: 198.51.100.7
      private: 10.0.0.1/16
      engine: python
      preset: full-cone
      mapping: address-dependent
      filtering: endpoint-independent
      hairpinning: off
      port-assignment: sequential
      port-parity: on
      ports: 2000-2001
      port-hold: 2m
      idle: {tcp: 2h4m, tcp-transitory: 1m0.5s, udp: 0.5s, icmp: 60}
      closing-hold: 0
      refuse-syn: off
      host-limit: 10
      session-limit: 1000
      rules: ["tcp 8080 -> 10.0.9.7:80", udp 8080->10.0.9.7:81]
    hosts:
      alice: {address: 10.0.9.7/16, runs: [file-server]}
  b:
    gateway: {kind: proxy, public: 198.51.100.8, private: 192.168.7.1}
  c:
    gateway: {kind: transparent-proxy, public: 198.51.100.9, private: 10.0.0.1}
"""


def problems_of(text: str | bytes) -> list[str]:
    data = text.encode() if isinstance(text, str) else text
    with pytest.raises(TopologyError) as caught:
        loads(data, Path("t.yaml"))
    return caught.value.problems


# --- good files


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_every_shipped_topology_loads(path: Path) -> None:
    topology = load(path)
    assert topology.name == path.stem
    assert topology.title


def test_two_sites() -> None:
    topology = load(ROOT / "topologies" / "two-sites.yaml")
    a, b = topology.sites
    assert (a.gateway.name, b.gateway.name) == ("napt_a", "napt_b")
    assert a.gateway.public.ip == IPv4Address("24.9.3.7")
    assert a.network == b.network == IPv4Network("10.0.0.0/24")
    assert [(host.name, str(host.address)) for host in a.hosts] == [("alice", "10.0.0.7/24")]
    assert [(host.name, str(host.address)) for host in b.hosts] == [("bob", "10.0.0.9/24")]
    assert topology.isp_of(a.gateway.public) != topology.isp_of(b.gateway.public)
    files = next(host for host in topology.internet if host.name == "files")
    assert files.runs == (Service("file-server", 8080),)


def test_one_site_has_the_course_s_addresses() -> None:
    topology = load(ROOT / "topologies" / "one-site.yaml")
    (home,) = topology.sites
    assert home.gateway.public.ip == IPv4Address("24.9.3.7")
    addresses = {host.name: str(host.address.ip) for host in topology.hosts()}
    assert addresses["pc"] == "10.0.0.7"
    assert addresses["stackoverflow"] == "151.101.1.69"


def napt(*keys: str) -> Gateway:
    given = ", ".join(("kind: napt", "public: 24.9.3.7", "private: 10.0.0.1", *keys))
    text = f"sites: {{home: {{gateway: {{{given}}}, hosts: {{pc: 10.0.0.7}}}}}}"
    return loads(text.encode(), Path("t.yaml")).sites[0].gateway


@pytest.mark.parametrize("preset", list(Preset))
def test_a_preset_is_a_whole_behavior(preset: Preset) -> None:
    assert napt(f"preset: {preset.value}").napt == PRESETS[preset]


def test_a_key_beside_a_preset_goes_before_it() -> None:
    settings = napt("filtering: address-dependent", "preset: level-8", "idle: {udp: 10s}").napt
    assert settings == replace(
        PRESETS[Preset.LEVEL_8], filtering=Behavior.ADDRESS_DEPENDENT, udp_idle=10
    )


def test_the_kernel_s_nat_is_what_the_file_says_or_the_file_is_refused() -> None:
    usual = napt("engine: nftables").napt
    assert usual is not None
    assert usual.mapping is usual.filtering is Behavior.ADDRESS_AND_PORT_DEPENDENT
    assert napt("engine: nftables", "preset: symmetric", "closing-hold: 1s").napt == replace(
        PRESETS[Preset.SYMMETRIC], refuse_syn=False, closing_hold=1
    )


def test_every_key_arrives_in_the_model() -> None:
    topology = loads(ALL_SETTINGS.encode(), Path("all.yaml"))
    assert (topology.title, topology.offload) == ("Every key there is", True)
    assert topology.isps == (
        Isp(IPv4Network("198.51.100.0/24"), IPv4Address("198.51.100.1")),
        Isp(IPv4Network("203.0.113.64/26"), IPv4Address("203.0.113.65")),
    )
    files = topology.internet[0]
    assert files.runs == (
        Service("web", 80),
        Service("file-server", 8081, {"read-only": True}),
        Service("turn", 3478, {"user": "al:pw", "channels": Channels.RFC5766}),
    )
    a, b, c = topology.sites
    gateway = a.gateway
    assert (gateway.name, gateway.kind, gateway.engine) == (
        "border",
        GatewayKind.NAPT,
        Engine.PYTHON,
    )
    assert gateway.private == IPv4Interface("10.0.0.1/16")
    assert gateway.napt == NaptSettings(
        mapping=Behavior.ADDRESS_DEPENDENT,
        filtering=Behavior.ENDPOINT_INDEPENDENT,
        hairpinning=False,
        port_assignment=PortAssignment.SEQUENTIAL,
        port_parity=True,
        ports=range(2000, 2002),
        port_hold=120,
        tcp_idle=7440,
        tcp_transitory_idle=60.5,
        udp_idle=0.5,
        icmp_idle=60,
        closing_hold=0,
        refuse_syn=False,
        host_limit=10,
        session_limit=1000,
        rules=(
            StaticRule("tcp", 8080, IPv4Address("10.0.9.7"), 80),
            StaticRule("udp", 8080, IPv4Address("10.0.9.7"), 81),
        ),
    )
    assert a.hosts[0].address == IPv4Interface("10.0.9.7/16")
    assert (b.gateway.name, b.gateway.napt, b.hosts) == ("proxy_b", None, ())
    assert (c.gateway.name, c.gateway.napt) == ("tproxy_c", None)


@pytest.mark.parametrize(
    ("text", "port_control"),
    [
        ("on", LeaseLimits(120, 86_400, 32)),
        ("off", None),
        ("{min-lifetime: 2s, max-lifetime: 1h, quota: 5}", LeaseLimits(2, 3600, 5)),
        ("{max-lifetime: 10m}", LeaseLimits(120, 600, 32)),
    ],
)
def test_port_control_is_a_switch_or_has_settings(text, port_control) -> None:
    gateway = f"kind: napt, public: 24.9.3.7, private: 10.0.0.1, port-control: {text}"
    site = loads(f"sites: {{a: {{gateway: {{{gateway}}}}}}}".encode(), Path("t.yaml")).sites[0]
    assert site.gateway.napt.port_control == port_control


def test_settings_left_out_are_the_defaults() -> None:
    text = "sites: {a: {gateway: {kind: napt, public: 24.9.3.7, private: 10.0.0.1}}}"
    gateway = loads(text.encode(), Path("t.yaml")).sites[0].gateway
    assert gateway.name == "napt_a"
    assert gateway.engine is Engine.PYTHON
    assert gateway.napt == NaptSettings()


def test_a_translator_of_one_s_own_is_found_from_the_yaml_file_on(tmp_path: Path) -> None:
    (tmp_path / "mine.py").touch()
    file = tmp_path / "t.yaml"
    file.write_text(
        """
        sites:
          a: {gateway: {kind: napt, public: 24.9.3.7, private: 10.0.0.1, translator: mine.py}}
          b: {gateway: {kind: napt, public: 24.9.3.8, private: 10.0.0.1, engine: nftables}}
          c: {gateway: {kind: proxy, public: 24.9.3.9, private: 10.0.0.1}}
        """
    )
    topology = load(file)
    assert topology.sites[0].gateway.translator == tmp_path / "mine.py"
    assert topology.engine() == "translator mine.py, nftables"
    other = topology.translated_by(Path("other.py"))
    assert [site.gateway.translator for site in other.sites] == [Path("other.py"), None, None]


def test_a_translator_may_not_be_a_link_to_a_file_elsewhere(tmp_path: Path) -> None:
    (tmp_path / "elsewhere.py").touch()
    folder = tmp_path / "home"
    folder.mkdir()
    (folder / "mine.py").symlink_to("../elsewhere.py")
    source = "sites: {a: {gateway: {kind: napt, public: 24.9.3.7, private: 10.0.0.1, %s}}}"
    with pytest.raises(
        TopologyError, match=r"'mine.py' is outside of the folder of this YAML file"
    ):
        loads((source % "translator: mine.py").encode(), folder / "t.yaml")


@pytest.mark.parametrize(("name", "engine"), [("two-sites", "python"), ("level-8-proxy", "python")])
def test_who_translates(name: str, engine: str) -> None:
    assert load(ROOT / "topologies" / f"{name}.yaml").engine() == engine


def test_an_alias_that_stays_small_is_followed() -> None:
    text = """
        sites:
          a: {gateway: {kind: napt, public: 24.9.3.7, private: 10.0.0.1, idle: &brief {udp: 1s}}}
          b: {gateway: {kind: napt, public: 24.9.3.8, private: 10.0.0.1, idle: *brief}}
    """
    for site in loads(text.encode(), Path("t.yaml")).sites:
        assert site.gateway.napt is not None
        assert site.gateway.napt.udp_idle == 1


def test_the_greatest_number_of_nodes_is_allowed() -> None:
    network = IPv4Network("198.51.100.0/22")
    hosts = "".join(f"  h{i}: {network[i + 1]}/22\n" for i in range(1, MAX_NODES))
    assert len(loads(f"internet:\n{hosts}".encode(), Path("t.yaml")).internet) == MAX_NODES - 1


# --- bad files


@pytest.mark.parametrize("path", sorted(BAD.glob("*.yaml")), ids=lambda path: path.stem)
def test_bad_topology(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(BAD)
    with pytest.raises(TopologyError) as caught:
        load(Path(path.name))
    expected = path.with_suffix(".expected").read_text(encoding="utf-8")
    assert "".join(f"{line}\n" for line in caught.value.problems) == expected, (
        f"if these errors are right, make {path.stem}.expected anew: cd tests/bad_topologies && "
        f"../../.venv/bin/napt-lab check {path.name} 2> {path.stem}.expected"
    )


def test_each_bad_topology_has_its_expected_text() -> None:
    stems = {path.stem for path in BAD.glob("*.yaml")}
    assert stems == {path.stem for path in BAD.glob("*.expected")}
    assert len(stems) > 30


def test_a_missing_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "none.yaml"
    missing = f"{path}: no such file"
    with pytest.raises(TopologyError) as caught:
        load(path)
    assert caught.value.problems == [missing]
    (tmp_path / "nine.yaml").touch()
    with pytest.raises(TopologyError) as caught:
        load(path)
    assert caught.value.problems == [f"{missing} (did you mean 'nine.yaml'?)"]
    monkeypatch.chdir(tmp_path)
    with pytest.raises(TopologyError, match=r"\(did you mean 'two-sites'\?\)"):
        load(Path("two-site"))
    with pytest.raises(TopologyError) as caught:  # .yaml alone is no likeness
        load(Path("xy.yaml"))
    assert "did you mean" not in str(caught.value)
    with pytest.raises(TopologyError, match=r"no such file; several files: .+ check FILE…$"):
        load(Path("nine.yaml two.yaml"))


def test_a_directory(tmp_path: Path) -> None:
    with pytest.raises(TopologyError) as caught:
        load(tmp_path)
    assert caught.value.problems == [f"{tmp_path}: this is a directory; allowed: a YAML file"]


def test_a_fifo_is_not_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "fifo.yaml"
    os.mkfifo(path)
    with pytest.raises(TopologyError) as caught:
        load(path)
    wrong = "this is not an ordinary file; allowed: a YAML file"
    assert caught.value.problems == [f"{path}: {wrong}"]


def test_an_endless_file_is_not_read() -> None:
    with pytest.raises(TopologyError, match="not an ordinary file"):
        load(Path("/dev/zero"))


def test_the_greatest_file_is_allowed_and_one_byte_more_is_not() -> None:
    text = b"internet: {files: 198.51.100.10}\n#"
    full = text + b"x" * (MAX_BYTES - len(text))
    assert loads(full, Path("t.yaml")).internet
    assert problems_of(full + b"x") == [
        "t.yaml:1: the file is too large; allowed: at most 131,072 bytes"
    ]


def test_all_errors_are_told_at_once_in_the_order_of_the_lines() -> None:
    lines = [
        int(problem.split(":")[1])
        for problem in problems_of((BAD / "public-address-bad.yaml").read_bytes())
    ]
    assert lines == sorted(lines)
    assert len(lines) > 10


@pytest.mark.parametrize(
    "data",
    [
        b"[" * 60_000,
        b"? " * 30_000,
        b"%YAML 1." + b"9" * 6_000 + b"\n---\na",
        b"internet: *" + b"a" * 60_000,
        b'{"\\ud800": 1}',
        b"internet:\n" + b" a: 1\n" * 2_000,
        "internet: {}".encode("utf-16"),
    ],
    ids=["depth", "keys of keys", "digits", "long alias", "lone surrogate", "repeats", "utf-16"],
)
def test_hostile_bytes_give_printable_problems(data: bytes) -> None:
    for problem in problems_of(data):
        assert problem.isprintable()
        assert len(problem) < 1000


# --- whatever the bytes

FORM = re.compile(r"t\.yaml:[1-9][0-9]*: .+")
SAMPLES = [ALL_SETTINGS, *(path.read_text(encoding="utf-8") for path in SHIPPED)]
TOKENS = re.compile(r"\s+|[\w.-]+|.", re.DOTALL)
SNIPPETS = st.one_of(
    st.sampled_from("{}[]:-?#|>%~\"'&*!\t\n\0"),
    st.sampled_from([": ", "- ", "? ", "  ", "\n---\n", "&a ", "*a", "!x ", "<<: ", "null"]),
    st.sampled_from(["-1", "0", "65536", "10.0.0.1", "1e9"]),
    st.integers(0, 0x10FFFF).map(chr),
)


@st.composite
def mutated_topologies(draw: st.DrawFn) -> str:
    """A good file of which some tokens were dropped, repeated, replaced or swapped."""
    tokens = TOKENS.findall(draw(st.sampled_from(SAMPLES)))
    for _ in range(draw(st.integers(1, 6))):
        at = draw(st.integers(0, len(tokens) - 1))
        other = draw(st.integers(0, len(tokens) - 1))
        match draw(st.sampled_from(["drop", "insert", "copy", "swap", "replace"])):
            case "drop":
                tokens[at] = ""
            case "insert":
                tokens.insert(at, draw(SNIPPETS))
            case "copy":
                tokens.insert(at, tokens[other])
            case "swap":
                tokens[at], tokens[other] = tokens[other], tokens[at]
            case "replace":
                tokens[at] = draw(SNIPPETS)
    return "".join(tokens)


def check_that_only_topology_errors_come_out(data: bytes) -> None:
    problems = []
    try:
        loads(data, Path("t.yaml"))
    except TopologyError as error:
        problems = error.problems or ["no problem told"]
    for problem in problems:
        assert FORM.fullmatch(problem)
        assert problem.isprintable()


@settings(deadline=None)  # other tests share the machine
@given(st.binary(max_size=200))
def test_arbitrary_bytes(data: bytes) -> None:
    check_that_only_topology_errors_come_out(data)


@settings(deadline=None)  # other tests share the machine
@given(st.text(alphabet=st.sampled_from("abx0:-?[]{}&*!|>'\"%#,. \n\\<~"), max_size=60))
def test_arbitrary_text_of_yaml_s_own_characters(text: str) -> None:
    check_that_only_topology_errors_come_out(text.encode())


@settings(deadline=None)  # other tests share the machine
@given(mutated_topologies())
@example("internet: {a: 198.51.100.2, '\U00010d3a': 198.51.100.3}\nthen: [{do: unplug b}]\n")
def test_mutated_topologies(text: str) -> None:
    check_that_only_topology_errors_come_out(text.encode("utf-8", "surrogatepass"))
