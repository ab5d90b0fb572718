"""RFC 6062: TCP allocations, in virtual time."""

import pytest

from napt_lab.servers.stun import attributes as value
from napt_lab.servers.stun.stun_message import Attribute, Method, decode
from napt_lab.servers.turn import actions
from napt_lab.servers.turn.client.turn_client import ConnectionAttempt
from tests.unit.servers.turn_world import PEER, RELAY, TCP, UDP, World

OTHER = ("198.51.100.8", 5000)


def peer(address):
    return Attribute.XOR_PEER_ADDRESS, value.encode_xor_address(address, bytes(12))


def allocated(**options):
    world = World(**options)
    client = world.client(over=TCP)
    assert isinstance(client.allocate(TCP), tuple)
    return world, client, world.state.allocations[client.five_tuple]


def of_kind(world, kind):
    return [action for action in world.done if isinstance(action, kind)]


def connect(world, client, peer=PEER):
    """Send a Connect; its handle, and the connection the server wants opened."""
    handle = client.turn.connect(peer, world.now)
    world.run()
    return handle, of_kind(world, actions.OpenConnection)[-1].connection


def connection_id(response):
    return value.decode_number(response.get(Attribute.CONNECTION_ID))


def bind(world, number, address=("24.9.3.7", 41000), **login):
    data = world.client(address, over=TCP, **login)
    error, _ = data.outcome(data.turn.bind_connection(number, world.now))
    return data, error


def test_connect_is_answered_when_the_peer_has_answered():
    world, client, _ = allocated()
    handle, connection = connect(world, client)
    assert client.outcome(handle) == (None, None)
    world.server.peer_opened(connection, world.now)
    error, response = client.outcome(handle)
    assert error == 0
    data, error = bind(world, connection_id(response))
    assert error == 0
    assert of_kind(world, actions.Join) == [actions.Join(data.five_tuple, connection)]


def test_a_peer_that_refuses_is_447():
    world, client, _ = allocated()
    handle, connection = connect(world, client)
    world.server.peer_failed(connection)
    assert client.outcome(handle)[0] == 447
    assert not world.state.connections


def test_a_peer_that_stays_silent_is_447_after_30_s():
    world, client, _ = allocated()
    handle, connection = connect(world, client)
    world.advance(29.9)
    assert client.outcome(handle) == (None, None)
    world.advance(0.1)
    assert client.outcome(handle)[0] == 447
    assert of_kind(world, actions.CloseConnection) == [actions.CloseConnection(connection)]
    # Its late success changes nothing.
    world.server.peer_opened(connection, world.now)
    assert not world.state.connections


def test_one_connection_a_peer():
    world, client, _ = allocated()
    handle, connection = connect(world, client)
    assert client.ask(Method.CONNECT, peer(PEER))[0] == 446
    world.server.peer_opened(connection, world.now)
    assert client.ask(Method.CONNECT, peer(PEER))[0] == 446
    number = connection_id(client.outcome(handle)[1])
    assert bind(world, number)[1] == 0
    assert client.ask(Method.CONNECT, peer(PEER))[0] == 446
    world.server.connection_ended(connection, 1, 2)
    assert connect(world, client)[1].peer == PEER


@pytest.mark.parametrize(
    ("attributes", "code"),
    [
        ([], 400),
        ([(Attribute.XOR_PEER_ADDRESS, b"")], 400),
        ([peer(("10.0.0.1", 80))], 403),
        ([peer((RELAY, 22))], 403),
    ],
)
def test_connects_refused(attributes, code):
    world, client, _ = allocated()
    assert client.ask(Method.CONNECT, *attributes)[0] == code
    assert not of_kind(world, actions.OpenConnection)


def test_methods_of_the_other_kind_of_allocation_are_refused():
    world, client, allocation = allocated()
    assert client.bind() == 400
    client.permit()
    client.send(b"datagram")
    assert world.at_peers == []
    assert allocation.transport == TCP
    datagrams = world.client(("24.9.3.7", 40009), over=TCP)
    datagrams.allocate(UDP)
    assert datagrams.ask(Method.CONNECT, peer(PEER))[0] == 437


def test_a_permitted_peer_that_connects_is_announced():
    world, client, allocation = allocated()
    assert world.server.peer_accepted(allocation, PEER, world.now) is None
    client.permit()
    assert world.server.peer_accepted(allocation, OTHER, world.now) is None
    connection = world.server.peer_accepted(allocation, PEER, world.now)
    world.run()
    assert client.events[-1] == ConnectionAttempt(connection.id, PEER)
    assert bind(world, connection.id)[1] == 0


def test_a_pending_connection_waits_30_s_for_its_bind():
    world, client, allocation = allocated()
    client.permit()
    connection = world.server.peer_accepted(allocation, PEER, world.now)
    world.advance(29.9)
    assert not of_kind(world, actions.CloseConnection)
    world.advance(0.1)
    assert of_kind(world, actions.CloseConnection) == [actions.CloseConnection(connection)]
    assert bind(world, connection.id)[1] == 400


def test_binds_refused():
    world, client, allocation = allocated()
    client.permit()
    number = world.server.peer_accepted(allocation, PEER, world.now).id
    bob = {"user": "bob", "password": "hunter2"}
    assert bind(world, number ^ 1, ("24.9.3.7", 1))[1] == 400  # no such connection
    assert bind(world, number, ("24.9.3.7", 2), **bob)[1] == 400  # another user's
    assert client.outcome(client.turn.bind_connection(number, world.now))[0] == 400
    by_udp = world.client(("24.9.3.7", 3), over=UDP)
    assert by_udp.outcome(by_udp.turn.bind_connection(number, world.now))[0] == 400
    assert bind(world, number, ("24.9.3.7", 4))[1] == 0
    assert bind(world, number, ("24.9.3.7", 5))[1] == 400  # already bound


def accept(world, allocation, *ports, host=PEER[0]):
    """Connections from the peer's ports, in this order."""
    return [world.server.peer_accepted(allocation, (host, port), world.now) for port in ports]


def closed(world):
    world.run()
    return [action.connection for action in of_kind(world, actions.CloseConnection)]


def test_peers_share_the_places_in_which_connections_wait():
    world, client, allocation = allocated()
    client.permit()
    client.permit(OTHER[0])
    (others,) = accept(world, allocation, 7, host=OTHER[0])
    greedy = accept(world, allocation, *range(1, 100))
    # The newest may wait, the peer's own oldest gave way, and the other peer kept its place.
    assert closed(world) == greedy[: len(greedy) - 31]
    assert len(allocation.waiting) == 32
    refused = world.events_of("connection-refused")
    assert [each["reason"] for each in refused] == ["too many connections"] * 68
    assert refused[0]["peer"] == f"{PEER[0]}:1"
    assert bind(world, others.id)[1] == 0
    # A newcomer gets a place, too; and the client can connect by itself.
    (newcomer,) = accept(world, allocation, 8, host=OTHER[0])
    assert bind(world, newcomer.id, ("24.9.3.7", 41001))[1] == 0
    assert connect(world, client, ("198.51.100.9", 5000))[1].peer[0] == "198.51.100.9"


def test_connections_in_use_are_bounded():
    world, client, allocation = allocated()
    client.permit()
    for port in range(1, 33):
        (connection,) = accept(world, allocation, port)
        assert bind(world, connection.id, ("24.9.3.7", 41000 + port))[1] == 0
    assert client.ask(Method.CONNECT, peer(OTHER))[0] == 508
    (waiting,) = accept(world, allocation, 100)
    assert bind(world, waiting.id, ("24.9.3.7", 42000))[1] == 508
    # Once one has ended, another can be bound.
    world.server.connection_ended(connection, 0, 0)
    assert bind(world, waiting.id, ("24.9.3.7", 42001))[1] == 0


def test_the_end_of_the_allocation_closes_its_connections_and_counts_their_bytes():
    world, client, allocation = allocated()
    client.permit()
    active = world.server.peer_accepted(allocation, PEER, world.now)
    bind(world, active.id)
    pending = world.server.peer_accepted(allocation, (PEER[0], 2), world.now)
    world.server.stream_closed(client.five_tuple, world.now)
    world.run()
    closed = {action.connection for action in of_kind(world, actions.CloseConnection)}
    assert closed == {active, pending}
    assert not world.events_of("ended")
    world.server.connection_ended(active, 1000, 2000)
    world.run()
    ended = world.events_of("ended")[0]
    assert (ended["bytes_to_peers"], ended["bytes_from_peers"]) == (1000, 2000)
    assert not world.state.connections


def test_the_response_to_a_bind_goes_out_before_the_stream_is_handed_over():
    world, client, allocation = allocated()
    client.permit()
    connection = world.server.peer_accepted(allocation, PEER, world.now)
    world.run()
    data = world.client(("24.9.3.7", 41000), over=TCP)
    data.turn.bind_connection(connection.id, world.now)
    for _ in range(2):
        world.server.receive(data.five_tuple, data.turn.take_output()[0], world.now)
        taken = world.state.take_actions()
        data.received(taken[0].data)
    assert [type(action) for action in taken] == [actions.SendToClient, actions.Join]
    assert decode(taken[0].data).method == Method.CONNECTION_BIND


def test_bandwidth_is_divided_among_connections():
    world, client, allocation = allocated(bandwidth=1_000_000)
    client.permit()
    for port in (1, 2):
        connection = world.server.peer_accepted(allocation, (PEER[0], port), world.now)
        bind(world, connection.id, ("24.9.3.7", 41000 + port))
    assert list(world.server.pacing().values()) == [500_000, 500_000]
