"""Mapping behavior x filtering behavior, 3 x 3, for UDP and TCP alike.

RFC 4787 REQ-1 and REQ-8 for UDP, RFC 5382 REQ-1 and REQ-3 for TCP; sections 4.1 and 5 of
RFC 4787 define the words.
"""

import pytest

from napt_lab.nat_node.core.behavior import Behavior, parse_address, parse_endpoint, show
from napt_lab.nat_node.core.verdict import Drop
from tests.packets import tcp, udp
from tests.unit.nat_node.nat_testing import (
    AD,
    ALICE,
    APD,
    BEHAVIORS,
    EI,
    OTHER,
    SERVER,
    Nat,
    destination,
    source,
)

PC = f"{ALICE}:40000"
FIRST = f"{SERVER}:80"

every_pair = pytest.mark.parametrize(
    ("mapping", "filtering"),
    [(mapping, filtering) for mapping in BEHAVIORS for filtering in BEHAVIORS],
    ids=lambda behavior: behavior.value,
)
both_protocols = pytest.mark.parametrize("make", [udp, tcp])


@both_protocols
@every_pair
@pytest.mark.parametrize(
    ("second", "same_external_endpoint_under"),
    [
        (FIRST, {EI, AD, APD}),  # the same remote endpoint
        (f"{SERVER}:81", {EI, AD}),  # another port of the same address
        (f"{OTHER}:80", {EI}),  # another address
        (f"{OTHER}:81", {EI}),  # another address and port
    ],
)
def test_mapping(make, mapping, filtering, second, same_external_endpoint_under):
    nat = Nat(mapping=mapping, filtering=filtering)
    first_external = source(nat.out(make(PC, FIRST)))
    second_external = source(nat.out(make(PC, second)))
    assert (second_external == first_external) == (mapping in same_external_endpoint_under)
    assert source(nat.out(make(PC, FIRST))) == first_external  # deterministic: RFC 4787 REQ-11


@both_protocols
@every_pair
@pytest.mark.parametrize(
    ("sender", "admitted_by"),
    [
        (FIRST, {EI, AD, APD}),  # whom the inside has sent to
        (f"{SERVER}:81", {EI, AD}),  # another port of that address
        (f"{OTHER}:80", {EI}),  # an address that the inside has never sent to
    ],
)
def test_filtering(make, mapping, filtering, sender, admitted_by):
    nat = Nat(mapping=mapping, filtering=filtering)
    external = source(nat.out(make(PC, FIRST)))
    arrived = nat.outside(make(sender, external))
    if filtering in admitted_by:
        assert [destination(packet) for packet in arrived] == [PC]
    else:
        assert arrived == []
        # Where mapping and filtering both look at the sender, its rule is not even found.
        assert nat.drop in (Drop.FILTERED, Drop.NO_RULE)


@both_protocols
@pytest.mark.parametrize("filtering", BEHAVIORS)
def test_the_filter_belongs_to_the_rule_and_not_to_the_host(make, filtering):
    """Two rules of one host: what one of them has sent opens nothing for the other."""
    nat = Nat(mapping=EI, filtering=filtering)
    one = source(nat.out(make(f"{ALICE}:40000", FIRST)))
    two = source(nat.out(make(f"{ALICE}:40001", f"{OTHER}:80")))
    assert bool(nat.outside(make(f"{OTHER}:80", one))) == (filtering is EI)
    assert nat.outside(make(f"{OTHER}:80", two))


@both_protocols
@every_pair
def test_a_port_nobody_has_is_no_rule(make, mapping, filtering):
    nat = Nat(mapping=mapping, filtering=filtering, ports=range(2000, 3000))
    nat.out(make(PC, FIRST))
    assert nat.outside(make(FIRST, "24.9.3.7:4000")) == []
    assert nat.drop is Drop.NO_RULE


def test_protocols_have_ports_of_their_own():
    nat = Nat(filtering=EI)
    external = source(nat.out(udp(PC, FIRST)))
    assert nat.outside(tcp(FIRST, external)) == []
    assert nat.drop is Drop.NO_RULE


@pytest.mark.parametrize("one", BEHAVIORS)
@pytest.mark.parametrize("other", BEHAVIORS)
def test_looser_is_the_one_that_blanks_more(one, other):
    remote = parse_endpoint(FIRST)
    assert one.looser(other) in (one, other)
    blanks = [behavior.project(remote).count(0) for behavior in (one, other)]
    assert one.looser(other).project(remote).count(0) == max(blanks)


@pytest.mark.parametrize(
    ("behavior", "text"), [(EI, "*:*"), (AD, "151.101.1.69:*"), (APD, "151.101.1.69:80")]
)
def test_project_blanks_what_does_not_matter(behavior, text):
    projected = behavior.project(parse_endpoint(FIRST))
    assert show(projected) == text
    assert behavior.project(projected) == projected


@pytest.mark.parametrize(
    "text", ["", "1.2.3", "1.2.3.4.5", "1.2.3.256", "a.b.c.d", "1.2.3.-4", "1.2.3.٤", " 1.2.3.4"]
)
def test_not_an_address(text):
    with pytest.raises(ValueError, match="not an IPv4 address"):
        parse_address(text)


@pytest.mark.parametrize(
    "text", ["", "1.2.3.4", "1.2.3.4:", "1.2.3.4:0", "1.2.3.4:65536", "1.2.3.4:-1", "1.2.3.4:http"]
)
def test_not_an_endpoint(text):
    with pytest.raises(ValueError):
        parse_endpoint(text)


def test_the_defaults_are_what_the_rfcs_ask_for():
    """RFC 4787 REQ-1: endpoint-independent mapping, that programs may find each other."""
    settings = Nat().settings
    assert settings.mapping is Behavior.ENDPOINT_INDEPENDENT
    assert settings.hairpinning
    assert settings.udp_idle >= 120  # RFC 4787 REQ-5
    assert settings.tcp_idle >= 7440  # RFC 5382 REQ-5
    assert settings.tcp_transitory_idle >= 240
    assert settings.icmp_idle >= 60  # RFC 5508 REQ-2
