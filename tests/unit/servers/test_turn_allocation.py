"""RFC 8656, sections 7 and 8: the checks in their order, lifetimes, ports, reservations."""

import pytest

from napt_lab.servers.stun import attributes as value
from napt_lab.servers.stun.stun_message import Attribute, Class, Message, Method, decode, encode
from tests.unit.servers.turn_world import CLIENT, RELAY, TCP, UDP, World

REQUESTED_UDP = (Attribute.REQUESTED_TRANSPORT, value.encode_byte(UDP))
REQUESTED_TCP = (Attribute.REQUESTED_TRANSPORT, value.encode_byte(TCP))
IPV6 = value.encode_byte(2)
IPV4 = value.encode_byte(1)
EVEN = (Attribute.EVEN_PORT, b"\x00")
EVEN_AND_NEXT = (Attribute.EVEN_PORT, b"\x80")
TOKEN = (Attribute.RESERVATION_TOKEN, b"12345678")


def lifetime(seconds):
    return Attribute.LIFETIME, value.encode_number(seconds)


def number(response, attribute):
    return value.decode_number(response.get(attribute))


def test_an_allocation_tells_its_address_its_lifetime_and_where_we_come_from():
    client = World().client()
    error, response = client.ask(Method.ALLOCATE, REQUESTED_UDP)
    assert error == 0
    relayed = value.decode_xor_address(
        response.get(Attribute.XOR_RELAYED_ADDRESS), response.transaction_id
    )
    mapped = value.decode_xor_address(
        response.get(Attribute.XOR_MAPPED_ADDRESS), response.transaction_id
    )
    assert relayed[0] == RELAY
    assert mapped == CLIENT
    assert number(response, Attribute.LIFETIME) == 600
    assert client.world.events_of("allocated")[0]["transport"] == "udp"


@pytest.mark.parametrize(
    ("attributes", "code"),
    [
        ([], 400),  # 3. no REQUESTED-TRANSPORT
        ([(Attribute.REQUESTED_TRANSPORT, b"\x11")], 400),  # 3. malformed
        ([(Attribute.REQUESTED_TRANSPORT, value.encode_byte(132))], 442),  # 3. SCTP
        ([REQUESTED_UDP, (Attribute.DONT_FRAGMENT, b"")], 420),  # 4.
        ([REQUESTED_UDP, TOKEN, EVEN], 400),  # 5.
        ([REQUESTED_UDP, TOKEN, (Attribute.REQUESTED_ADDRESS_FAMILY, IPV4)], 400),  # 5.
        ([REQUESTED_UDP, TOKEN], 508),  # 5. no such token
        (
            [
                REQUESTED_UDP,
                (Attribute.REQUESTED_ADDRESS_FAMILY, IPV4),
                (Attribute.ADDITIONAL_ADDRESS_FAMILY, IPV6),
            ],
            400,
        ),  # 6.
        ([REQUESTED_UDP, (Attribute.REQUESTED_ADDRESS_FAMILY, IPV6)], 440),  # 7.
        ([REQUESTED_UDP, (Attribute.EVEN_PORT, b"")], 400),  # 8. malformed
        ([REQUESTED_UDP, (Attribute.ADDITIONAL_ADDRESS_FAMILY, IPV4)], 400),  # 9.
        (
            [REQUESTED_UDP, (Attribute.ADDITIONAL_ADDRESS_FAMILY, IPV6), EVEN_AND_NEXT],
            400,
        ),  # 9.
        ([REQUESTED_TCP], 400),  # RFC 6062: over UDP
        ([REQUESTED_UDP, (Attribute.LIFETIME, b"\x01")], 400),  # malformed LIFETIME
        ([REQUESTED_UDP, (0x7ABC, b"")], 420),  # not understood
    ],
)
def test_what_is_refused_and_how(attributes, code):
    world = World()
    error, response = world.client().ask(Method.ALLOCATE, *attributes)
    assert error == code
    assert not world.state.allocations
    assert not world.ports.open_relays
    (refused,) = world.events_of("refused")
    assert (refused["client"], refused["user"]) == ("24.9.3.7:40001", "alice")
    assert refused["reason"].startswith(f"{code} {value.REASONS[code]}: ")
    if code == 420:
        assert response.get(Attribute.UNKNOWN_ATTRIBUTES) in (b"\x00\x1a", b"\x7a\xbc")
    # The positive control: the same client with nothing odd about its request.
    assert world.client().ask(Method.ALLOCATE, REQUESTED_UDP)[0] == 0


@pytest.mark.parametrize("extra", [EVEN, TOKEN, (Attribute.DONT_FRAGMENT, b"")])
def test_tcp_allocations_refuse_what_has_no_meaning_for_them(extra):
    world = World()
    client = world.client(over=TCP)
    assert client.ask(Method.ALLOCATE, REQUESTED_TCP, extra)[0] in (400, 420, 508)
    assert client.ask(Method.ALLOCATE, REQUESTED_TCP)[0] == 0


def test_an_additional_family_is_refused_beside_the_success():
    client = World().client()
    error, response = client.ask(
        Method.ALLOCATE, REQUESTED_UDP, (Attribute.ADDITIONAL_ADDRESS_FAMILY, IPV6)
    )
    assert error == 0
    refused = response.get(Attribute.ADDRESS_ERROR_CODE)
    assert refused[0] == 2
    assert value.decode_error(refused) == 440


def test_a_second_allocation_on_the_same_5_tuple_is_a_mismatch():
    client = World().client()
    assert client.allocate()
    assert client.allocate() == 437
    assert len(client.world.state.allocations) == 1


def test_a_retransmitted_request_gets_the_same_answer_and_nothing_twice():
    world = World()
    client = world.client()
    client.turn.allocate(UDP, world.now)
    world.server.receive(client.five_tuple, client.turn.take_output()[0], world.now)
    world.perform()
    request = client.turn.take_output()[0]
    for _ in range(3):
        world.server.receive(client.five_tuple, request, world.now)
        world.perform()
    assert client.raw[-1] == client.raw[-2] == client.raw[-3]
    assert decode(client.raw[-1]).message_class == Class.SUCCESS
    assert len(world.state.allocations) == len(world.ports.open_relays) == 1


@pytest.mark.parametrize(
    ("wanted", "granted"), [(0, 600), (1, 600), (777, 777), (3600, 3600), (86400, 3600)]
)
def test_lifetimes_are_between_the_default_and_an_hour(wanted, granted):
    _, response = World().client().ask(Method.ALLOCATE, REQUESTED_UDP, lifetime(wanted))
    assert number(response, Attribute.LIFETIME) == granted


def test_an_allocation_ends_after_600_s_to_the_second():
    world = World()
    world.client().allocate()
    world.advance(599.9, clients=False)
    assert len(world.state.allocations) == 1
    world.advance(0.1, clients=False)
    assert world.holds_nothing()
    assert world.events_of("ended")[0]["reason"] == "expired"


def test_refreshing_keeps_it_and_zero_deletes_it():
    world = World()
    client = world.client()
    client.allocate()
    world.advance(6000)
    assert len(world.state.allocations) == 1
    error, response = client.ask(Method.REFRESH, lifetime(0))
    assert (error, number(response, Attribute.LIFETIME)) == (0, 0)
    assert world.holds_nothing()
    assert world.events_of("ended")[0]["reason"] == "deleted"
    # A retransmitted deletion finds nothing (section 8.2).
    assert client.ask(Method.REFRESH, lifetime(0))[0] == 437


def test_a_refresh_for_another_family_is_a_mismatch():
    client = World().client()
    client.allocate()
    assert client.ask(Method.REFRESH, (Attribute.REQUESTED_ADDRESS_FAMILY, IPV6))[0] == 443
    assert client.ask(Method.REFRESH, (Attribute.REQUESTED_ADDRESS_FAMILY, IPV4))[0] == 0


@pytest.mark.parametrize(
    "method",
    [Method.REFRESH, Method.CREATE_PERMISSION, Method.CHANNEL_BIND, Method.CONNECT],
)
def test_without_an_allocation_and_with_another_users(method):
    world = World()
    client = world.client()
    assert client.ask(method)[0] == 437
    client.allocate()
    intruder = world.client(user="bob", password="hunter2")
    assert intruder.ask(method)[0] == 441


def test_ports_are_even_on_request_and_the_next_one_is_held_back_30_s():
    world = World()
    first, second = world.client(), world.client(("24.9.3.7", 40002))
    error, response = first.ask(Method.ALLOCATE, REQUESTED_UDP, EVEN_AND_NEXT)
    assert error == 0
    port = value.decode_xor_address(
        response.get(Attribute.XOR_RELAYED_ADDRESS), response.transaction_id
    )[1]
    assert port % 2 == 0
    token = response.get(Attribute.RESERVATION_TOKEN)
    assert second.allocate(UDP, (Attribute.RESERVATION_TOKEN, token)) == (RELAY, port + 1)
    # A token is good once.
    third = world.client(("24.9.3.7", 40003))
    assert third.allocate(UDP, (Attribute.RESERVATION_TOKEN, token)) == 508


def test_a_reservation_that_is_not_claimed_expires():
    world = World()
    client = world.client()
    _, response = client.ask(Method.ALLOCATE, REQUESTED_UDP, EVEN_AND_NEXT)
    token = response.get(Attribute.RESERVATION_TOKEN)
    assert len(world.ports.open_relays) == 2
    world.advance(30)
    assert len(world.ports.open_relays) == 1
    other = world.client(("24.9.3.7", 40002))
    assert other.allocate(UDP, (Attribute.RESERVATION_TOKEN, token)) == 508


def test_another_user_cannot_claim_a_reservation():
    world = World()
    _, response = world.client().ask(Method.ALLOCATE, REQUESTED_UDP, EVEN_AND_NEXT)
    token = (Attribute.RESERVATION_TOKEN, response.get(Attribute.RESERVATION_TOKEN))
    thief = world.client(("24.9.3.7", 40002), user="bob", password="hunter2")
    assert thief.allocate(UDP, token) == 508


def test_no_even_port_left_is_insufficient_capacity():
    world = World(ports=range(50000, 50004))
    world.ports.refused = {50000, 50002}
    client = world.client()
    assert client.allocate(UDP, EVEN) == 508
    assert client.allocate()[1] in (50001, 50003)


def test_an_even_port_without_its_neighbour_is_not_kept():
    world = World(ports=range(50000, 50002))
    world.ports.refused = {50001}
    assert world.client().allocate(UDP, EVEN_AND_NEXT) == 508
    assert world.holds_nothing()


def test_no_port_at_all_is_insufficient_capacity():
    world = World(ports=range(50000, 50002))
    hosts = [world.client(("24.9.3.7", port)) for port in (1, 2, 3)]
    assert [isinstance(each.allocate(), tuple) for each in hosts[:2]] == [True, True]
    assert hosts[2].allocate() == 508


def test_quotas_of_user_and_of_address():
    world = World(user=2, client=3)
    same_user = [world.client(("24.9.3.7", port)) for port in (1, 2, 3)]
    assert same_user[0].allocate()
    assert same_user[1].allocate()
    assert same_user[2].allocate() == 486
    other_user = [
        world.client(("24.9.3.7", port), user="bob", password="hunter2") for port in (4, 5)
    ]
    assert isinstance(other_user[0].allocate(), tuple)
    assert other_user[1].allocate() == 486
    # What ends is no longer counted.
    assert same_user[0].ask(Method.REFRESH, lifetime(0))[0] == 0
    assert isinstance(other_user[1].allocate(), tuple)


def test_the_end_of_the_control_connection_ends_the_allocation():
    world = World()
    client = world.client(over=TCP)
    client.allocate()
    world.server.stream_closed(client.five_tuple, world.now)
    world.perform()
    assert world.holds_nothing()


def test_binding_needs_no_credentials_and_reports_the_address():
    world = World()
    client = world.client()
    world.server.receive(
        client.five_tuple, encode(Message(Method.BINDING, Class.REQUEST, bytes(12))), world.now
    )
    world.perform()
    response = decode(client.raw[-1])
    mapped = value.decode_xor_address(response.get(Attribute.XOR_MAPPED_ADDRESS), bytes(12))
    assert mapped == CLIENT
    assert world.holds_nothing()
