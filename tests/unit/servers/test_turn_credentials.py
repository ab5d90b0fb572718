"""RFC 8489, section 9.2.4, check by check; and the nonce."""

import base64
import random

import pytest

from napt_lab.servers.turn import attributes as value
from napt_lab.servers.turn.client.session import Login, Session
from napt_lab.servers.turn.credentials import MD5, NONCE_COOKIE, PASSWORD_ALGORITHMS, long_term_key
from napt_lab.servers.turn.stun import Attribute, Class, Message, Method, decode, encode
from tests.unit.servers.turn_world import CLIENT, TCP, UDP, World

REQUESTED = (Attribute.REQUESTED_TRANSPORT, value.encode_byte(UDP))


def challenged(world, address=CLIENT, over=UDP):
    """A client that has the server's realm and nonce, and its challenge."""
    client = world.client(address, over)
    world.server.receive(
        client.five_tuple,
        encode(Message(Method.ALLOCATE, Class.REQUEST, bytes(12), [REQUESTED])),
        world.now,
    )
    world.perform()
    return client, decode(client.raw[-1])


def ask(world, client, attributes, integrity=None):
    message = Message(Method.ALLOCATE, Class.REQUEST, bytes(11) + b"2", attributes)
    world.server.receive(client.five_tuple, encode(message, integrity=integrity), world.now)
    world.perform()
    answer = decode(client.raw[-1])
    error = answer.get(Attribute.ERROR_CODE)
    return (value.decode_error(error) if error else 0), answer


def credentials(challenge, username=b"alice"):
    return [
        REQUESTED,
        (Attribute.USERNAME, username),
        (Attribute.REALM, challenge.get(Attribute.REALM)),
        (Attribute.NONCE, challenge.get(Attribute.NONCE)),
    ]


def key(password="secret", algorithm=MD5):
    return long_term_key(algorithm, "alice", "napt.lab", password)


def test_no_integrity_is_challenged_with_realm_nonce_and_algorithms():
    _, challenge = challenged(World())
    assert value.decode_error(challenge.get(Attribute.ERROR_CODE)) == 401
    assert challenge.get(Attribute.REALM) == b"napt.lab"
    assert challenge.get(Attribute.PASSWORD_ALGORITHMS) == PASSWORD_ALGORITHMS
    assert Attribute.MESSAGE_INTEGRITY not in challenge
    # RFC 8489, section 18.1: the first two of 24 bits, in base64.
    assert challenge.get(Attribute.NONCE).startswith(b"obMatJos2wAAA")


def test_plain_md5_and_sha1_as_older_clients_do_it():
    world = World()
    client, challenge = challenged(world)
    sha1 = (Attribute.MESSAGE_INTEGRITY, key())
    error, answer = ask(world, client, credentials(challenge), sha1)
    assert error == 0
    assert answer.verify(*sha1)
    assert Attribute.MESSAGE_INTEGRITY_SHA256 not in answer


def test_this_projects_client_agrees_on_sha256_and_userhash():
    world = World()
    client = world.client()
    assert client.allocate()
    assert Attribute.MESSAGE_INTEGRITY_SHA256 in decode(client.raw[-1])


@pytest.mark.parametrize("missing", [Attribute.USERNAME, Attribute.REALM, Attribute.NONCE])
def test_integrity_without_the_rest_is_a_bad_request(missing):
    world = World()
    client, challenge = challenged(world)
    attributes = [pair for pair in credentials(challenge) if pair[0] != missing]
    assert ask(world, client, attributes, (Attribute.MESSAGE_INTEGRITY, key()))[0] == 400


@pytest.mark.parametrize(
    "algorithms",
    [
        [(Attribute.PASSWORD_ALGORITHM, PASSWORD_ALGORITHMS[:4])],
        [(Attribute.PASSWORD_ALGORITHMS, PASSWORD_ALGORITHMS)],
        [
            (Attribute.PASSWORD_ALGORITHM, PASSWORD_ALGORITHMS[4:]),
            (Attribute.PASSWORD_ALGORITHMS, PASSWORD_ALGORITHMS[4:]),
        ],
        [
            (Attribute.PASSWORD_ALGORITHM, b"\x00\x09\x00\x00"),
            (Attribute.PASSWORD_ALGORITHMS, PASSWORD_ALGORITHMS),
        ],
    ],
    ids=["no list", "no choice", "list bid down", "choice not offered"],
)
def test_password_algorithms_must_be_as_offered(algorithms):
    world = World()
    client, challenge = challenged(world)
    attributes = credentials(challenge) + algorithms
    assert ask(world, client, attributes, (Attribute.MESSAGE_INTEGRITY, key()))[0] == 400


@pytest.mark.parametrize(("username", "password"), [(b"alice", "wrong"), (b"mallory", "secret")])
def test_wrong_password_and_unknown_user_look_the_same(username, password):
    world = World()
    client, challenge = challenged(world)
    sha1 = (Attribute.MESSAGE_INTEGRITY, key(password))
    error, answer = ask(world, client, credentials(challenge, username), sha1)
    assert error == 401
    assert {Attribute.REALM, Attribute.NONCE} <= {kind for kind, _ in answer.attributes}
    assert not world.server.allocations


@pytest.mark.parametrize("guess", [b"", bytes(16)])
def test_an_unknown_user_has_no_key_that_could_be_guessed(guess):
    world = World()
    client, challenge = challenged(world)
    integrity = (Attribute.MESSAGE_INTEGRITY, guess)
    assert ask(world, client, credentials(challenge, b"mallory"), integrity)[0] == 401


def stale(nonce):
    """A nonce of the right form that is not ours."""
    prefix, token = nonce[:13], bytearray(base64.b64decode(nonce[13:]))
    token[-1] ^= 1
    return prefix + base64.b64encode(token)


def test_forged_nonce_is_stale():
    world = World()
    client, challenge = challenged(world)
    attributes = credentials(challenge)
    attributes[-1] = (Attribute.NONCE, stale(challenge.get(Attribute.NONCE)))
    assert ask(world, client, attributes, (Attribute.MESSAGE_INTEGRITY, key()))[0] == 438


@pytest.mark.parametrize("nonce", [b"", b"x", NONCE_COOKIE.encode(), b"\xff" * 40, b"=" * 37])
def test_nonsense_for_a_nonce_is_stale(nonce):
    world = World()
    client, challenge = challenged(world)
    attributes = credentials(challenge)
    attributes[-1] = (Attribute.NONCE, nonce)
    assert ask(world, client, attributes, (Attribute.MESSAGE_INTEGRITY, key()))[0] == 438


def test_a_nonce_is_good_for_an_hour_and_no_longer():
    world = World()
    client, challenge = challenged(world)
    sha1 = (Attribute.MESSAGE_INTEGRITY, key())
    world.now += 3599
    assert ask(world, client, credentials(challenge), sha1)[0] == 0
    client, challenge = challenged(world)
    world.now += 3601
    error, answer = ask(world, client, credentials(challenge), sha1)
    assert error == 438
    assert ask(world, client, credentials(answer), sha1)[0] in (0, 437)


def test_a_nonce_is_of_no_use_at_another_address():
    world = World()
    _, challenge = challenged(world)
    elsewhere = world.client(("198.51.100.99", 40001))
    sha1 = (Attribute.MESSAGE_INTEGRITY, key())
    assert ask(world, elsewhere, credentials(challenge), sha1)[0] == 438


def test_two_challenges_never_carry_the_same_nonce():
    world = World()
    # Over TCP every request is answered, these two for the same address in the same second.
    first, second = (challenged(world, (CLIENT[0], port), TCP)[1] for port in (1, 2))
    assert first.get(Attribute.NONCE) != second.get(Attribute.NONCE)


def test_the_client_follows_a_stale_nonce_by_itself():
    world = World()
    client = world.client()
    assert client.allocate()
    world.advance(3700)
    assert client.permit() == 0
    assert len(world.server.allocations) == 1


def test_the_client_gives_up_on_a_wrong_password_after_one_try():
    world = World()
    client = world.client(password="wrong")
    assert client.allocate() == 401
    assert len(client.raw) == 2


def test_the_client_gives_up_on_a_server_that_finds_every_nonce_stale():
    world = World()
    world.server._credentials._nonce_lifetime = 0
    client = world.client()
    assert client.allocate() == 438
    assert len(client.raw) == 4


def test_the_client_does_not_follow_a_challenge_without_the_promised_algorithms():
    """Bid-down protection (RFC 8489, section 9.2.5)."""
    login = Login("alice", "secret")
    _, challenge = challenged(World())
    stripped = [p for p in challenge.attributes if p[0] != Attribute.PASSWORD_ALGORITHMS]
    assert login.learn(challenge)
    assert not login.learn(Message(Method.ALLOCATE, Class.ERROR, bytes(12), stripped))


def test_the_client_ignores_a_success_that_is_not_signed():
    session = Session(Login("alice", "secret"), UDP, random.Random(1).randbytes)
    _, challenge = challenged(World())
    session.login.learn(challenge)
    session.request(Method.REFRESH, [], 0.0)
    request = decode(session.take_output()[0])
    forged = Message(
        Method.REFRESH,
        Class.SUCCESS,
        request.transaction_id,
        [(Attribute.LIFETIME, value.encode_number(600))],
    )
    session.receive(encode(forged), 0.0)
    assert session.take_events() == []


def test_a_request_over_udp_is_repeated_with_doubling_intervals():
    session = Session(Login("alice", "secret"), UDP, random.Random(1).randbytes)
    session.request(Method.BINDING, [], 0.0)
    assert session.take_output()
    sent = [0.0]
    while (deadline := session.next_deadline()) is not None:
        session.expire(deadline)
        if session.take_output():
            sent.append(deadline)
    assert sent == [0.0, 0.5, 1.5, 3.5, 7.5, 15.5, 31.5]
    assert [event.error for event in session.take_events()] == [408]


def test_over_tcp_it_is_sent_once():
    session = Session(Login("alice", "secret"), TCP, random.Random(1).randbytes)
    session.request(Method.BINDING, [], 0.0)
    assert len(session.take_output()) == 1
    session.expire(session.next_deadline())
    assert session.take_output() == []
    assert [event.error for event in session.take_events()] == [408]
