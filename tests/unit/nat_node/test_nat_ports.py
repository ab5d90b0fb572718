"""Port assignment: preserve, sequential, random; range, parity; the pool's end; freed ports."""

import random
from itertools import pairwise
from typing import Any

import pytest

from napt_lab.nat_node.core.behavior import show
from napt_lab.nat_node.core.packet import UDP
from napt_lab.nat_node.core.ports import PortPool
from napt_lab.nat_node.core.settings import PortAssignment
from napt_lab.nat_node.core.verdict import Drop
from tests.packets import ping, split, tcp, udp
from tests.unit.nat_node.nat_testing import (
    AD,
    ALICE,
    APD,
    BEHAVIORS,
    BOB,
    EI,
    IP,
    OTHER,
    SERVER,
    Nat,
    quoted,
    source,
)

#: From the whole pool; deterministic blocks are in test_nat_pooling.py.
FREE = PRESERVE, SEQUENTIAL, RANDOM = (
    PortAssignment.PRESERVE, PortAssignment.SEQUENTIAL, PortAssignment.RANDOM,
)  # fmt: skip
WEB = f"{SERVER}:80"


def port_of(packet):
    return split(source(packet))[1]


def ports_for(nat, internal_ports, host=ALICE, remote=WEB):
    return [port_of(nat.out(udp(f"{host}:{port}", remote))) for port in internal_ports]


def test_preserve_keeps_the_port_while_it_is_free_and_in_the_pool():
    nat = Nat(port_assignment=PRESERVE, ports=range(2000, 3000))
    assert ports_for(nat, [2500, 2999]) == [2500, 2999]
    (taken,) = ports_for(nat, [2500], host=BOB)
    assert taken != 2500
    assert taken in range(2000, 3000)
    (outside_the_pool,) = ports_for(nat, [53])
    assert outside_the_pool in range(2000, 3000)


def test_sequential_begins_with_the_first_port():
    nat = Nat(port_assignment=SEQUENTIAL, ports=range(1, 65_536))
    assert ports_for(nat, [40_000, 40_001]) == [1024, 1025]  # not a well-known one (REQ-3a)


def test_sequential_goes_round_and_leaves_no_gap():
    nat = Nat(port_assignment=SEQUENTIAL, ports=range(2000, 2004), udp_idle=10)
    assert ports_for(nat, [1, 2, 3]) == [2000, 2001, 2002]
    nat.wait(10)
    assert ports_for(nat, [4, 5, 6]) == [2003, 2000, 2001]


def test_random_ports_are_all_over_the_pool_and_follow_no_pattern():
    """RFC 6056: the next port cannot be guessed from the last one."""
    nat = Nat(port_assignment=RANDOM, ports=range(1024, 65536))
    ports = ports_for(nat, range(1, 101))
    assert len(set(ports)) == 100
    eighths = {(port - 1024) * 8 // 64512 for port in ports}
    assert eighths == set(range(8))
    steps = {b - a for a, b in pairwise(ports)}
    assert len(steps) > 95
    assert ports[:10] != ports_for(Nat(seed=1), range(1, 11))


@pytest.mark.parametrize("assignment", FREE)
@pytest.mark.parametrize("make", [udp, tcp])
def test_parity_is_kept_while_it_can_be(make, assignment):
    """RFC 4787, REQ-4: an even port gets an even one; rather an odd one than none."""
    nat = Nat(port_assignment=assignment, port_parity=True, ports=range(2001, 2011))
    even = {port_of(nat.out(make(f"{ALICE}:{port}", WEB))) for port in range(40000, 40010, 2)}
    assert even == {2002, 2004, 2006, 2008, 2010}
    odd = port_of(nat.out(make(f"{ALICE}:40001", WEB)))
    assert odd % 2 == 1
    rest = {port_of(nat.out(make(f"{BOB}:{port}", WEB))) for port in range(40000, 40008, 2)}
    assert rest | {odd} == {2001, 2003, 2005, 2007, 2009}
    assert nat.inside(make(f"{BOB}:40009", WEB))
    assert nat.drop is Drop.PORTS_EXHAUSTED


@pytest.mark.parametrize("assignment", FREE)
def test_a_well_known_port_becomes_one_where_the_pool_has_such(assignment):
    """RFC 4787, REQ-3a."""
    nat = Nat(port_assignment=assignment, ports=range(1020, 1028))
    low, high = range(1020, 1024), range(1024, 1028)
    assert set(ports_for(nat, [512, 513, 514])) < set(low)
    assert set(ports_for(nat, [40000, 40001, 40002, 40003])) == set(high)
    assert ports_for(nat, [40004])[0] in low  # rather one of those than none
    (above,) = ports_for(Nat(port_assignment=assignment), [512])
    assert above >= 1024


def test_a_full_part_of_the_pool_is_not_searched():
    """Else each of the last 1,023 ports of 65,535 would cost a look at all the others."""
    looks = 0

    def is_free(port):
        nonlocal looks
        looks += 1
        return port < 1024

    pool = PortPool(range(1, 65536), RANDOM, True, random.Random(1).randrange)
    taken = {0: 0, 1: 0, 2: 32256, 3: 32256}
    assert pool.choose(40000, is_free, taken.__getitem__) in range(1, 1024)
    assert looks < 1500


@pytest.mark.parametrize("make", [udp, ping])
def test_a_port_that_was_left_is_held_where_anyone_may_send_to_it(make):
    """RFC 6888, REQ-8: what still comes for the old owner must not reach a new one."""
    out = {
        udp: lambda host, n: udp(f"{host}:{n}", WEB),
        ping: lambda host, n: ping(host, SERVER, n),
    }
    settings: dict[str, Any] = {
        "ports": range(2000, 2002),
        "udp_idle": 300,
        "icmp_idle": 300,
        "port_hold": 120,
    }
    nat = Nat(filtering=EI, **settings)
    nat.out(out[make](ALICE, 5))
    nat.wait(300)
    assert nat.rules == []
    nat.out(out[make](BOB, 6))
    assert nat.inside(out[make](BOB, 7)), "told that there is no port"
    assert nat.drop is Drop.PORTS_EXHAUSTED
    nat.wait(120)
    nat.out(out[make](BOB, 7))
    for exempt in (Nat(filtering=AD, **settings), Nat(filtering=EI, **settings | {"port_hold": 0})):
        exempt.out(out[make](ALICE, 5))
        exempt.wait(300)
        exempt.out(out[make](BOB, 6))
        exempt.out(out[make](BOB, 7))


def test_the_port_of_an_explicit_rule_is_held_from_its_end():
    """Even one that was held when the rule took it."""
    nat = Nat(filtering=EI, ports=range(2000, 2001), udp_idle=300, port_hold=120)
    nat.out(udp(f"{ALICE}:5", WEB))
    nat.wait(300)
    assert nat.rules == []
    nat.add_rule(UDP, 2000, f"{ALICE}:80")
    nat.wait(100)
    nat.remove_rule(UDP, 2000)
    for seconds in (20, 99):  # 120 after the first one's end, 119 after that of the explicit one
        nat.wait(seconds)
        assert nat.inside(udp(f"{BOB}:6", WEB)), "told that there is no port"
        assert nat.drop is Drop.PORTS_EXHAUSTED
    nat.wait(1)
    nat.out(udp(f"{BOB}:6", WEB))


def test_tcp_ports_are_held_by_the_closing_hold_alone():
    """RFC 6888, REQ-8a: whoever follows TCP's states may use its ports again at once."""
    nat = Nat(filtering=EI, ports=range(2000, 2001), tcp_transitory_idle=240, port_hold=120)
    nat.out(tcp(f"{ALICE}:5", WEB))
    nat.wait(240)
    nat.out(tcp(f"{BOB}:6", WEB))


@pytest.mark.parametrize("assignment", FREE)
@pytest.mark.parametrize("make", [udp, tcp])
def test_every_port_of_the_pool_is_used_and_then_there_is_none(make, assignment):
    """A full pool refuses, tells the sender, and ends no living rule."""
    nat = Nat(port_assignment=assignment, ports=range(2000, 2050), udp_idle=100)
    ports = {port_of(nat.out(make(f"{ALICE}:{port}", WEB))) for port in range(1, 51)}
    assert ports == set(range(2000, 2050))
    refused = make(f"{BOB}:1", WEB)
    (told,) = nat.inside(refused)
    assert nat.drop is Drop.PORTS_EXHAUSTED
    answer = IP(told)
    assert (answer.dst, answer.payload.type, answer.payload.code) == (BOB, 3, 13)
    assert quoted(told) == refused
    assert len(nat.rules) == 50
    for port in range(1, 51):  # none of the living is disturbed
        nat.out(make(f"{ALICE}:{port}", WEB))
    assert len(nat.rules) == 50


@pytest.mark.parametrize("assignment", FREE)
def test_a_freed_port_is_used_again(assignment):
    nat = Nat(port_assignment=assignment, ports=range(2000, 2010), udp_idle=100)
    ports_for(nat, range(1, 11))
    nat.wait(60)
    ports_for(nat, [n for n in range(1, 11) if n != 4])  # nine are used, one is not
    (free,) = (rule.external[1] for rule in nat.rules if rule.internal[1] == 4)
    nat.wait(40)
    assert ports_for(nat, [77]) == [free]


def test_each_protocol_has_the_whole_pool():
    nat = Nat(ports=range(2000, 2002))
    for make in (udp, tcp):
        nat.out(make(f"{ALICE}:1", WEB))
        nat.out(make(f"{ALICE}:2", WEB))
    nat.out(ping(ALICE, SERVER, 1))
    nat.out(ping(ALICE, SERVER, 2))
    nat.inside(ping(ALICE, SERVER, 3))
    assert nat.drop is Drop.PORTS_EXHAUSTED


@pytest.mark.parametrize("filtering", BEHAVIORS, ids=lambda b: b.value)
@pytest.mark.parametrize("mapping", BEHAVIORS, ids=lambda b: b.value)
@pytest.mark.parametrize(
    ("second", "shares_where_the_looser_of_both_is"),
    [
        (f"{SERVER}:80", set()),  # one remote endpoint could not tell the two apart
        (f"{SERVER}:81", {APD}),
        (f"{OTHER}:80", {AD, APD}),
    ],
)
def test_a_port_is_shared_only_if_both_behaviors_tell_the_remotes_apart(
    mapping, filtering, second, shares_where_the_looser_of_both_is
):
    """RFC 4787 REQ-3: no port overloading where mapping is endpoint-independent."""
    nat = Nat(mapping=mapping, filtering=filtering, ports=range(2000, 2001))
    nat.out(udp(f"{ALICE}:1", WEB))
    shared = nat.inside(udp(f"{BOB}:1", second))
    assert (nat.drop is None) == (mapping.looser(filtering) in shares_where_the_looser_of_both_is)
    if nat.drop is None:
        (packet,) = shared
        assert port_of(packet) == 2000
        (to_bob,) = nat.outside(udp(second, "24.9.3.7:2000"))
        (to_alice,) = nat.outside(udp(WEB, "24.9.3.7:2000"))
        assert (IP(to_bob).dst, IP(to_alice).dst) == (BOB, ALICE)


def test_the_limit_is_one_per_remote_endpoint_where_mapping_is_per_destination():
    """The course's 65,536: per remote endpoint there, in all where it is endpoint-independent."""
    pool = range(2000, 2040)
    for behavior, for_another_server in ((APD, 40), (EI, 0)):
        nat = Nat(mapping=behavior, filtering=APD, ports=pool)
        assert sum(bool(nat.connect(f"{ALICE}:{n}", WEB)) for n in range(1, 41)) == 40
        nat.inside(tcp(f"{BOB}:1", WEB))
        assert nat.drop is Drop.PORTS_EXHAUSTED
        made = 0
        for n in range(1, 41):
            nat.inside(tcp(f"{BOB}:{n}", f"{OTHER}:80"))
            made += nat.drop is None
        assert made == for_another_server


def test_an_explicit_rule_takes_its_port_out_of_the_pool():
    for behavior in BEHAVIORS:
        nat = Nat(mapping=behavior, filtering=behavior, ports=range(2000, 2002))
        nat.add_rule(6, 2000, f"{BOB}:80")
        assert port_of(nat.out(tcp(f"{ALICE}:1", WEB))) == 2001
        nat.inside(tcp(f"{ALICE}:2", WEB))
        assert nat.drop is Drop.PORTS_EXHAUSTED
        nat.remove_rule(6, 2000)
        assert port_of(nat.out(tcp(f"{ALICE}:3", WEB))) == 2000


def test_the_external_endpoint_of_a_rule_is_unique_where_mapping_is_endpoint_independent():
    nat = Nat(ports=range(2000, 2100))
    for host in (ALICE, BOB):
        for port in range(1, 50):
            nat.out(udp(f"{host}:{port}", WEB))
            nat.out(udp(f"{host}:{port}", f"{OTHER}:{port}"))
    ends = [show((1, rule.external[1])) for rule in nat.rules]
    assert len(set(ends)) == len(ends) == 98
