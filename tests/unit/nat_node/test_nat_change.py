"""Settings that change while the translator runs: what holds at once, what for new rules."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from napt_lab.nat_node.core.behavior import parse_address
from napt_lab.nat_node.core.packet import UDP
from napt_lab.nat_node.core.settings import (
    SETTINGS,
    AddressPooling,
    PortAssignment,
    changed,
)
from napt_lab.nat_node.core.tcp_state import TcpState
from napt_lab.nat_node.core.verdict import Drop
from tests.packets import tcp, udp
from tests.unit.nat_node.nat_testing import (
    AD,
    ALICE,
    APD,
    BOB,
    EI,
    EXTERNAL,
    OTHER,
    SERVER,
    Nat,
    assert_empty,
    destination,
    source,
)

DNS = f"{SERVER}:53"


class Changing(Nat):
    """A NAPT whose table may be of other settings than those that hold."""

    def change(self, **choices: Any) -> None:
        self.translator.change(replace(self.translator.settings, **choices))
        self.settings = self.translator.settings

    def check(self) -> None:
        """Of the table only what holds under all settings."""
        table = self.translator.table
        mappings = list(table)
        assert len(table) == len(table.ports) == len(mappings)
        sessions = {s for mapping in mappings for s in mapping.sessions}
        assert len(table._outgoing) == len(sessions)
        for session in sessions:
            mapping, remote = session.mapping, session.remote
            assert table.outgoing(mapping.protocol, mapping.internal, remote) is session
            assert table.incoming(mapping.protocol, mapping.external, remote) is session
            assert session.look_again_at is not None
            assert session.look_again_at <= session.deadline


@pytest.mark.parametrize("before", [EI, AD, APD])
@pytest.mark.parametrize("after", [EI, AD, APD])
def test_filtering_holds_at_once(before, after):
    """The control is a NAPT that had it from the start."""
    nats = Changing(filtering=before), Changing(filtering=after)
    seen = []
    for nat in nats:
        outside = source(nat.out(udp(f"{ALICE}:1", DNS)))
        nat.change(filtering=after)
        remotes = (DNS, f"{SERVER}:9", f"{OTHER}:53")
        seen.append([bool(nat.outside(udp(remote, outside))) for remote in remotes])
        nat.wait(8000)
        assert_empty(nat.translator)
    assert seen[0] == seen[1]


@pytest.mark.parametrize("before", [EI, AD, APD])
@pytest.mark.parametrize("after", [EI, AD, APD])
def test_mapping_holds_for_new_rules(before, after):
    nat, control = Changing(mapping=before), Changing(mapping=after)
    old = source(nat.out(udp(f"{ALICE}:1", DNS)))
    if (before, after) == (AD, APD):  # it is for all ports of an address, which cannot be shared
        with pytest.raises(ValueError, match=f"{old} is for several"):
            nat.change(mapping=after)
        return
    nat.change(mapping=after)
    assert source(nat.out(udp(f"{ALICE}:1", DNS))) == old
    assert destination(nat.outside(udp(DNS, old))[0]) == f"{ALICE}:1"
    remotes = (DNS, f"{SERVER}:9", f"{OTHER}:53")
    seen = [[source(n.out(udp(f"{ALICE}:2", to))) for to in remotes] for n in (nat, control)]
    assert len({*seen[0]}) == len({*seen[1]})
    nat.wait(8000)
    assert_empty(nat.translator)


def test_rules_that_share_a_port_are_not_made_one():
    """Two inside hosts have one external port, each towards another server."""
    nat = Changing(mapping=APD, ports=range(2000, 2001))
    nat.out(udp(f"{ALICE}:1", DNS))
    nat.out(udp(f"{BOB}:1", f"{OTHER}:53"))
    before = nat.translator.settings, nat.rules
    for choices in ({"mapping": EI}, {"filtering": EI}):
        with pytest.raises(ValueError, match=r"several rules share 24.9.3.7:2000"):
            nat.change(**choices)
        assert (nat.translator.settings, nat.rules) == before
    assert nat.outside(udp(DNS, f"{EXTERNAL}:2000"))
    nat.wait(8000)
    nat.change(mapping=EI)
    nat.out(udp(f"{ALICE}:1", DNS))
    assert nat.inside(udp(f"{BOB}:1", f"{OTHER}:53")) != []
    assert nat.drop is Drop.PORTS_EXHAUSTED


def test_a_rule_through_which_others_came_keeps_its_port_to_itself():
    nat = Changing(mapping=APD, filtering=EI)
    outside = source(nat.out(tcp(f"{ALICE}:1", f"{SERVER}:80")))
    assert nat.outside(tcp(f"{OTHER}:5", outside))
    with pytest.raises(ValueError, match=f"{outside} is for several"):
        nat.change(filtering=APD)
    nat.change(filtering=EI, mapping=EI)


def test_times_hold_for_what_there_is():
    nat = Changing()
    nat.connect(f"{ALICE}:40000", f"{SERVER}:80")
    nat.out(udp(f"{ALICE}:1", DNS))
    nat.change(udp_idle=10.0, tcp_idle=20.0)
    records = bytearray(nat.memory.snapshot())
    nat.wait(10)
    assert nat.sessions == 1
    nat.wait(10)
    assert nat.sessions == 0
    nat.begin(memoryview(records))
    assert {s.lifetime for m in nat.rules for s in m.sessions} == {10.0, 20.0}
    nat.change(udp_idle=50.0)
    assert nat.wait(30) == []
    assert nat.sessions == 1  # of what was longer, the end comes later
    nat.wait(50)
    assert_empty(nat.translator)


def test_the_fast_path_goes_on_with_what_holds_now():
    nat = Changing(filtering=EI)
    for _ in range(4):
        outside = source(nat.out(udp(f"{ALICE}:1", DNS)))
    assert len(nat.flows.inside) == 1
    nat.change(filtering=APD, udp_idle=60.0)
    assert len(nat.flows.inside) == 0
    nat.outside(udp(f"{OTHER}:1", outside))
    assert nat.drop is Drop.FILTERED


def test_limits_hold_for_new_sessions_and_rules():
    nat = Changing()
    for port in (1, 2, 3):
        nat.out(udp(f"{ALICE}:{port}", DNS))
    for choices, why in (
        ({"host_limit": 3}, Drop.HOST_LIMIT),
        ({"host_limit": 9, "session_limit": 3}, Drop.TABLE_FULL),
        ({"session_limit": 9, "ports_per_subscriber": 3}, Drop.SUBSCRIBER_LIMIT),
        ({"ports_per_subscriber": 0, "ports": range(2000, 2001)}, None),
        ({"hairpinning": False}, Drop.PORTS_EXHAUSTED),
    ):
        nat.change(**choices)
        nat.inside(udp(f"{ALICE}:4{len(choices)}", DNS))
        assert nat.drop is why
        assert nat.out(udp(f"{ALICE}:1", DNS))
    nat.inside(udp(f"{ALICE}:1", f"{EXTERNAL}:2000"))
    assert nat.drop is Drop.HAIRPINNING_OFF


def test_half_open_connections_are_counted_by_the_new_limit():
    nat = Changing(host_limit=16)
    nat.add_rule(6, 80, f"{ALICE}:80")
    for port in (1, 2):
        assert nat.outside(tcp(f"{SERVER}:{port}", f"{EXTERNAL}:80"))
    nat.change(host_limit=8)
    nat.outside(tcp(f"{SERVER}:3", f"{EXTERNAL}:80"))
    assert nat.drop is Drop.UNANSWERED
    nat.change(host_limit=16)
    assert nat.outside(tcp(f"{SERVER}:3", f"{EXTERNAL}:80"))


def test_held_ports_stay_held_where_ports_are_held_and_are_in_the_pool():
    nat = Changing(filtering=EI, port_hold=120.0, udp_idle=1.0, ports=range(2000, 2001))
    nat.out(udp(f"{ALICE}:1", DNS))
    nat.wait(1)
    nat.change(hairpinning=False)
    nat.inside(udp(f"{BOB}:1", DNS))
    assert nat.drop is Drop.PORTS_EXHAUSTED
    nat.change(ports=range(2001, 2002))  # a held port outside the pool takes no place in it
    assert nat.out(udp(f"{BOB}:1", DNS))
    nat.wait(1)
    nat.change(port_hold=0.0)
    assert nat.out(udp(f"{BOB}:2", DNS))


def test_a_held_port_that_had_an_explicit_rule_meanwhile_is_given_back_once():
    nat = Changing(filtering=EI, port_hold=120.0, udp_idle=1.0, ports=range(2000, 2001))
    nat.out(udp(f"{ALICE}:1", DNS))
    nat.wait(1)
    nat.add_rule(UDP, 2000, f"{BOB}:1")
    nat.out(udp(f"{BOB}:1", DNS))
    nat.remove_rule(UDP, 2000)
    nat.wait(1)
    nat.wait(120)
    assert nat.out(udp(f"{BOB}:2", DNS))


def test_blocks_begin_where_all_rules_are_in_theirs():
    blocks = {
        "port_assignment": PortAssignment.DETERMINISTIC,
        "ports_per_subscriber": 4,
        "ports": range(2000, 2100),
    }
    nat = Changing(ports=range(2024, 2025), others=(parse_address("24.9.3.8"),))
    nat.out(udp(f"{ALICE}:1", DNS))  # 10.0.0.7 has the seventh block
    nat.out(udp(f"{BOB}:1", DNS))
    with pytest.raises(ValueError, match=r"24.9.3.8:2024 is not in the block of 10.0.0.8"):
        nat.change(**blocks)
    assert nat.settings.port_assignment is PortAssignment.RANDOM
    nat.wait(200)
    nat.out(udp(f"{ALICE}:1", DNS))
    nat.wait(200)
    nat.change(**blocks)
    assert source(nat.out(udp(f"{BOB}:1", DNS))).split(":")[1] in map(str, range(2028, 2032))
    nat.change(port_assignment=PortAssignment.RANDOM, address_pooling=AddressPooling.ARBITRARY)
    ends = {source(nat.out(udp(f"{BOB}:{port}", DNS))).split(":")[0] for port in range(2, 5)}
    assert ends <= {"24.9.3.7", "24.9.3.8"}


def test_leases_and_explicit_rules_stay():
    nat = Changing(filtering=APD)
    rule = nat.add_rule(6, 8080, f"{BOB}:80")
    assert nat.outside(tcp(f"{SERVER}:1", f"{EXTERNAL}:8080"))
    nat.change(mapping=APD, filtering=AD)
    assert nat.outside(tcp(f"{OTHER}:1", f"{EXTERNAL}:8080"))
    assert [session.state for session in rule.sessions] == [TcpState.OPENING_IN] * 2
    nat.remove_rule(6, 8080)
    nat.wait(8000)
    assert_empty(nat.translator)


def test_texts_for_all_settings_and_what_is_none():
    settings = Nat().settings
    same = {each.key: each.text(getattr(settings, each.name)) for each in SETTINGS}
    assert changed(settings, same) == settings
    other = changed(settings, {"hairpinning": "false", "ports": "2000-2999", "idle.udp": "30"})
    assert (other.hairpinning, other.ports, other.udp_idle) == (False, range(2000, 3000), 30.0)
    for key, text, why in (
        ("public", "24.9.3.9", "public cannot be set: mapping, filtering, "),
        ("hairpinning", "maybe", "--hairpinning maybe: allowed: true, false"),
        ("idle.udp", "0", r"--udp-idle 0: allowed: 0.1 to 86400 s"),
        ("port-assignment", "deterministic", "port-assignment: deterministic needs"),
    ):
        with pytest.raises(ValueError, match=why):
            changed(settings, {key: text})
