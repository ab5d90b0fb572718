"""PCP (RFC 6887): what a request does to the rules, and how much a host may ask for."""

from __future__ import annotations

import struct

import pytest

from napt_lab.nat_node.core.behavior import parse_address
from napt_lab.nat_node.core.events import RuleAdded, RuleChanged, RuleEnded
from napt_lab.nat_node.core.lease import Filter
from napt_lab.nat_node.core.packet import TCP, UDP
from napt_lab.nat_node.core.settings import LeaseLimits
from napt_lab.nat_node.core.verdict import Drop
from napt_lab.nat_node.port_control.server import AGAIN, REQUESTS
from napt_lab.servers.pcp import messages as client
from tests.packets import tcp, udp
from tests.unit.nat_node.nat_testing import (
    ALICE,
    APD,
    BOB,
    EI,
    EXTERNAL,
    OTHER,
    SERVER,
    assert_empty,
    destination,
    source,
)
from tests.unit.nat_node.port_control_world import (
    CANNOT_PROVIDE_EXTERNAL,
    EXACTLY,
    EXCESSIVE_REMOTE_PEERS,
    FOREVER,
    NO_RESOURCES,
    NOT_AUTHORIZED,
    OTHER_NONCE,
    SHORT,
    SUCCESS,
    USER_EX_QUOTA,
    Home,
    address,
    map_request,
    only,
)

# -- the life of a lease ----------------------------------------------------------------------


def test_a_request_makes_a_rule_through_which_anyone_comes_in():
    home = Home()
    home.outside(tcp(f"{SERVER}:5000", f"{EXTERNAL}:8080"))
    assert home.drop is Drop.NO_RULE
    reply = home.ask(8000, 3600, wish=8080)
    assert (reply.result, reply.lifetime, reply.internal_port, reply.port) == (0, 3600, 8000, 8080)
    assert (reply.address, reply.protocol, reply.epoch) == (address(EXTERNAL), TCP, 1)
    assert home.listed() == [("PCP request", 8000, 8080)]
    for remote in (f"{SERVER}:5000", f"{OTHER}:6000"):
        (sent,) = home.outside(tcp(remote, f"{EXTERNAL}:8080"))
        assert destination(sent) == f"{ALICE}:8000"
    home.outside(udp(f"{SERVER}:5000", f"{EXTERNAL}:8080"))
    assert home.drop is Drop.NO_RULE, "only the protocol that was asked for"


def test_the_client_reads_what_the_server_writes():
    home = Home()
    wanted = client.Mapping("udp", 7000, bytes(12), 7001)
    request = struct.pack("!BBHI16s", 2, 1, 0, 600, address(ALICE)) + wanted.opcode_data()
    answer = client.read_answer(home.send(request), client.MAP)
    assert (answer.result, answer.lifetime, answer.epoch) == (0, 600, 0)
    assert answer.data[:18] == wanted.opcode_data()[:18]
    assert answer.data[18:] == struct.pack("!H16s", 7001, address(EXTERNAL))


def test_a_lease_ends_with_its_lifetime_and_leaves_nothing():
    home = Home()
    home.ask(8000, 600, wish=8080)
    (rule,) = home.rules
    home.wait(599)
    assert home.listed()
    home.wait(2)
    home.outside(tcp(f"{SERVER}:5000", f"{EXTERNAL}:8080"))
    assert home.drop is Drop.NO_RULE
    assert home.events[:2] == [RuleAdded(rule), RuleEnded(rule, "expired")]
    home.wait(300)  # the announcements are over
    assert_empty(home.translator)
    assert home.server.next_deadline() is None


def test_renewal_keeps_it_and_a_shorter_lifetime_is_the_owners_to_choose():
    home = Home()
    home.ask(8000, 600, wish=8080)
    home.wait(400)
    assert home.ask(8000, 600, wish=9999).port == 8080, "it stays where it is"
    home.wait(590)
    assert home.listed()
    assert home.ask(8000, 120).lifetime == 120
    home.wait(121)
    assert home.listed() == []
    assert [event.why for event in home.events if isinstance(event, RuleChanged)] == ["renewed"] * 2


def test_lifetimes_are_kept_within_bounds():
    home = Home(LeaseLimits(min_lifetime=120, max_lifetime=1000))
    assert [home.ask(port, wish).lifetime for port, wish in ((1, 1), (2, 500), (3, FOREVER))] == [
        120,
        500,
        1000,
    ]


def test_deletion_by_the_owner_and_again_because_the_answer_was_lost():
    home = Home()
    home.ask(8000, wish=8080)
    for _ in range(2):
        reply = home.ask(8000, 0)
        assert (reply.result, reply.lifetime, reply.port) == (SUCCESS, 0, 0)
        assert home.listed() == []
    reply = home.ask(8000, 0, wish=77, at=OTHER)
    assert (reply.port, reply.address) == (77, address(OTHER)), "copied, whatever it means"


@pytest.mark.parametrize("lifetime", [0, 3600])
def test_another_nonce_changes_nothing(lifetime):
    """Who sends with the owner's address, but does not know what only the owner knows."""
    home = Home()
    home.ask(8000, 600, wish=8080)
    home.wait(99)
    reply = home.ask(8000, lifetime, nonce=OTHER_NONCE)
    assert (reply.result, reply.lifetime, reply.nonce) == (NOT_AUTHORIZED, 500, OTHER_NONCE)
    assert [lease.deadline - home.now for lease in (home.rules[0].lease,)] == [500]
    assert home.ask(8000, 600).result == SUCCESS


def test_another_pc_neither_deletes_nor_gets_it():
    home = Home()
    home.ask(8000, wish=8080)
    assert home.ask(8000, 0, client=BOB).result == SUCCESS, "its own, which does not exist"
    reply = home.ask(8000, wish=8080, client=BOB)
    assert reply.result == SUCCESS
    assert reply.port != 8080
    assert home.ask(8001, 3600, EXACTLY, wish=8080, client=BOB).result == CANNOT_PROVIDE_EXTERNAL
    (sent,) = home.outside(tcp(f"{SERVER}:5000", f"{EXTERNAL}:8080"))
    assert destination(sent) == f"{ALICE}:8000"


def test_connections_outlive_the_lease_but_nobody_new_comes_in():
    home = Home()
    home.ask(8000, 120, wish=8080)
    home.outside(tcp(f"{SERVER}:5000", f"{EXTERNAL}:8080"))
    home.out(tcp(f"{ALICE}:8000", f"{SERVER}:5000", "SA"))
    home.outside(tcp(f"{SERVER}:5000", f"{EXTERNAL}:8080", "A"))
    home.wait(200)
    (rule,) = home.rules
    assert (rule.explicit, rule.lease.ended) == (False, "expired")
    assert home.outside(tcp(f"{SERVER}:5000", f"{EXTERNAL}:8080", "PA", b"more"))
    home.outside(tcp(f"{OTHER}:5000", f"{EXTERNAL}:8080"))
    assert home.drop is Drop.FILTERED
    # RFC 6887, section 15: nobody can make it expire sooner than its traffic would.
    assert home.ask(8000, 0).lifetime == pytest.approx(7440, abs=2)
    assert home.ask(8080, 120, EXACTLY, wish=8080, client=BOB).result == CANNOT_PROVIDE_EXTERNAL
    assert home.ask(8000, 120).port == 8080, "its owner may open it again"
    home.outside(tcp(f"{OTHER}:5000", f"{EXTERNAL}:8080"))
    assert home.drop is None


def test_where_mapping_is_per_remote_endpoint_they_outlive_it_too():
    home = Home(mapping=APD, filtering=APD)
    home.ask(8000, 120, wish=80)
    home.outside(tcp(f"{SERVER}:5000", f"{EXTERNAL}:80"))
    home.out(tcp(f"{ALICE}:8000", f"{SERVER}:5000", "SA"))
    home.outside(tcp(f"{SERVER}:5000", f"{EXTERNAL}:80", "A"))
    home.wait(200)
    assert source(home.out(tcp(f"{ALICE}:8000", f"{SERVER}:5000", "PA"))) == f"{EXTERNAL}:80"
    home.outside(tcp(f"{OTHER}:5000", f"{EXTERNAL}:80"))
    assert home.drop is Drop.FILTERED
    home.wait(8000)
    assert_empty(home.translator)


def test_a_translator_that_was_killed_knows_connections_but_no_leases():
    """Clients ask again (section 14), and get what they had."""
    home = Home()
    home.add_rule(TCP, 22, f"{BOB}:22")
    for port in (80, 81):
        home.ask(port, 600, wish=port)
    home.outside(tcp(f"{SERVER}:5000", f"{EXTERNAL}:80"))
    home.out(tcp(f"{ALICE}:80", f"{SERVER}:5000", "SA"))
    home.kill()
    left = [(rule.external[1], rule.explicit, rule.lease) for rule in home.rules]
    assert left == [(22, True, None), (80, False, None)]
    assert home.outside(tcp(f"{SERVER}:5000", f"{EXTERNAL}:80", "A"))
    home.outside(tcp(f"{OTHER}:5000", f"{EXTERNAL}:80"))
    assert home.drop is Drop.FILTERED
    assert [home.ask(port, 600, wish=port).port for port in (80, 81)] == [80, 81]
    reply = home.ask(22, 0, client=BOB)
    assert (reply.result, reply.epoch) == (NOT_AUTHORIZED, 3), "by hand, as before"


def test_udp_rules_are_leased_likewise():
    home = Home()
    home.ask(53, 600, wish=53, protocol="udp")
    (sent,) = home.outside(udp(f"{SERVER}:5000", f"{EXTERNAL}:53"))
    assert destination(sent) == f"{ALICE}:53"
    assert home.rules[0].protocol == UDP


def test_filters_admit_whom_they_name_add_up_and_can_be_replaced():
    home = Home()
    home.ask(8000, 600, only(OTHER, 128), only("203.0.113.0", 120, 53), wish=80, protocol="udp")

    def admitted(*remotes):
        return [bool(home.outside(udp(remote, f"{EXTERNAL}:80"))) for remote in remotes]

    probes = (f"{OTHER}:1", "203.0.113.9:53", "203.0.113.9:54", f"{SERVER}:53")
    assert admitted(*probes) == [True, True, False, False]
    assert home.drop is Drop.FILTERED
    home.ask(8000, 600, only(SERVER, 128), protocol="udp")
    assert admitted(*probes) == [True, True, False, True]
    home.ask(8000, 600, only(OTHER, 0), only(SERVER, 128), protocol="udp")
    assert admitted(*probes) == [False, False, False, True]
    home.ask(8000, 600, only(SERVER, 128), only(OTHER, 0), protocol="udp")
    assert admitted(*probes) == [True] * 4
    more = [only(f"203.0.113.{n}") for n in range(9)]
    reply = home.ask(8000, 600, *more, protocol="udp")
    assert reply.result == EXCESSIVE_REMOTE_PEERS
    assert admitted(*probes) == [True] * 4, "an error changes nothing"


# -- what there is already --------------------------------------------------------------------


def test_a_packets_rule_becomes_explicit_on_its_own_port_and_remains_afterwards():
    home = Home()
    external = home.connect(f"{ALICE}:8000", f"{SERVER}:80")
    port = int(external.split(":")[1])
    assert home.ask(8000, 0).result == NOT_AUTHORIZED
    wrong = port % 60000 + 2000
    assert home.ask(8000, 120, EXACTLY, wish=wrong).result == CANNOT_PROVIDE_EXTERNAL
    assert home.ask(8000, 120, wish=wrong).port == port
    assert home.outside(tcp(f"{OTHER}:9", external))
    home.wait(500)  # that one is over, too
    assert source(home.out(tcp(f"{ALICE}:8000", f"{SERVER}:80", "A"))) == external
    home.outside(tcp(f"{OTHER}:10", external))
    assert home.drop is Drop.FILTERED


def test_where_mapping_is_per_remote_endpoint_it_gets_a_port_of_its_own():
    home = Home(mapping=APD, filtering=APD)
    external = home.connect(f"{ALICE}:8000", f"{SERVER}:80")
    taken = int(external.split(":")[1])
    reply = home.ask(8000, 120, wish=taken)
    assert reply.port != taken
    assert source(home.out(tcp(f"{ALICE}:8000", f"{OTHER}:80"))) == f"{EXTERNAL}:{reply.port}"
    assert source(home.out(tcp(f"{ALICE}:8000", f"{SERVER}:80", "A"))) == external


def test_a_rule_by_hand_is_told_and_not_touched():
    home = Home()
    home.add_rule(TCP, 8080, f"{ALICE}:8000")
    reply = home.ask(8000, 120, wish=9090)
    assert (reply.result, reply.port, reply.lifetime) == (SUCCESS, 8080, FOREVER)
    assert home.ask(8000, 120, EXACTLY, wish=9090).result == CANNOT_PROVIDE_EXTERNAL
    assert home.ask(8000, 0).result == NOT_AUTHORIZED
    home.wait(200)
    assert home.listed() == [("hand", 8000, 8080)]
    home.remove_rule(TCP, 8080)
    assert home.listed() == []


def test_a_leased_rule_can_be_removed_by_hand():
    home = Home(LeaseLimits(quota=1, leases=1))
    for pc in (ALICE, ALICE, BOB):
        assert home.ask(8000, 120, wish=8080, client=pc).result == SUCCESS, "it counts no more"
        home.remove_rule(TCP, 8080)
    home.wait(500)
    assert_empty(home.translator)
    assert home.server.next_deadline() is None


def test_ports_that_no_client_gets():
    home = Home()
    for wish in (5350, 5351):
        assert home.ask(wish, 120, EXACTLY, wish=wish, protocol="udp").result == (
            CANNOT_PROVIDE_EXTERNAL
        )
    assert home.ask(1, 120, EXACTLY, wish=5351, protocol="tcp").result == SUCCESS
    assert home.ask(2, 120, EXACTLY, wish=99, at=OTHER).result == CANNOT_PROVIDE_EXTERNAL
    assert home.ask(3, 120, EXACTLY, wish=99, at=EXTERNAL).port == 99
    assert home.ask(4, 120, wish=98, at=OTHER).port != 98


def test_a_pool_of_the_servers_own_ports_has_none_for_clients():
    home = Home(ports=range(5350, 5352))
    assert home.ask(1, 120, protocol="udp").result == NO_RESOURCES
    assert home.ask(1, 120, protocol="tcp").result == SUCCESS


@pytest.mark.parametrize("behavior", [EI, APD])
def test_a_port_that_a_packets_rule_has_is_not_free(behavior):
    home = Home(mapping=behavior, filtering=behavior, ports=range(2000, 2001))
    home.out(udp(f"{ALICE}:53", f"{OTHER}:53"))
    assert home.ask(1, 120, protocol="udp").result == NO_RESOURCES
    assert home.ask(1, 120, protocol="tcp").port == 2000  # the control


def test_a_filter_in_words():
    assert str(Filter(parse_address("10.9.0.0"), 0xFFFF0000, 80)) == "10.9.0.0/16:80"
    assert str(Filter(0, 0, 0)) == "0.0.0.0/0:*"


# -- limits -----------------------------------------------------------------------------------


def test_quota_of_a_host_and_of_all():
    home = Home(LeaseLimits(quota=2, leases=3))
    results = [
        home.ask(port, 120, client=pc).result
        for pc, port in ((ALICE, 1), (ALICE, 2), (ALICE, 3), (BOB, 1), (BOB, 2))
    ]
    assert results == [SUCCESS, SUCCESS, USER_EX_QUOTA, SUCCESS, NO_RESOURCES]
    assert home.ask(1, 120).result == SUCCESS, "renewal takes nothing more"
    home.wait(200)
    assert home.ask(3, 120).result == SUCCESS


def test_no_port_is_left():
    home = Home(ports=range(4000, 4002))
    assert {home.ask(port, 120).port for port in (1, 2)} == {4000, 4001}
    reply = home.ask(3, 120)
    assert (reply.result, reply.lifetime) == (NO_RESOURCES, SHORT)


def test_more_requests_than_one_answers_are_dropped():
    home = Home()

    def answered(*hosts):
        """How many requests of these are answered, in this order."""
        requests = [
            (struct.pack("!BBHI16s", 2, 0, 0, 0, address(f"10.0.0.{host}")), f"10.0.0.{host}")
            for host in hosts
        ]
        return sum(home.send(request, host) is not None for request, host in requests)

    assert answered(*[20] * 100) == REQUESTS // AGAIN, "of one"
    home.wait(1)
    many = [*range(20, 20 + REQUESTS)]
    assert answered(*many * 2) == REQUESTS, "of all"
    home.wait(1)
    greedy, modest = [20, 21, 22, 23, 24] * 100, [*range(30, 50)]
    assert answered(*greedy) == 30
    assert answered(*modest) == len(modest), "who asks often leaves room for those who do not"


def test_addresses_of_which_nobody_may_ask():
    home = Home(hosts=frozenset({0x0A000007}))
    for stranger in (SERVER, EXTERNAL, "10.0.1.7", "0.0.0.0"):
        assert home.send(map_request(80, client=stranger), stranger) is None
    for nobody in (BOB, "10.0.0.1", "10.0.0.255"):
        assert home.ask(80, client=nobody).result == NOT_AUTHORIZED
    assert home.rules == []
