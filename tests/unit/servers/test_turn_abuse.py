"""A public server's view: forged, flooding, curious and plainly broken clients."""

import random
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napt_lab.servers.stun import attributes as value
from napt_lab.servers.stun.attributes import FiveTuple
from napt_lab.servers.stun.stun_message import Attribute, Class, Message, Method, decode, encode
from napt_lab.servers.turn import actions
from napt_lab.servers.turn.__main__ import _arguments
from napt_lab.servers.turn.turn_state import MAX_STRANGERS, MAX_STRANGERS_PER_CLIENT
from tests.unit.servers.turn_world import CLIENT, RELAY, SERVER, TCP, UDP, World

REQUESTED = (Attribute.REQUESTED_TRANSPORT, value.encode_byte(UDP))
STRANGER = FiveTuple(UDP, CLIENT, SERVER)


def request(method=Method.ALLOCATE, transaction_id=bytes(12), attributes=(REQUESTED,)):
    return encode(Message(method, Class.REQUEST, transaction_id, list(attributes)))


@pytest.mark.parametrize(
    "address",
    ["0.0.0.0", "10.1.2.3", "100.64.0.1", "127.0.0.1", "169.254.169.254", "172.31.0.1",
     "192.168.1.1", "198.18.0.1", "224.0.0.1", "239.255.255.250", "240.0.0.1",
     "255.255.255.255", "203.0.113.11"],
)  # fmt: skip
def test_what_is_not_public_unicast_or_is_our_own_is_forbidden(address):
    client = World().client()
    client.allocate()
    assert client.permit(address) == 403
    assert client.bind((address, 5000)) == 403
    assert client.permit("198.51.100.7") == 0


def test_the_operator_can_allow_a_network():
    client = World(allow=["10.1.0.0/16"]).client()
    client.allocate()
    assert client.permit("10.1.2.3") == 0
    assert client.permit("10.2.2.3") == 403


def test_on_the_relay_address_only_living_allocations_can_be_reached():
    world = World()
    client = world.client()
    relayed = client.allocate()
    client.permit(RELAY)
    client.send(b"to a service of the relay's own host", (RELAY, 22))
    client.send(b"to an allocation", relayed)
    assert [peer for _, peer, _ in world.at_peers] == [relayed]
    assert client.bind((RELAY, 22)) == 403
    assert client.bind(relayed) == 0


def bob(world, over=UDP):
    """Another user's client."""
    return world.client(("24.9.3.8", 40002), over, "bob", "hunter2")


def test_a_channel_to_an_allocation_ends_with_it():
    """What gets the port next, here or in another program, is not what was bound."""
    world = World()
    client, other = world.client(), bob(world)
    client.allocate()
    relayed = other.allocate()
    assert client.bind(relayed) == client.bind() == 0
    client.send(b"living", relayed)
    other.ask(Method.REFRESH, (Attribute.LIFETIME, value.encode_number(0)))
    client.send(b"ended", relayed)
    client.send(b"another peer's channel stays")
    assert [data for _, _, data in world.at_peers] == [b"living", b"another peer's channel stays"]
    assert client.bind(relayed) == 403
    client.ask(Method.REFRESH, (Attribute.LIFETIME, value.encode_number(0)))
    assert world.holds_nothing()


def test_a_channel_to_an_allocation_may_end_first():
    world = World()
    client, other = world.client(), bob(world)
    client.allocate()
    relayed = other.allocate()
    assert client.bind(relayed) == 0
    world.advance(599, clients=False)
    client.ask(Method.REFRESH, (Attribute.LIFETIME, value.encode_number(0)))
    other.ask(Method.REFRESH, (Attribute.LIFETIME, value.encode_number(0)))
    assert world.holds_nothing()


def test_where_the_operator_allows_the_relay_address_channels_to_it_stay():
    world = World(allow=[f"{RELAY}/32"])
    client, other = world.client(), bob(world)
    client.allocate()
    relayed = other.allocate()
    assert client.bind(relayed) == 0
    other.ask(Method.REFRESH, (Attribute.LIFETIME, value.encode_number(0)))
    client.send(b"allowed", relayed)
    assert [data for _, _, data in world.at_peers] == [b"allowed"]


def test_two_allocations_never_have_the_same_relayed_address():
    world = World(ports=range(50000, 50001))
    first = world.client(over=TCP)
    second = bob(world, TCP)
    relayed = first.allocate(TCP)
    assert second.allocate(TCP) == 508
    first.ask(Method.REFRESH, (Attribute.LIFETIME, value.encode_number(0)))
    assert second.allocate(TCP) == relayed
    world.server.stream_closed(first.five_tuple, world.now)
    world.server.stream_closed(second.five_tuple, world.now)
    assert world.holds_nothing()


def test_a_port_is_an_allocation_of_its_own_transport_only():
    """UDP and TCP number their ports apart: both may be relayed, and end, independently."""
    world = World(ports=range(50000, 50001))
    datagrams, connections = world.client(), world.client(("24.9.3.7", 40002), over=TCP)
    relayed = datagrams.allocate()
    assert datagrams.bind(relayed) == 0
    peer = (Attribute.XOR_PEER_ADDRESS, value.encode_xor_address(relayed, bytes(12)))
    assert connections.allocate(TCP) == relayed
    datagrams.ask(Method.REFRESH, (Attribute.LIFETIME, value.encode_number(0)))
    assert connections.bind(relayed) == 400
    friend = world.client(("24.9.3.7", 40003), over=TCP)
    assert friend.ask(Method.CONNECT, peer)[0] == 437
    world.server.stream_closed(connections.five_tuple, world.now)
    world.server.stream_closed(friend.five_tuple, world.now)
    assert world.holds_nothing()


def test_a_flood_without_credentials_leaves_nothing_behind():
    world = World()
    rng = random.Random(5)
    for _ in range(20_000):
        client = (f"24.{rng.randrange(256)}.{rng.randrange(256)}.7", rng.randrange(1, 65536))
        world.server.receive(FiveTuple(UDP, client, SERVER), request(), world.now)
        world.state.take_actions()
    assert world.holds_nothing()


def reply_bytes(world, packet, times, interval):
    """Bytes the server sends for the same packet again and again."""
    total = 0
    for _ in range(times):
        world.server.receive(STRANGER, packet, world.now)
        total += sum(
            len(action.data)
            for action in world.state.take_actions()
            if isinstance(action, actions.SendToClient)
        )
        world.now += interval
    return total


@pytest.mark.parametrize(
    "packet",
    [request(), request(attributes=()), request(Method.BINDING, attributes=()),
     request(Method.REFRESH, attributes=[(Attribute.MESSAGE_INTEGRITY, bytes(20))])],
    ids=["allocate", "smallest", "binding", "bad integrity"],
)  # fmt: skip
@pytest.mark.parametrize("interval", [0.0, 0.001, 0.1, 10.0])
def test_replies_to_a_forged_address_exceed_its_requests_by_one_challenge_and_a_trickle(
    packet, interval
):
    times = 2000
    sent = reply_bytes(World(), packet, times, interval)
    assert sent > 0
    assert sent <= times * len(packet) + challenge_length() + 32 * times * interval


def test_idle_time_earns_one_challenge_and_no_more():
    world = World()
    for _ in range(3):
        world.now += 1e6
        burst = reply_bytes(world, request(), 100, 0.0)
        assert 0 < burst <= 100 * len(request()) + challenge_length()


def challenge_length():
    """Bytes of the first answer a stranger gets who sends no FINGERPRINT."""
    allocate = Message(Method.ALLOCATE, Class.REQUEST, bytes(12), [REQUESTED])
    packet = encode(allocate, fingerprint=False)
    length = reply_bytes(World(), packet, 1, 0.0)
    assert len(packet) == 28 < length < 100
    return length


def test_a_realm_of_any_length_is_challenged():
    world = World(realm="r" * 127)
    assert isinstance(world.client().allocate(), tuple)


def test_a_lost_challenge_is_sent_again_within_two_retransmissions():
    world = World()
    assert reply_bytes(world, request(), 1, 0.5) > 0
    assert reply_bytes(world, request(), 1, 1.0) + reply_bytes(world, request(), 1, 0.0) > 0


def test_many_clients_behind_one_address_are_answered_one_after_the_other_at_once():
    """Each that authenticates proves the address again."""
    world = World(user=64, client=64)
    clients = [world.client(("24.9.3.7", port)) for port in range(1, 31)]
    assert all(isinstance(each.allocate(), tuple) for each in clients)


def test_many_clients_behind_one_address_that_ask_together_are_answered_within_seconds():
    world = World(user=64, client=64)
    clients = [world.client(("24.9.3.7", port)) for port in range(1, 31)]
    for each in clients:
        each.turn.allocate(UDP, world.now, [])
    world.advance(2)
    assert len(world.state.allocations) == 30


def test_a_victim_of_forgery_can_still_use_the_server():
    """Requests with a valid nonce prove their address, and cost no credit."""
    world = World()
    client = world.client()
    assert client.allocate()
    reply_bytes(world, request(), 1000, 0.0)
    assert client.permit() == 0


def test_an_authenticated_request_earns_a_bounded_credit():
    world = World()
    client = world.client()
    client.allocate()
    received = 1000 * len(request())
    assert reply_bytes(world, request(), 1000, 0.0) <= received + challenge_length() + 1024
    for _ in range(1000):
        assert client.permit() == 0
    assert reply_bytes(world, request(), 1000, 0.0) <= received + 4096


def stranger(world, address, port=1):
    five_tuple = FiveTuple(TCP, (address, port), SERVER)
    world.server.stream_opened(five_tuple, world.now)
    world.perform()
    return five_tuple


def closing(world):
    return [each.five_tuple for each in world.done if isinstance(each, actions.CloseStream)]


def test_tcp_strangers_are_bounded_in_number_per_address_and_in_time():
    world = World()
    opened = [stranger(world, "24.9.3.7", port) for port in range(1, 100)]
    assert len(world.state.strangers) == MAX_STRANGERS_PER_CLIENT
    # The address has its newest connections: the longest idle ones gave way.
    assert closing(world) == opened[:-MAX_STRANGERS_PER_CLIENT]
    opened += [stranger(world, f"24.1.{n // 250}.{n % 250}") for n in range(2000)]
    assert len(world.state.strangers) == MAX_STRANGERS
    world.advance(30)
    assert sorted(closing(world)) == sorted(opened)
    for five_tuple in opened:
        world.server.stream_closed(five_tuple, world.now)
    assert world.holds_nothing()


def fill_with_strangers(world):
    """16 addresses, each with as many connections as one may have: all places are taken."""
    for host in range(16):
        for port in range(MAX_STRANGERS_PER_CLIENT):
            stranger(world, f"24.1.1.{host}", port)
    assert len(world.state.strangers) == MAX_STRANGERS
    assert not closing(world)


def test_sixteen_addresses_of_idle_strangers_lock_no_newcomer_out():
    world = World()
    fill_with_strangers(world)
    newcomer = world.client(over=TCP)
    assert isinstance(newcomer.allocate(TCP), tuple)
    assert [each.client[0] for each in closing(world)] == ["24.1.1.0"]
    assert world.events_of("refused") == [
        {"client": "24.1.1.0:0", "reason": "too many TCP connections without an allocation"}
    ]


def test_a_stranger_that_keeps_coming_displaces_itself_and_not_those_with_few():
    world = World()
    few = stranger(world, "198.51.100.1")
    fill_with_strangers_but_one = [
        stranger(world, f"24.1.1.{n // 64}", n % 64) for n in range(MAX_STRANGERS - 1)
    ]
    for port in range(1000, 3000):
        stranger(world, "24.1.1.0", port)
    assert few not in closing(world)
    assert {each.client[0] for each in closing(world)} == {"24.1.1.0"}
    assert closing(world)[:64] == fill_with_strangers_but_one[:64]


def test_a_stranger_that_speaks_gives_way_after_those_that_are_silent():
    world = World()
    speaking = stranger(world, "24.9.3.7", 1)
    silent = [stranger(world, "24.9.3.7", port) for port in range(2, 65)]
    world.server.receive(speaking, request(Method.BINDING, attributes=()), world.now)
    for port in range(100, 163):
        stranger(world, "24.9.3.7", port)
    assert closing(world) == silent


def test_clients_with_allocations_take_no_places_from_strangers_nor_lose_theirs():
    world = World(user=64, client=64)
    clients = [world.client(("24.9.3.7", port), over=TCP) for port in range(1, 65)]
    assert all(isinstance(each.allocate(TCP), tuple) for each in clients)
    assert len(world.state.strangers) == 0
    for port in range(1000, 1100):
        stranger(world, "24.9.3.7", port)
    assert len(world.state.allocations) == 64
    assert {each.client[1] for each in closing(world)} == {*range(1000, 1036)}
    # Without its allocation, a connection is a stranger's again.
    clients[0].ask(Method.REFRESH, (Attribute.LIFETIME, value.encode_number(0)))
    assert clients[0].five_tuple.client in [
        each.client for each in world.state.strangers._held["24.9.3.7"]
    ]


def test_by_default_a_host_cannot_use_up_an_account_that_it_shares(monkeypatch):
    required = ["--realm", "napt.lab", "--user", "alice:secret", "--relay-address", RELAY]
    monkeypatch.setattr(sys, "argv", ["turn", *required])
    options = _arguments()
    world = World(user=options.user_allocations, client=options.client_allocations)
    greedy = [world.client(("24.9.3.7", port)).allocate() for port in range(1, 100)]
    assert greedy[-1] == 486
    assert isinstance(world.client(("24.9.3.8", 1)).allocate(), tuple)


def test_a_host_cannot_hold_back_all_ports_of_an_account_that_it_shares():
    world = World(user=8, client=3)
    greedy = world.client()
    even = (Attribute.EVEN_PORT, b"\x80")
    results = []
    for _ in range(4):
        results.append(greedy.allocate(UDP, even))
        greedy.ask(Method.REFRESH, (Attribute.LIFETIME, value.encode_number(0)))
    assert [isinstance(each, tuple) for each in results] == [True, True, True, False]
    assert results[-1] == 508
    other = world.client(("24.9.3.8", 40001))
    assert isinstance(other.allocate(UDP, even), tuple)


def test_opening_and_closing_connections_again_and_again_needs_bounded_memory():
    world = World()
    for port in range(50_000):
        five_tuple = FiveTuple(TCP, (f"24.9.{port % 250}.7", port), SERVER)
        world.server.stream_opened(five_tuple, world.now)
        world.server.stream_closed(five_tuple, world.now)
    assert len(world.state.expirations._heap) < 200
    assert world.holds_nothing()


def test_allocating_and_deleting_again_and_again_leaves_nothing_behind():
    world = World()
    client = world.client()
    for _ in range(500):
        assert isinstance(client.allocate(), tuple)
        client.bind()
        assert client.ask(Method.REFRESH, (Attribute.LIFETIME, value.encode_number(0)))[0] == 0
    assert world.holds_nothing()
    assert len(world.state.expirations._heap) < 200


def test_reservations_are_bounded():
    world = World(user=4)
    client = world.client()
    results = []
    for _ in range(6):
        even = (Attribute.EVEN_PORT, b"\x80")
        results.append(client.allocate(UDP, even))
        client.ask(Method.REFRESH, (Attribute.LIFETIME, value.encode_number(0)))
    assert [isinstance(each, tuple) for each in results] == [True] * 4 + [False] * 2
    assert results[-1] == 508


MESSAGES = [
    request(),
    request(Method.REFRESH, attributes=[(Attribute.LIFETIME, bytes(4))]),
    request(Method.CHANNEL_BIND, attributes=[(Attribute.CHANNEL_NUMBER, b"\x40\x00\x00\x00")]),
    request(Method.CONNECTION_BIND, attributes=[(Attribute.CONNECTION_ID, bytes(4))]),
    encode(Message(Method.SEND, Class.INDICATION, bytes(12), [(Attribute.DATA, b"x")])),
    b"\x40\x00\x00\x04data",
]


@settings(deadline=None)
@given(st.lists(st.binary(max_size=120), max_size=10), st.sampled_from([UDP, TCP]))
def test_arbitrary_bytes_raise_nothing_and_allocate_nothing(datagrams, over):
    world = World()
    for data in datagrams:
        world.server.receive(FiveTuple(over, CLIENT, SERVER), data, world.now)
        world.state.take_actions()
    assert world.holds_nothing()


@settings(deadline=None)
@given(
    st.sampled_from(MESSAGES),
    st.lists(st.tuples(st.integers(0, 300), st.integers(0, 255)), max_size=6),
)
def test_mutated_messages_of_strangers_raise_nothing_and_allocate_nothing(message, changes):
    world = World()
    data = bytearray(message)
    for position, byte in changes:
        data[position % len(data)] = byte
    world.server.receive(STRANGER, bytes(data), world.now)
    world.state.take_actions()
    assert world.holds_nothing()


@settings(deadline=None, max_examples=200)
@given(
    st.sampled_from([*Method]),
    st.lists(
        st.tuples(
            st.sampled_from(
                [each for each in Attribute if each < 0x8000 and "INTEGRITY" not in each.name]
            ),
            st.binary(max_size=24),
        ),
        max_size=6,
    ),
)
def test_authenticated_nonsense_is_answered_and_raises_nothing(method, attributes):
    world = World()
    client = world.client(over=TCP)
    client.allocate()
    said = len(client.raw)
    client.ask(method, *attributes)
    if method in (Method.SEND, Method.DATA, Method.CONNECTION_ATTEMPT):
        return
    connecting = any(isinstance(action, actions.OpenConnection) for action in world.done)
    assert len(client.raw) > said or connecting
    if len(client.raw) > said:
        assert decode(client.raw[-1]).message_class in (Class.SUCCESS, Class.ERROR)


@settings(deadline=None)
@given(st.binary(max_size=100), st.sampled_from([UDP, TCP]))
def test_the_client_survives_any_server(data, over):
    client = World().client(over=over)
    client.turn.allocate(UDP, 0.0)
    client.turn.receive(data, 0.0)
