"""NAT-PMP (RFC 6886) on the same port as PCP, and the two side by side."""

from __future__ import annotations

import struct

import pytest

from napt_lab.nat_node.core.packet import TCP, UDP
from napt_lab.nat_node.core.settings import LeaseLimits
from tests.packets import tcp
from tests.unit.nat_node.nat_testing import ALICE, BOB, EXTERNAL, SERVER, destination
from tests.unit.nat_node.port_control_world import Home, address, option

MAP_UDP, MAP_TCP = 1, 2
SUCCESS, _, NOT_AUTHORIZED, _, OUT_OF_RESOURCES, UNSUPPORTED = range(6)


def test_the_external_address():
    home = Home()
    home.wait(9)
    assert home.send(b"\0\0") == struct.pack("!BBHI4s", 0, 128, 0, 9, address(EXTERNAL)[12:])


def test_a_mapping_its_renewal_its_end():
    home = Home()
    assert home.pmp(MAP_TCP, 8000, 8080, 600) == (SUCCESS, 8000, 8080, 600)
    assert home.listed() == [("NAT-PMP request", 8000, 8080)]
    (sent,) = home.outside(tcp(f"{SERVER}:5000", f"{EXTERNAL}:8080", "S"))
    assert destination(sent) == f"{ALICE}:8000"
    home.wait(590)
    assert home.pmp(MAP_TCP, 8000, 9999, 700) == (SUCCESS, 8000, 8080, 700)
    home.wait(690)
    assert home.listed()
    home.wait(300)
    assert home.listed() == []


def test_never_longer_than_was_asked_for_however_short():
    home = Home(LeaseLimits(min_lifetime=120, max_lifetime=1000))
    assert home.pmp(MAP_TCP, 1, 0, 5)[3] == 5
    assert home.pmp(MAP_TCP, 2, 0, 5000)[3] == 1000


def test_deletion_of_one_and_of_all_of_a_protocol():
    home = Home()
    for port in (1, 2, 3):
        home.pmp(MAP_TCP, port)
    home.pmp(MAP_UDP, 1)
    home.pmp(MAP_TCP, 1, client=BOB)
    for _ in range(2):
        assert home.pmp(MAP_TCP, 1, 77, 0) == (SUCCESS, 1, 0, 0)
    assert len(home.rules) == 4
    assert home.pmp(MAP_TCP, 0, 0, 0) == (SUCCESS, 0, 0, 0)
    assert {(rule.protocol, rule.internal[1]) for rule in home.rules} == {(UDP, 1), (TCP, 1)}


@pytest.mark.parametrize("all_of_them", [False, True])
def test_what_is_not_its_own_to_delete_stays(all_of_them):
    home = Home()
    home.add_rule(TCP, 80, f"{ALICE}:80")
    home.ask(81)
    home.pmp(MAP_TCP, 82)
    for port in (0,) if all_of_them else (80, 81):
        assert home.pmp(MAP_TCP, port, 0, 0) == (NOT_AUTHORIZED, port, 0, 0)
    left = {rule.internal[1] for rule in home.rules}
    assert left == ({80, 81} if all_of_them else {80, 81, 82}), "as many as possible go"


def test_a_pcp_lease_is_told_but_not_touched():
    home = Home()
    port = home.ask(8000, 600).port
    deadline = home.rules[0].lease.deadline
    assert home.pmp(MAP_TCP, 8000, 0, 9999) == (SUCCESS, 8000, port, 599)
    assert home.rules[0].lease.deadline == deadline


def test_pcp_takes_a_nat_pmp_lease_over():
    home = Home()
    home.pmp(MAP_TCP, 8000, 8080)
    assert home.ask(8000, 600).port == 8080
    assert home.pmp(MAP_TCP, 8000, 0, 0)[0] == NOT_AUTHORIZED, "from now on it has a nonce"


def test_the_companion_port_is_kept_for_the_same_host():
    home = Home()
    home.pmp(MAP_TCP, 80, 80)
    assert home.pmp(MAP_UDP, 80, 80, client=BOB)[2] != 80
    assert home.ask(81, 600, option(2), wish=80, protocol="udp", client=BOB).result == 11
    assert home.pmp(MAP_UDP, 80, 80)[2] == 80


def test_refusals():
    home = Home(LeaseLimits(quota=1))
    assert home.pmp(MAP_TCP, 0, 80) == (NOT_AUTHORIZED, 0, 0, 0), "there are no all-ports rules"
    home.pmp(MAP_TCP, 1)
    assert home.pmp(MAP_TCP, 2, 80) == (OUT_OF_RESOURCES, 2, 0, 0)


def test_other_operations_come_back_whole():
    home = Home()
    assert home.send(b"\0\3") == b"\0\x83\0\5"
    assert home.send(b"\0\x7fabcdef") == b"\0\xff\0\5cdef"


def test_what_is_not_answered():
    home = Home()
    whole = struct.pack("!BBHHHI", 0, MAP_TCP, 0, 80, 80, 600)
    for data in (b"\0", b"\0\x80", b"\0\x82" + whole[2:], whole[:11], b"\0\3" + bytes(1200)):
        assert home.send(data) is None
    assert home.send(whole, SERVER) is None
    assert home.rules == []
