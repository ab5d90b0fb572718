"""RFC 8656, sections 9 to 12: permissions, indications, channels; in virtual time."""

import pytest

from napt_lab.servers.stun import attributes as value
from napt_lab.servers.stun.stun_message import Attribute, Class, Message, Method, decode, encode
from napt_lab.servers.turn.framing import RFC5766_CHANNELS, channel_data
from tests.unit.servers.turn_world import PEER, RELAY, TCP, UDP, World

SAME_HOST = (PEER[0], 6000)
OTHER = ("198.51.100.8", 5000)
BOTH = pytest.mark.parametrize("over", [UDP, TCP])


def allocated(over=UDP, **options):
    world = World(**options)
    client = world.client(over=over)
    return world, client, client.allocate()


def peer(address):
    return Attribute.XOR_PEER_ADDRESS, value.encode_xor_address(address, bytes(12))


def channel(number):
    return Attribute.CHANNEL_NUMBER, value.encode_channel(number)


@BOTH
def test_indications_carry_data_both_ways_with_a_permission(over):
    world, client, relayed = allocated(over)
    assert client.permit() == 0
    client.send(b"question")
    world.from_peer(relayed, b"answer")
    assert world.at_peers == [(relayed, PEER, b"question")]
    assert client.data() == [b"answer"]
    assert decode(client.raw[-1]).method == Method.DATA


def test_nothing_passes_without_a_permission():
    world, client, relayed = allocated()
    client.send(b"question")
    world.from_peer(relayed, b"answer")
    assert (world.at_peers, client.data()) == ([], [])
    client.permit()
    client.send(b"question")
    world.from_peer(relayed, b"answer")
    assert (len(world.at_peers), len(client.data())) == (1, 1)


def test_a_permission_is_for_an_address_whatever_the_port():
    world, client, relayed = allocated()
    client.permit()
    world.from_peer(relayed, b"another port", SAME_HOST)
    world.from_peer(relayed, b"another address", OTHER)
    assert client.data() == [b"another port"]


def test_a_permission_lasts_300_s_and_traffic_does_not_prolong_it():
    world, client, relayed = allocated()
    client.permit()
    for _ in range(5):
        world.advance(59.9, clients=False)
        world.from_peer(relayed, b"in time")
    world.advance(0.6, clients=False)
    world.from_peer(relayed, b"too late")
    assert client.data() == [b"in time"] * 5


def test_permissions_of_one_request_are_installed_all_or_none():
    world, client, _ = allocated()
    error, _ = client.ask(Method.CREATE_PERMISSION, peer(PEER), peer(("127.0.0.1", 1)))
    assert error == 403
    assert not world.events_of("permission")
    assert client.ask(Method.CREATE_PERMISSION, peer(PEER), peer(OTHER))[0] == 0
    assert [fields["peer"] for fields in world.events_of("permission")] == [PEER[0], OTHER[0]]


@pytest.mark.parametrize(
    ("attributes", "code"),
    [
        ([], 400),
        ([(Attribute.XOR_PEER_ADDRESS, b"short")], 400),
        ([peer(("2001:db8::1", 1))], 443),
    ],
)
def test_permissions_refused(attributes, code):
    _, client, _ = allocated()
    assert client.ask(Method.CREATE_PERMISSION, *attributes)[0] == code


def test_permissions_are_bounded():
    _, client, _ = allocated()
    many = [peer((f"198.51.{100 + i // 250}.{i % 250 + 1}", 1)) for i in range(257)]
    for part in (many[:50], many[50:100], many[100:150], many[150:200], many[200:250]):
        assert client.ask(Method.CREATE_PERMISSION, *part)[0] == 0
    assert client.ask(Method.CREATE_PERMISSION, *many[250:])[0] == 508
    assert client.ask(Method.CREATE_PERMISSION, *many[:50])[0] == 0


@BOTH
def test_channels_carry_data_both_ways_padded_over_tcp_only(over):
    world, client, relayed = allocated(over)
    assert client.bind() == 0
    client.send(b"12345")
    world.from_peer(relayed, b"54321")
    assert world.at_peers == [(relayed, PEER, b"12345")]
    assert client.raw[-1] == channel_data(0x4000, b"54321", pad=over == TCP)
    assert client.data() == [b"54321"]


def test_without_a_channel_the_same_peer_host_gets_indications():
    world, client, relayed = allocated()
    client.bind()
    world.from_peer(relayed, b"x", SAME_HOST)
    assert decode(client.raw[-1]).method == Method.DATA


@pytest.mark.parametrize(
    "attributes",
    [
        [channel(0x3FFF), peer(PEER)],
        [channel(0x5000), peer(PEER)],
        [channel(0x4000)],
        [peer(PEER)],
        [channel(0x4000), (Attribute.XOR_PEER_ADDRESS, b"")],
        [(Attribute.CHANNEL_NUMBER, b"\x40"), peer(PEER)],
    ],
)
def test_channel_bindings_refused(attributes):
    _, client, _ = allocated()
    assert client.ask(Method.CHANNEL_BIND, *attributes)[0] == 400
    assert client.ask(Method.CHANNEL_BIND, channel(0x4FFF), peer(PEER))[0] == 0


def test_the_channels_of_older_clients_are_refused_with_a_reason_or_allowed():
    world, client, _ = allocated()
    assert client.ask(Method.CHANNEL_BIND, channel(0x5000), peer(PEER))[0] == 400
    assert world.events_of("refused") == [
        {
            "client": "24.9.3.7:40001",
            "reason": "400 Bad Request: channel 0x5000 is not in 0x4000-0x4FFF (RFC 8656, "
            "section 12); with --channels rfc5766 it is allowed",
            "user": "alice",
            "request": "channel-bind",
        }
    ]
    world, client, relayed = allocated(channels=RFC5766_CHANNELS)
    assert client.ask(Method.CHANNEL_BIND, channel(0x7FFF), peer(PEER))[0] == 0
    world.from_peer(relayed, b"answer")
    assert client.raw[-1] == channel_data(0x7FFF, b"answer", pad=False)
    assert client.ask(Method.CHANNEL_BIND, channel(0x8000), peer(OTHER))[0] == 400
    assert "0x8000 is not in 0x4000-0x7FFF" in world.events_of("refused")[0]["reason"]


def test_a_channel_is_one_to_one():
    _, client, _ = allocated()
    assert client.ask(Method.CHANNEL_BIND, channel(0x4000), peer(PEER))[0] == 0
    assert client.ask(Method.CHANNEL_BIND, channel(0x4000), peer(OTHER))[0] == 400
    assert client.ask(Method.CHANNEL_BIND, channel(0x4001), peer(PEER))[0] == 400
    assert client.ask(Method.CHANNEL_BIND, channel(0x4001), peer(OTHER))[0] == 0
    assert client.ask(Method.CHANNEL_BIND, channel(0x4000), peer(PEER))[0] == 0


def test_a_channel_lasts_600_s_and_its_permission_300_s():
    world, client, relayed = allocated()
    client.ask(Method.REFRESH, (Attribute.LIFETIME, value.encode_number(3600)))
    client.bind()
    world.advance(301, clients=False)
    world.from_peer(relayed, b"no permission any more")
    client.send(b"nor the other way")
    assert (client.data(), world.at_peers) == ([], [])
    client.permit()
    world.from_peer(relayed, b"the channel is still there")
    assert client.raw[-1] == channel_data(0x4000, b"the channel is still there", pad=False)
    world.advance(299, clients=False)
    client.permit()
    world.from_peer(relayed, b"now it is gone")
    assert decode(client.raw[-1]).method == Method.DATA


def test_the_client_keeps_everything_alive_for_hours():
    world, client, relayed = allocated()
    client.bind()
    client.permit(OTHER[0])
    world.advance(20_000)
    world.from_peer(relayed, b"channel")
    world.from_peer(relayed, b"permission", OTHER)
    assert client.data() == [b"channel", b"permission"]
    assert len(client.turn._expirations) == 3


@pytest.mark.parametrize(
    "message",
    [
        channel_data(0x4001, b"not bound", pad=False),
        channel_data(0x4000, b"cut off", pad=False)[:-1],
        b"\x40\x00\x00",
        b"\x40",
        b"",
    ],
)
def test_bad_channel_data_is_dropped(message):
    world, client, _ = allocated()
    client.bind()
    world.server.receive(client.five_tuple, message, world.now)
    world.perform()
    assert world.at_peers == []


@pytest.mark.parametrize(
    "attributes",
    [
        [peer(PEER)],
        [(Attribute.DATA, b"x")],
        [peer(PEER), (Attribute.DATA, b"x"), (Attribute.DONT_FRAGMENT, b"")],
        [peer(PEER), (Attribute.DATA, b"x"), (0x7ABC, b"")],
        [peer(OTHER), (Attribute.DATA, b"x")],
    ],
)
def test_bad_send_indications_are_dropped_silently(attributes):
    world, client, _ = allocated()
    client.permit()
    said = len(client.raw)
    for each in (attributes, [peer(PEER), (Attribute.DATA, b"good")]):
        indication = Message(Method.SEND, Class.INDICATION, bytes(12), each)
        world.server.receive(client.five_tuple, encode(indication), world.now)
        world.perform()
    assert [data for *_, data in world.at_peers] == [b"good"]
    assert len(client.raw) == said


def test_the_end_tells_what_was_relayed():
    world, client, relayed = allocated()
    client.bind()
    client.send(b"12345")
    world.from_peer(relayed, b"123")
    world.from_peer(relayed, b"123")
    client.ask(Method.REFRESH, (Attribute.LIFETIME, value.encode_number(0)))
    ended = world.events_of("ended")[0]
    assert (ended["bytes_to_peers"], ended["packets_to_peers"]) == (5, 1)
    assert (ended["bytes_from_peers"], ended["packets_from_peers"]) == (6, 2)
    assert ended["relayed"] == f"{RELAY}:{relayed[1]}"


def test_bandwidth_is_bounded_and_comes_back():
    world, client, relayed = allocated(bandwidth=100_000)
    client.bind()
    for _ in range(200):
        client.send(bytes(1000))
    assert len(world.at_peers) == 100
    world.from_peer(relayed, bytes(1000))
    assert client.data() == []
    world.advance(0.5)
    for _ in range(200):
        client.send(bytes(1000))
    assert 145 <= len(world.at_peers) <= 151


def test_two_clients_of_the_server_meet_at_their_relayed_addresses():
    world, client, relayed = allocated()
    friend = world.client(("198.51.100.50", 4000), user="bob", password="hunter2")
    theirs = friend.allocate()
    assert client.bind(theirs) == 0
    assert friend.permit(RELAY) == 0
    client.send(b"hello", theirs)
    assert world.at_peers == [(relayed, theirs, b"hello")]
