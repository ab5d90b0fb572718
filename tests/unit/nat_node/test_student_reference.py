"""The reference translator of labs/translator, packet by packet (its full marks: the labs')."""

from __future__ import annotations

from pathlib import Path

import pytest

from napt_lab.nat_node.core.behavior import Behavior
from tests.packets import error, ping, pong, tcp, udp
from tests.unit.nat_node.nat_testing import APD, EI, destination, quoted, source, wrong_checksums
from tests.unit.nat_node.student_worker import Mine

REFERENCE = Path(__file__).parents[3] / "nat_node" / "one_page.py"
SKELETON = Path(__file__).parents[3] / "labs" / "translator" / "skeleton.py"
PC, SERVER, OTHER = "10.0.0.7:40000", "151.101.1.69:80", "198.51.100.10:80"


@pytest.fixture
def nat():
    started: list[Mine] = []

    def start(file: Path = REFERENCE, **keys):
        started.append(Mine(file, **keys))
        return started[-1]

    yield start
    for mine in started:
        mine.worker.end()


def only(mine: Mine) -> bytes:
    """The one packet that was sent, which is good."""
    assert (mine.drops, mine.faults) == ([], [])
    (packet,) = mine.sent
    assert wrong_checksums(packet) == []
    return packet


def to(packet: bytes) -> str:
    """The address that it is for."""
    return ".".join(map(str, packet[16:20]))


def test_there_and_back(nat):
    mine = nat()
    outside = source(only(mine.out(tcp(PC, SERVER))))
    assert outside.startswith("24.9.3.7:")
    (added,) = [event["rule"] for event in mine.events]
    assert (added["internal"], added["external"], added["remote"]) == (PC, outside, "*")
    assert added["made_by"] == f"TCP SYN to {SERVER}"
    assert destination(only(mine.into(tcp(SERVER, outside, "SA")))) == PC
    assert mine.into(tcp(OTHER, outside, "SA")).reason == "filtered"
    assert mine.into(tcp(SERVER, "24.9.3.7:9", "S")).reason == "no-rule"
    assert mine.out(tcp("10.0.0.7:7", SERVER, "A")).reason == "no-connection"
    (rule,) = mine.request("rules")["rules"]
    assert (rule["packets_out"], rule["packets_in"]) == (1, 1)
    assert [session["remote"] for session in rule["sessions"]] == [SERVER]


def test_pings_and_datagrams(nat):
    mine = nat()
    asked = only(mine.out(ping("10.0.0.7", "151.101.1.69", ident=77)))
    identifier = int.from_bytes(asked[24:26], "big")
    back = only(mine.into(pong("151.101.1.69", "24.9.3.7", ident=identifier)))
    assert (to(back), back[24:26]) == ("10.0.0.7", bytes([0, 77]))
    outside = source(only(mine.out(udp(PC, SERVER))))
    assert destination(only(mine.into(udp(SERVER, outside)))) == PC


@pytest.mark.parametrize(("mapping", "rules"), [(EI, 1), (APD, 2)])
def test_mapping_behavior(nat, mapping: Behavior, rules: int):
    mine = nat(mapping=mapping)
    ends = {source(only(mine.out(tcp(PC, remote)))) for remote in (SERVER, OTHER)}
    assert (len(ends), mine.request("stats")["rules"]) == (rules, rules)


@pytest.mark.parametrize(
    ("last", "why"),
    [([("FA", True), ("FA", False)], "closed"), ([("R", True)], "reset"), ([], "idle")],
)
def test_the_end_of_a_rule(nat, last, why):
    mine = nat(closing_hold=1.0, tcp_idle=10.0)
    outside = source(only(mine.out(tcp(PC, SERVER))))
    only(mine.into(tcp(SERVER, outside, "SA")))
    only(mine.out(tcp(PC, SERVER, "A")))
    for flags, by_pc in last:
        only(mine.out(tcp(PC, SERVER, flags)) if by_pc else mine.into(tcp(SERVER, outside, flags)))
    (rule,) = mine.request("rules")["rules"]
    assert rule["sessions"][0]["state"] == ("established" if why == "idle" else why)
    lives = 10.0 if why == "idle" else 1.0
    assert mine.tick(lives - 0.01).events == []
    (ended,) = mine.tick(lives + 0.01).events
    assert (ended["event"], ended["why"]) == ("rule-ended", why)
    assert mine.into(tcp(SERVER, outside, "A")).reason == "no-rule"


def test_explicit_rules(nat):
    mine = nat()
    rule = {"protocol": "tcp", "external": "24.9.3.7:8080", "internal": "10.0.0.9:80"}
    assert mine.request("add", **rule)["rule"]["explicit"]
    assert "is taken by" in mine.request("add", **rule)["error"]
    assert destination(only(mine.into(tcp(SERVER, "24.9.3.7:8080")))) == "10.0.0.9:80"
    assert source(only(mine.out(tcp("10.0.0.9:80", SERVER, "SA")))) == "24.9.3.7:8080"
    assert mine.request("remove", **rule)["ok"]
    assert mine.into(tcp(OTHER, "24.9.3.7:8080")).reason == "no-rule"
    assert "there is no explicit rule" in mine.request("remove", **rule)["error"]


def test_an_error_about_what_was_translated(nat):
    mine = nat()
    sent = only(mine.out(udp(PC, SERVER)))
    told = only(mine.into(error("198.51.100.1", "24.9.3.7", sent)))
    assert to(told) == "10.0.0.7"
    assert source(quoted(told)) == PC
    stranger = udp("24.9.3.7:9", SERVER)
    assert mine.into(error("198.51.100.1", "24.9.3.7", stranger)).reason == "icmp-unrelated"


def test_every_port_once_and_the_next_is_told(nat):
    mine = nat(ports=range(2000, 2005), mapping=APD)
    pcs = [f"10.0.0.{host}:40000" for host in range(2, 7)]
    ports = {source(only(mine.out(tcp(pc, SERVER)))) for pc in pcs}
    assert ports == {f"24.9.3.7:{port}" for port in range(2000, 2005)}
    assert mine.out(tcp("10.0.0.9:1", SERVER)).reason == "ports-exhausted"
    (refusal,) = mine.sent
    assert (to(refusal), refusal[20:22]) == ("10.0.0.9", bytes([3, 13]))
    only(mine.out(tcp("10.0.0.9:1", OTHER)))  # another server: all ports anew


def test_hairpinning(nat):
    mine = nat()
    rule = {"protocol": "tcp", "external": "24.9.3.7:8080", "internal": "10.0.0.9:80"}
    mine.request("add", **rule)
    through = only(mine.out(tcp(PC, "24.9.3.7:8080")))
    assert (source(through).split(":")[0], destination(through)) == ("24.9.3.7", "10.0.0.9:80")


def test_the_skeleton_runs_and_does_nothing(nat):
    mine = nat(SKELETON)
    assert mine.out(tcp(PC, SERVER)).reason == "not-written"
    assert mine.into(tcp(SERVER, "24.9.3.7:80")).reason == "not-written"
    assert (mine.functions, mine.faults) == (["expire"], [])
