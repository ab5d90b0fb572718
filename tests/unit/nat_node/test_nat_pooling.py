"""Several external addresses, ports for each inside host, and blocks of them (RFC 6888, RFC 7422).

10.0.0.7 (Alice) and 10.0.0.9 (Carol) are paired with the first of two addresses, 10.0.0.8 (Bob)
with the second.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from napt_lab.nat_node.core.behavior import parse_address, parse_endpoint
from napt_lab.nat_node.core.explicit_rules import RuleRefused
from napt_lab.nat_node.core.pooling import block_of
from napt_lab.nat_node.core.settings import AddressPooling, PortAssignment
from napt_lab.nat_node.core.verdict import Drop
from tests.packets import error, fragments, ping, tcp, udp
from tests.unit.nat_node.nat_testing import (
    ALICE,
    APD,
    BEHAVIORS,
    BOB,
    EI,
    EXTERNAL,
    ICMP,
    IP,
    OTHER,
    ROUTER,
    SERVER,
    Nat,
    assert_empty,
    destination,
    quoted,
    show,
    source,
)
from tests.unit.nat_node.port_control_world import (
    CANNOT_PROVIDE_EXTERNAL,
    EXACTLY,
    SUCCESS,
    USER_EX_QUOTA,
    Home,
    address,
    map_request,
)

CAROL, SECOND = "10.0.0.9", "24.9.3.8"
TCP_NUMBER, UDP_NUMBER = 6, 17
WEB = f"{SERVER}:80"
TWO: dict[str, Any] = {"others": (parse_address(SECOND),)}
ARBITRARY: dict[str, Any] = {**TWO, "address_pooling": AddressPooling.ARBITRARY}
BLOCKS: dict[str, Any] = {
    "port_assignment": PortAssignment.DETERMINISTIC,
    "ports_per_subscriber": 4,
    "ports": range(2000, 2034),  # 8 blocks of 4, and 2 ports that belong to nobody
}


def fill(nat: Nat, host: str, count: int, make: Callable[..., bytes] = udp) -> list[str]:
    """The external endpoints of so many rules of a host."""
    return [source(nat.out(make(f"{host}:{port}", WEB))) for port in range(1, count + 1)]


def is_refused(nat: Nat, packet: bytes, why: Drop) -> bool:
    """Whether a packet from inside is dropped for this reason, and its sender is told (13)."""
    told = nat.inside(packet)
    return nat.drop is why and [(IP(one)[ICMP].type, IP(one)[ICMP].code) for one in told] == [
        (3, 13)
    ]


# -- a pool of addresses ----------------------------------------------------------------------


@pytest.mark.parametrize("behavior", BEHAVIORS)
def test_paired_hosts_keep_their_external_address(behavior):
    """RFC 4787, REQ-2; RFC 6888, REQ-2: whatever the protocol, and for ever."""
    nat = Nat(mapping=behavior, filtering=behavior, **TWO)
    for _ in range(2):
        for host, own in ((ALICE, EXTERNAL), (BOB, SECOND), (CAROL, EXTERNAL)):
            packets = [make(f"{host}:{n}", WEB) for make in (tcp, udp) for n in range(1, 9)]
            packets += [ping(host, server, n) for server in (SERVER, OTHER) for n in range(1, 5)]
            assert {IP(nat.out(packet)).src for packet in packets} == {own}
        nat.kill()
        nat.wait(8000)
    assert_empty(nat.translator)


def test_arbitrary_addresses_of_a_host_and_one_of_an_endpoint():
    nat = Nat(mapping=EI, **ARBITRARY)
    assert {end.split(":")[0] for end in fill(nat, ALICE, 40)} == {EXTERNAL, SECOND}
    for port in range(1, 41):  # an endpoint keeps what it has (RFC 4787, REQ-1)
        sent = [source(nat.out(udp(f"{ALICE}:{port}", to))) for to in (WEB, f"{OTHER}:1")]
        assert len(set(sent)) == 1


def test_an_address_may_be_full_while_another_is_not():
    few = range(2000, 2003)
    paired = Nat(ports=few, **TWO)
    assert {end.split(":")[0] for end in fill(paired, ALICE, 3)} == {EXTERNAL}
    assert is_refused(paired, udp(f"{CAROL}:9", WEB), Drop.PORTS_EXHAUSTED)
    assert len(fill(paired, BOB, 3)) == 3

    arbitrary = Nat(ports=few, **ARBITRARY)
    ends = [f"{own}:{port}" for own in (EXTERNAL, SECOND) for port in few]
    assert sorted(fill(arbitrary, ALICE, 6)) == ends
    assert is_refused(arbitrary, udp(f"{CAROL}:9", WEB), Drop.PORTS_EXHAUSTED)


@pytest.mark.parametrize("make", [tcp, udp])
def test_one_port_of_two_addresses_leads_to_two_hosts(make):
    nat = Nat(filtering=EI, ports=range(2000, 2001), **TWO)
    assert fill(nat, ALICE, 1, make) == [f"{EXTERNAL}:2000"]
    assert fill(nat, BOB, 1, make) == [f"{SECOND}:2000"]
    for own, host in ((EXTERNAL, ALICE), (SECOND, BOB)):
        segment = {"segment": "SA"} if make is tcp else {}
        (came,) = nat.outside(make(WEB, f"{own}:2000", **segment))
        assert destination(came) == f"{host}:1"
    nat.outside(make(WEB, "24.9.3.9:2000"))
    assert nat.drop is Drop.NOT_FOR_US
    nat.outside(make(f"{SECOND}:1", f"{EXTERNAL}:2000"))
    assert nat.drop is Drop.SPOOFED_SOURCE


def test_held_ports_are_of_an_address():
    """RFC 6888, REQ-8."""
    hold: dict[str, Any] = {
        "filtering": EI,
        "ports": range(2000, 2001),
        "port_hold": 120.0,
        "udp_idle": 1.0,
    }
    nat = Nat(**hold, **TWO)
    fill(nat, ALICE, 1)
    nat.wait(1)
    assert is_refused(nat, udp(f"{CAROL}:1", WEB), Drop.PORTS_EXHAUSTED)
    assert fill(nat, BOB, 1) == [f"{SECOND}:2000"]


def test_hairpinning_between_two_addresses():
    nat = Nat(filtering=EI, **TWO)
    (alice,), (bob,) = fill(nat, ALICE, 1), fill(nat, BOB, 1)
    (came,) = nat.inside(udp(f"{ALICE}:1", bob))
    assert show(came) == f"udp {alice} > {BOB}:1"
    (came,) = nat.inside(udp(f"{BOB}:1", alice))
    assert show(came) == f"udp {bob} > {ALICE}:1"
    off = Nat(hairpinning=False, **TWO)
    off.inside(udp(f"{ALICE}:1", f"{SECOND}:1"))
    assert off.drop is Drop.HAIRPINNING_OFF


def test_every_address_answers_pings():
    nat = Nat(**TWO)
    for own in (EXTERNAL, SECOND):
        (reply,) = nat.outside(ping(SERVER, own))
        assert show(reply) == f"icmp 0 {own} > {SERVER}"
        (reply,) = nat.inside(ping(ALICE, own))
        assert show(reply) == f"icmp 0 {own} > {ALICE}"


def test_errors_come_from_and_go_to_the_address_of_the_rule():
    nat = Nat(filtering=EI, **TWO)
    for make in (udp, tcp, ping):
        asked = make(BOB, SERVER) if make is ping else make(f"{BOB}:5", WEB)
        sent = nat.out(asked)
        (came,) = nat.outside(error("203.0.113.1", SECOND, sent))
        assert IP(came).dst == BOB
        assert quoted(came) == asked[:28]
        nat.outside(error("203.0.113.1", EXTERNAL, sent))  # not to the sender of what it quotes
        assert nat.drop is Drop.ICMP_UNRELATED
    sent = nat.out(udp(f"{BOB}:5", WEB))
    (came,) = nat.outside(udp(WEB, source(sent)))
    answer = nat.out(error(BOB, SERVER, came))
    assert show(answer) == f"icmp 3 {SECOND} > {SERVER}"
    assert IP(quoted(answer)).dst == SECOND


def test_the_kernels_own_errors_come_from_the_address_that_was_asked():
    """About a packet whose time to live ended here, before it was translated."""
    nat = Nat(**TWO)
    arrived = udp(WEB, f"{SECOND}:33434", ttl=1)
    sent = nat.out(error(ROUTER, SERVER, arrived, (11, 0), None))
    assert show(sent) == f"icmp 11 {SECOND} > {SERVER}"
    assert quoted(sent) == arrived


def test_fragments_go_by_the_address_of_the_first():
    nat = Nat(filtering=EI, **TWO)
    pieces = fragments(udp(f"{BOB}:5", WEB, bytes(64)), 16, 32)
    sent = [nat.out(piece) for piece in pieces]
    assert {IP(piece).src for piece in sent} == {SECOND}
    back = fragments(udp(WEB, source(sent[0]), bytes(64)), 16, 32)
    assert {IP(one).dst for piece in back for one in nat.outside(piece)} == {BOB}


def test_explicit_rules_at_the_hosts_own_address_or_another():
    nat = Nat(**TWO)
    inside = parse_endpoint(f"{BOB}:80")
    own, other, both = ((parse_address(a), 8080) for a in (SECOND, EXTERNAL, "24.9.3.9"))
    assert nat.add_rule(TCP_NUMBER, 8080, f"{BOB}:80").external == own
    with pytest.raises(RuleRefused, match=r"24.9.3.9 is not .* address 24.9.3.7 or 24.9.3.8"):
        nat.translator.add_rule(TCP_NUMBER, both, inside, nat.now)
    carols = parse_endpoint(f"{CAROL}:80")
    assert nat.translator.add_rule(TCP_NUMBER, other, carols, nat.now).external == other
    for end, host in ((SECOND, BOB), (EXTERNAL, CAROL)):
        (came,) = nat.outside(tcp(f"{SERVER}:5", f"{end}:8080"))
        assert destination(came) == f"{host}:80"
    with pytest.raises(RuleRefused, match=r"24.9.3.7:8080 and 24.9.3.8:8080 have rules: say"):
        nat.remove_rule(TCP_NUMBER, 8080)
    nat.translator.remove_rule(TCP_NUMBER, other, nat.now)
    nat.remove_rule(TCP_NUMBER, 8080)  # there is only one left
    assert not nat.rules
    arbitrary = Nat(**ARBITRARY)
    assert arbitrary.add_rule(TCP_NUMBER, 8080, f"{BOB}:80").external == other  # the first


def test_a_rule_at_an_address_that_is_gone_is_not_restored():
    nat = Nat(**TWO)
    fill(nat, BOB, 1)
    records = nat.memory.snapshot()
    with pytest.raises(ValueError, match="a rule that no NAPT would make"):
        Nat().begin(memoryview(bytearray(records)))


def test_port_control_grants_the_address_that_a_host_has():
    home = Home(**TWO)
    for host, own in ((ALICE, EXTERNAL), (BOB, SECOND)):
        reply = home.ask(8000, wish=8080, client=host)
        assert (reply.result, reply.port, reply.address) == (SUCCESS, 8080, address(own))
        asked = home.send(bytes(2), host)  # NAT-PMP, operation 0
        assert asked is not None
        assert asked[8:] == parse_address(own).to_bytes(4, "big")
    theirs: dict[str, Any] = {"wish": 9090, "at": SECOND}
    assert home.ask(9000, **theirs).address == address(EXTERNAL)
    assert home.ask(9001, 3600, EXACTLY, **theirs).result == CANNOT_PROVIDE_EXTERNAL
    assert home.ask(9002, 3600, EXACTLY, client=BOB, **theirs).result == SUCCESS
    told = Home(**TWO).server.announcements(1000.0)
    assert [message[0] for message in told] == [2]  # NAT-PMP's would tell one address to all
    assert [message[0] for message in Home().server.announcements(1000.0)] == [2, 0]

    arbitrary = Home(**ARBITRARY)
    assert arbitrary.ask(9000, **theirs).address == address(SECOND)
    asked = arbitrary.send(bytes(2), BOB)
    assert asked is not None
    assert asked[8:] == parse_address(EXTERNAL).to_bytes(4, "big")


# -- ports for each host ----------------------------------------------------------------------


@pytest.mark.parametrize("make", [tcp, udp, ping])
@pytest.mark.parametrize("mapping", [EI, APD])
def test_a_host_may_have_so_many_ports_of_a_protocol(make, mapping):
    """RFC 6888, REQ-4: its neighbor goes on, and the host itself with the ports that it has."""
    nat = Nat(ports_per_subscriber=3, mapping=mapping, filtering=mapping)

    def packet(host: str, number: int, server: str = SERVER) -> bytes:
        return ping(host, server, number) if make is ping else make(f"{host}:{number}", server)

    server = SERVER if make is ping else WEB
    for number in (1, 2, 3):
        nat.out(packet(ALICE, number, server))
    assert is_refused(nat, packet(ALICE, 4, server), Drop.SUBSCRIBER_LIMIT)
    nat.out(packet(ALICE, 3, server))
    for number in (1, 2, 3):
        nat.out(packet(BOB, number, server))
    if mapping is EI:  # a session more on a port that it has
        nat.out(packet(ALICE, 3, OTHER if make is ping else f"{OTHER}:80"))
    nat.out(udp(f"{ALICE}:1", f"{SERVER}:53") if make is tcp else tcp(f"{ALICE}:1", WEB))
    nat.kill()
    assert is_refused(nat, packet(ALICE, 4, server), Drop.SUBSCRIBER_LIMIT)
    nat.wait(8000)
    nat.out(packet(ALICE, 4, server))
    nat.wait(8000)
    assert_empty(nat.translator)


def test_one_port_that_serves_several_remote_endpoints_is_one():
    """The limit is about ports (RFC 6888, REQ-4), not about rules."""
    nat = Nat(
        ports_per_subscriber=2, mapping=APD, filtering=APD, port_assignment=PortAssignment.PRESERVE
    )
    remotes = [f"198.51.100.{number}:53" for number in range(1, 5)]
    out = [nat.out(udp("10.0.0.7:5000", remote)) for remote in remotes]
    assert {source(packet) for packet in out} == {f"{EXTERNAL}:5000"}
    nat.out(udp("10.0.0.7:5001", remotes[0]))
    shared = source(nat.out(udp("10.0.0.7:5002", "198.51.100.9:53")))
    assert shared in (f"{EXTERNAL}:5000", f"{EXTERNAL}:5001")
    nat.inside(udp("10.0.0.7:5003", remotes[0]))
    assert nat.drop is Drop.SUBSCRIBER_LIMIT  # both of its ports are talking to that server
    assert nat.out(udp("10.0.0.8:5003", remotes[0]))  # the neighbor


def test_explicit_rules_count_and_only_the_owner_may_go_beyond():
    home = Home(ports_per_subscriber=2)
    assert home.ask(8000, wish=8080).result == SUCCESS
    home.add_rule(TCP_NUMBER, 22, f"{ALICE}:22")
    assert home.ask(8001).result == USER_EX_QUOTA
    assert is_refused(home, tcp(f"{ALICE}:5", WEB), Drop.SUBSCRIBER_LIMIT)
    home.add_rule(TCP_NUMBER, 23, f"{ALICE}:23")
    assert home.ask(8001, client=BOB).result == SUCCESS


# -- blocks of ports --------------------------------------------------------------------------


def test_blocks_follow_each_other_over_the_addresses():
    """RFC 7422: subscribers in their order, as many to an address as fit."""
    where = [block_of(n, [7, 8], range(1024, 65536), 16_000) for n in range(1, 10)]
    starts = [1024, 17024, 33024, 49024]
    wanted = [(address, range(start, start + 16_000)) for address in (7, 8) for start in starts]
    assert where == [*wanted, None]
    assert block_of(1, [7], range(1, 10), 20) is None
    assert block_of(1, [7], range(1, 11), 10) == (7, range(1, 11))


def test_a_host_has_its_block_and_no_other():
    nat = Nat(**BLOCKS, **TWO)
    seventh, eighth, ninth = (
        {f"{own}:{port}" for port in range(start, start + 4)}
        for own, start in ((EXTERNAL, 2024), (EXTERNAL, 2028), (SECOND, 2000))
    )
    for make in (udp, tcp):  # a block for each protocol
        for host, block in ((ALICE, seventh), (BOB, eighth), (CAROL, ninth)):
            assert set(fill(nat, host, 4, make)) == block
            assert is_refused(nat, make(f"{host}:5", WEB), Drop.SUBSCRIBER_LIMIT)
    assert is_refused(nat, udp("10.0.0.17:1", WEB), Drop.PORTS_EXHAUSTED)  # there are 16 blocks
    nat.wait(8000)
    assert set(fill(nat, ALICE, 4)) == seventh
    assert nat.translator.table.ports.pooling._blocks.keys() == {
        parse_address(host) for host in (ALICE, BOB, CAROL)
    }


def test_a_block_that_is_held_is_full():
    nat = Nat(**BLOCKS, filtering=EI, port_hold=120.0, udp_idle=1.0)
    fill(nat, ALICE, 4)
    nat.wait(1)
    assert is_refused(nat, udp(f"{ALICE}:5", WEB), Drop.PORTS_EXHAUSTED)
    nat.wait(120)
    fill(nat, ALICE, 4)


def test_parity_within_a_block():
    """RFC 4787, REQ-4."""
    nat = Nat(**BLOCKS, port_parity=True)
    ports = [source(nat.out(udp(f"{ALICE}:{port}", WEB))) for port in (5001, 5003, 5002, 5004)]
    assert [int(port[-1]) % 2 for port in ports] == [1, 1, 0, 0]


def test_explicit_rules_stay_in_the_block_or_out_of_the_pool():
    home = Home(**BLOCKS, **TWO)
    with pytest.raises(RuleRefused, match=r"port 2000 of 24.9.3.7 is not one of 10.0.0.8's block"):
        home.add_rule(TCP_NUMBER, 2000, f"{BOB}:80")
    with pytest.raises(RuleRefused, match="port 2033"):  # it belongs to nobody
        home.add_rule(TCP_NUMBER, 2033, f"{BOB}:80")
    home.add_rule(TCP_NUMBER, 2028, f"{BOB}:80")
    home.add_rule(TCP_NUMBER, 80, f"{BOB}:81")
    assert home.ask(8000, wish=2000).port in range(2024, 2028)
    assert home.ask(8001, wish=2025, client=CAROL).port in range(2000, 2004)
    no_block = home.send(map_request(1, client="10.0.0.20"), "10.0.0.20")
    assert no_block is not None
    assert no_block[3] == 8  # NO_RESOURCES
    with pytest.raises(RuleRefused, match=r"port 2000 of 24.9.3.7 is not one of 10.0.0.20's block"):
        home.add_rule(TCP_NUMBER, 2000, "10.0.0.20:80")
    assert home.add_rule(TCP_NUMBER, 81, "10.0.0.20:80").external[0] == parse_address(EXTERNAL)


@pytest.mark.parametrize(
    ("choices", "key"),
    [
        ({"port_assignment": PortAssignment.DETERMINISTIC}, "port-assignment"),
        ({**BLOCKS, "address_pooling": AddressPooling.ARBITRARY}, "address-pooling"),
        ({"ports": range(2000, 2010), "ports_per_subscriber": 11}, "ports-per-subscriber"),
        ({"ports": range(2000, 2010), "ports_per_subscriber": 10}, None),
        (BLOCKS, None),
        (ARBITRARY, None),
    ],
)
def test_choices_that_do_not_go_together(choices, key):
    wrong = Nat(**choices).settings.contradiction()
    assert (wrong and wrong[0]) == key
