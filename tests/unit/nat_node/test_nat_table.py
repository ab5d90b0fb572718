"""Explicit rules: who may have one, which are refused and why, and what passes through them."""

import tracemalloc
from random import Random

import pytest

from napt_lab.nat_node.core.behavior import ANY, parse_endpoint, show
from napt_lab.nat_node.core.events import RuleAdded, RuleEnded
from napt_lab.nat_node.core.explicit_rules import RuleRefused
from napt_lab.nat_node.core.mapping import Mapping, Session
from napt_lab.nat_node.core.translator import Translator
from napt_lab.nat_node.core.verdict import Drop
from tests.packets import tcp, udp
from tests.unit.nat_node.nat_testing import (
    ALICE,
    APD,
    BEHAVIORS,
    BOB,
    EXTERNAL,
    OTHER,
    SERVER,
    Nat,
    destination,
    source,
)

TCP, UDP, ICMP = 6, 17, 1
WEB = f"{SERVER}:80"
FILES = f"{ALICE}:8080"

every_behavior = pytest.mark.parametrize("behavior", BEHAVIORS, ids=lambda b: b.value)


@pytest.mark.parametrize(
    ("protocol", "port", "internal", "why"),
    [
        (TCP, 8080, "10.0.0.9:80", "tcp port 8080 is taken: an explicit rule leads to 10.0.0.7:80"),
        (TCP, 9090, "10.0.0.7:80", "tcp 10.0.0.7:80 already has the external port 8080"),
        (TCP, 0, "10.0.0.9:80", "port 0 is not between 1 and 65535"),
        (TCP, 65536, "10.0.0.9:80", "port 65536 is not between 1 and 65535"),
        (TCP, -1, "10.0.0.9:80", "port -1 is not between 1 and 65535"),
        (TCP, 81, "10.0.1.9:80", "10.0.1.9:80 is not the address of a host on the inside"),
        (TCP, 81, "151.101.1.69:80", "151.101.1.69:80 is not the address of a host on the inside"),
        (TCP, 81, "24.9.3.7:80", "24.9.3.7:80 is not the address of a host on the inside"),
        (TCP, 81, "10.0.0.1:80", "10.0.0.1:80 is not the address of a host on the inside"),
        (TCP, 81, "10.0.0.0:80", "10.0.0.0:80 is not the address of a host on the inside"),
        (TCP, 81, "10.0.0.255:80", "10.0.0.255:80 is not the address of a host on the inside"),
        (TCP, 81, "10.0.0.200:80", "there is no host 10.0.0.200 on the inside"),
        (ICMP, 81, "10.0.0.9:80", "an explicit rule is for tcp or udp"),
        (47, 81, "10.0.0.9:80", "an explicit rule is for tcp or udp"),
    ],
)
def test_refused(protocol, port, internal, why):
    hosts = frozenset(parse_endpoint(f"10.0.0.{n}:1")[0] for n in (7, 8, 9))
    nat = Nat(hosts=hosts)
    nat.add_rule(TCP, 8080, "10.0.0.7:80")
    with pytest.raises(RuleRefused) as refusal:
        nat.add_rule(protocol, port, internal)
    assert str(refusal.value) == why
    assert len(nat.rules) == 1


@pytest.mark.parametrize("port", [0, 65536])
def test_an_internal_port_out_of_range_is_refused(port):
    nat = Nat()
    with pytest.raises(RuleRefused, match=f"port {port} is not between"):
        nat.translator.add_rule(TCP, (0, 8080), (parse_endpoint(FILES)[0], port), 0.0)


@pytest.mark.parametrize(
    ("protocol", "port", "internal"),
    [
        (UDP, 8080, "10.0.0.7:80"),  # another protocol
        (TCP, 8081, "10.0.0.7:81"),
        (TCP, 22, "10.0.0.9:22"),  # a port outside the pool
        (TCP, 1, "10.0.0.254:65535"),  # the ends of what there is
        (TCP, 65535, "10.0.0.2:1"),
    ],
)
def test_not_refused(protocol, port, internal):
    """The positive control of the refusals."""
    nat = Nat()
    nat.add_rule(TCP, 8080, "10.0.0.7:80")
    nat.add_rule(protocol, port, internal)
    assert len(nat.rules) == 2


@every_behavior
def test_a_port_that_a_packet_has_taken_is_refused_until_it_is_free(behavior):
    nat = Nat(mapping=behavior, filtering=behavior, ports=range(2000, 2001), udp_idle=100)
    nat.out(udp(f"{ALICE}:1", WEB))
    with pytest.raises(RuleRefused, match="udp port 2000 is taken: a rule made by a packet leads"):
        nat.add_rule(UDP, 2000, f"{BOB}:53")
    nat.wait(100)
    nat.add_rule(UDP, 2000, f"{BOB}:53")


def test_an_internal_endpoint_that_talks_through_another_port_is_refused():
    """It would have two external endpoints at once (RFC 4787 REQ-1)."""
    nat = Nat()
    port = source(nat.out(udp(f"{ALICE}:1", WEB))).split(":")[1]
    with pytest.raises(RuleRefused, match=rf"10.0.0.7:1 is talking through port {port} right now"):
        nat.add_rule(UDP, 53, f"{ALICE}:1")


@every_behavior
@pytest.mark.parametrize("make", [udp, tcp])
def test_anyone_may_come_in_by_a_rule_and_the_answer_leaves_by_the_same_port(make, behavior):
    nat = Nat(mapping=behavior, filtering=behavior)
    protocol = TCP if make is tcp else UDP
    nat.add_rule(protocol, 80, FILES)
    for remote in (WEB, f"{SERVER}:81", f"{OTHER}:80"):
        (came,) = nat.outside(make(remote, f"{EXTERNAL}:80"))
        assert destination(came) == FILES
        assert source(came) == remote
        answer = tcp(FILES, remote, "SA") if make is tcp else udp(FILES, remote)
        assert source(nat.out(answer)) == f"{EXTERNAL}:80"
    assert len(nat.rules) == 1


@every_behavior
def test_what_the_host_of_a_rule_dials_from_that_port_uses_the_rule_too(behavior):
    nat = Nat(mapping=behavior, filtering=behavior)
    nat.add_rule(UDP, 53, f"{ALICE}:53")
    assert source(nat.out(udp(f"{ALICE}:53", WEB))) == f"{EXTERNAL}:53"
    assert source(nat.out(udp(f"{ALICE}:54", WEB))) != f"{EXTERNAL}:53"


def test_a_rule_outlives_its_sessions_until_it_is_removed():
    nat = Nat()
    nat.add_rule(TCP, 8080, FILES)
    nat.outside(tcp(WEB, f"{EXTERNAL}:8080"))
    nat.out(tcp(FILES, WEB, "SA"))
    nat.wait(100 * 86400)
    assert (len(nat.rules), nat.sessions) == (1, 0)
    assert nat.outside(tcp(f"{OTHER}:1", f"{EXTERNAL}:8080"))
    nat.remove_rule(TCP, 8080)
    assert (len(nat.rules), nat.sessions) == (0, 0)
    assert nat.outside(tcp(f"{OTHER}:1", f"{EXTERNAL}:8080")) == []
    assert nat.drop is Drop.NO_RULE


def test_a_removed_rule_takes_its_connections_with_it_and_can_come_back():
    nat = Nat()
    for _ in range(2):
        nat.add_rule(TCP, 8080, FILES)
        assert nat.outside(tcp(WEB, f"{EXTERNAL}:8080"))
        nat.out(tcp(FILES, WEB, "SA"))
        nat.out(tcp(FILES, WEB, "A"))
        assert nat.outside(tcp(WEB, f"{EXTERNAL}:8080", "A"))
        nat.remove_rule(TCP, 8080)
        assert nat.outside(tcp(WEB, f"{EXTERNAL}:8080", "A")) == []
        assert nat.inside(tcp(FILES, WEB, "A")) == []
        nat.wait(8000)
        assert nat.translator.next_deadline() is None


def test_only_explicit_rules_can_be_removed_by_hand():
    nat = Nat(ports=range(2000, 2001))
    nat.out(tcp(f"{ALICE}:1", WEB))
    for protocol, port in ((TCP, 2000), (TCP, 8080), (UDP, 2000), (ICMP, 1)):
        with pytest.raises(RuleRefused, match="there is no explicit rule for"):
            nat.remove_rule(protocol, port)


def test_an_explicit_udp_rule_keeps_no_state_for_those_who_only_come_in():
    """A flood of forged senders costs no memory."""
    nat = Nat()
    nat.add_rule(UDP, 53, f"{ALICE}:53")
    for port in range(1, 200):
        assert nat.outside(udp(f"{SERVER}:{port}", f"{EXTERNAL}:53"))
    assert nat.sessions == 0


def test_a_connection_from_outside_that_would_collide_is_refused_and_the_old_one_lives():
    """10.0.0.7:80 talks to WEB through a port of its own when it also gets a rule."""
    nat = Nat(mapping=APD, filtering=APD, ports=range(2000, 2001))
    nat.connect(f"{ALICE}:80", WEB)
    nat.add_rule(TCP, 8080, f"{ALICE}:80")
    assert nat.outside(tcp(WEB, f"{EXTERNAL}:8080")) == []
    assert nat.drop is Drop.SESSION_CLASH
    assert nat.outside(tcp(WEB, f"{EXTERNAL}:2000", "A"))
    assert nat.outside(tcp(f"{OTHER}:1", f"{EXTERNAL}:8080"))


def test_every_rule_has_a_life_story():
    nat = Nat(udp_idle=10)
    nat.add_rule(TCP, 8080, FILES)
    nat.out(udp(f"{ALICE}:1", WEB))
    nat.outside(udp(WEB, f"{EXTERNAL}:{nat.rules[1].external[1]}", b"answer"))
    nat.wait(10)
    nat.remove_rule(TCP, 8080)
    story = [
        (type(event), event.mapping.made_by, getattr(event, "why", None)) for event in nat.events
    ]
    assert story == [
        (RuleAdded, "hand", None),
        (RuleAdded, "UDP datagram", None),
        (RuleEnded, "UDP datagram", "idle"),
        (RuleEnded, "hand", "removed"),
    ]
    ended = nat.events[2].mapping
    assert (ended.packets_out, ended.bytes_out, ended.packets_in, ended.bytes_in) == (1, 33, 1, 34)
    assert ended.first_remote == parse_endpoint(WEB)


def test_a_table_takes_back_what_fits_together_only():
    nat = Nat()
    table = nat.translator.table
    here, there, web = (parse_endpoint(text) for text in (FILES, f"{BOB}:1", WEB))

    def rule(serial, internal, port):
        external = (parse_endpoint(f"{EXTERNAL}:1")[0], port)
        return Mapping(serial, UDP, internal, external, ANY, 0.0, "UDP datagram", False)

    first = rule(1, here, 2000)
    table.put_back(first, [Session(7, first, web, 0.0, 300.0)])
    assert table.next_serial() == 8
    with pytest.raises(KeyError, match="an internal endpoint has two rules"):
        table.put_back(rule(2, here, 2001), [])
    with pytest.raises(KeyError, match=f"{EXTERNAL}:2000 has two rules"):
        table.put_back(rule(3, there, 2000), [])
    second = rule(4, there, 2002)
    twice = [Session(serial, second, web, 0.0, 300.0) for serial in (9, 10)]
    with pytest.raises(KeyError, match="two sessions with each other"):
        table.put_back(second, twice)


def test_a_session_comes_back_only_by_a_rule_that_is_for_its_remote_endpoint():
    here, web, other = (parse_endpoint(text) for text in (FILES, WEB, f"{OTHER}:1"))
    external = parse_endpoint(f"{EXTERNAL}:2000")
    rule = Mapping(1, UDP, here, external, web, 0.0, "UDP datagram", False)
    table = Nat(mapping=APD, filtering=APD).translator.table
    with pytest.raises(KeyError, match=f"{OTHER}:1 has a session by a rule that is not for it"):
        table.put_back(rule, [Session(2, rule, other, 0.0, 300.0)])


def test_sessions_begin_and_end_in_any_order_on_one_rule():
    """The only session of a rule is kept in another way than several."""
    nat = Nat(udp_idle=10)
    web, other, third = (f"{SERVER}:{port}" for port in (1, 2, 3))

    def remotes():
        (rule,) = nat.rules
        return [show(session.remote) for session in rule.sessions]

    nat.out(udp(FILES, web))
    assert remotes() == [web]
    nat.wait(6)
    nat.out(udp(FILES, other))
    assert remotes() == [web, other]
    nat.wait(6)
    assert remotes() == [other]
    nat.out(udp(FILES, third))
    nat.out(udp(FILES, web))
    assert remotes() == [other, third, web]
    nat.wait(10)
    assert nat.rules == []


def test_a_rule_with_one_session_takes_little_memory():
    """It was 1,126 bytes when each rule had a dictionary, and each session two keys."""
    translator = Translator(Nat().settings, Random(7).randrange)
    alice, web, rules = parse_endpoint(FILES)[0], parse_endpoint(WEB), 2_600
    tracemalloc.start()
    try:
        for port in range(1024, 1024 + rules):
            translator.sessions.begin(UDP, (alice, port), web, 0.0)
        taken, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(translator.table) == rules
    assert taken / rules < 900  # bytes


def test_an_external_address_that_is_not_ours_is_refused():
    nat = Nat()
    inside, theirs = parse_endpoint("10.0.0.7:80"), parse_endpoint("24.9.3.8:8080")
    why = "24.9.3.8 is not this NAPT's external address 24.9.3.7"
    with pytest.raises(RuleRefused, match=why):
        nat.translator.add_rule(TCP, theirs, inside, 0.0)
    with pytest.raises(RuleRefused, match=why):
        nat.translator.remove_rule(TCP, theirs, 0.0)
    rule = nat.translator.add_rule(TCP, parse_endpoint(f"{EXTERNAL}:8080"), inside, 0.0)
    assert nat.translator.remove_rule(TCP, (0, 8080), 0.0) is rule
