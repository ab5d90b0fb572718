"""A SYN that nobody asked for (RFC 5382, REQ-4): silence for 6 seconds, then an ICMP error."""

from dataclasses import replace

import pytest
from scapy.layers.inet import ICMP, IP, TCP

from napt_lab.nat_node.core import unsolicited
from napt_lab.nat_node.core.packet import TCP as TCP_NUMBER
from napt_lab.nat_node.core.settings import PortAssignment
from napt_lab.nat_node.core.verdict import Drop
from tests.packets import error, fragments, tcp, udp
from tests.unit.nat_node.nat_testing import (
    ALICE,
    APD,
    EI,
    EXTERNAL,
    OTHER,
    SERVER,
    Nat,
    assert_empty,
    quoted,
    show,
)

WEB, PEER = f"{SERVER}:80", f"{OTHER}:50000"
SYN = tcp(PEER, f"{EXTERNAL}:40000", "S", tos=0xB9)


def preserving(**settings):
    return Nat(port_assignment=PortAssignment.PRESERVE, **settings)


def test_its_sender_is_told_after_six_seconds_and_not_before():
    nat = Nat()
    assert nat.outside(SYN) == []
    assert nat.drop is Drop.NO_RULE
    assert nat.wait(5.99) == []
    (told,) = nat.wait(0.01)
    assert show(told) == f"icmp 3 {EXTERNAL} > {OTHER}"
    seen = IP(told)
    assert (seen[ICMP].type, seen[ICMP].code) == (3, 3)
    assert seen.tos == 0xB8, "the same class of service (RFC 5508, 7.7), and no ECN"
    assert quoted(told) == SYN
    assert_empty(nat.translator)


def test_or_at_once_where_that_is_set():
    nat = Nat(refuse_after=0.0)
    nat.outside(SYN)
    (told,) = nat.wait(0)
    assert show(told) == f"icmp 3 {EXTERNAL} > {OTHER}"


def test_the_wait_can_be_changed_and_holds_for_those_that_wait():
    nat = Nat()
    nat.outside(SYN)
    nat.wait(0.5)
    nat.outside(tcp(f"{OTHER}:7", f"{EXTERNAL}:8080", "S"))
    nat.translator.change(replace(nat.translator.settings, refuse_after=1.0))
    assert len(nat.wait(0.5)) == 1
    assert nat.wait(0.4) == []
    assert len(nat.wait(0.1)) == 1
    assert_empty(nat.translator)


def test_it_is_told_once_however_often_it_asks():
    nat = Nat()
    for _ in range(3):
        nat.outside(SYN)
        assert nat.wait(1) == []
    assert len(nat.wait(10)) == 1
    nat.outside(SYN)
    assert len(nat.wait(6)) == 1


@pytest.mark.parametrize("filtering", [EI, APD])
def test_simultaneous_open_when_the_outside_dials_first(filtering):
    """RFC 5382, REQ-2a and REQ-4: the SYN dies, the inside dials, and all goes well."""
    nat = preserving(filtering=filtering)
    inside, outside = f"{ALICE}:40000", f"{EXTERNAL}:40000"
    assert nat.outside(SYN) == []
    nat.wait(3)
    assert show(nat.out(tcp(inside, PEER, "S"))) == f"tcp {outside} > {PEER}"
    assert nat.wait(1) == []
    assert nat.outside(SYN), "sent again: now the way is open"
    assert nat.out(tcp(inside, PEER, "SA"))
    assert nat.outside(tcp(PEER, outside, "SA"))
    assert nat.wait(100) == []
    assert nat.outside(tcp(PEER, outside, "A"))
    nat.wait(7439)
    assert nat.outside(tcp(PEER, outside, "A")), "it is an established connection"


def test_a_call_that_was_made_and_is_over_within_six_seconds_counts():
    nat = preserving(closing_hold=0.1)
    nat.outside(SYN)
    nat.out(tcp(f"{ALICE}:40000", PEER, "S"))
    nat.out(tcp(f"{ALICE}:40000", PEER, "R"))
    nat.wait(1)
    assert nat.rules == []
    assert nat.wait(10) == []


def test_a_filtered_one_is_told_too_and_another_call_does_not_count():
    nat = preserving(filtering=APD)
    nat.connect(f"{ALICE}:40000", WEB)
    nat.outside(SYN)
    assert nat.drop is Drop.FILTERED
    nat.out(tcp(f"{ALICE}:40001", PEER, "S"))
    assert len(nat.wait(6)) == 1


@pytest.mark.parametrize(
    "packet",
    [
        tcp(PEER, f"{EXTERNAL}:40000", "SA"),
        tcp(PEER, f"{EXTERNAL}:40000", "A"),
        tcp(PEER, f"{EXTERNAL}:40000", "R"),
        udp(PEER, f"{EXTERNAL}:40000"),
        tcp("10.0.0.9:50000", f"{EXTERNAL}:40000", "S"),
        tcp("224.0.0.1:50000", f"{EXTERNAL}:40000", "S"),
        error(OTHER, EXTERNAL, tcp(f"{EXTERNAL}:9", PEER)),
    ],
    ids=show,
)
def test_nobody_else_is_told(packet):
    nat = Nat()
    assert nat.outside(packet) == []
    assert nat.drop
    assert nat.wait(60) == []


def test_it_can_be_switched_off():
    nat = Nat(refuse_syn=False)
    nat.outside(SYN)
    assert nat.wait(60) == []


def test_a_flood_is_met_with_silence(monkeypatch):
    """RFC 5382, REQ-4a: bounded in memory, and in what it is answered."""
    monkeypatch.setattr(unsolicited, "WAITING", 32)
    nat = Nat()
    for port in range(1000, 1100):
        nat.outside(tcp(f"{OTHER}:{port}", f"{EXTERNAL}:40000"))
    assert len(nat.translator.unsolicited) == unsolicited.WAITING
    assert len(nat.wait(6)) == unsolicited.RATE
    assert_empty(nat.translator)


def test_a_first_fragment_is_told_with_what_came_of_it():
    nat = Nat()
    first, _ = fragments(bytes(IP(SYN) / (b"x" * 100)), 40)
    assert IP(first)[TCP].flags == "S"
    nat.outside(first)
    assert nat.drop is Drop.NO_RULE
    assert [quoted(told) for told in nat.wait(6)] == [first]


def test_what_an_explicit_rule_lets_in_meanwhile_is_not_disturbed():
    nat = Nat()
    nat.outside(SYN)
    nat.add_rule(TCP_NUMBER, 40000, f"{ALICE}:80")
    assert nat.outside(SYN)
    assert nat.wait(60) == []
