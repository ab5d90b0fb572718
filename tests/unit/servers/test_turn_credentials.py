"""RFC 8489, section 9.2.4, check by check; and the nonce."""

import base64
import hashlib
import random

import pytest

from napt_lab.servers.stun import attributes as value
from napt_lab.servers.stun.stun_message import Attribute, Class, Message, Method, decode, encode
from napt_lab.servers.turn.client.turn_client import Login, TurnClient
from napt_lab.servers.turn.credentials import (
    MD5,
    NONCE_COOKIE,
    PASSWORD_ALGORITHMS,
    SHA256,
    long_term_key,
)
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
    assert not world.state.allocations


# The same name and password, typed in two ways: é as one code point or two, other spaces.
COMPOSED, DECOMPOSED = (
    ("Am\u00e9lie", "h\u00e9 h\u00e9"),
    ("Ame\u0301lie", "he\u0301\u3000he\u0301"),
)
BOTH_WAYS = pytest.mark.parametrize(
    ("configured", "typed"), [(COMPOSED, DECOMPOSED), (DECOMPOSED, COMPOSED)]
)


@BOTH_WAYS
def test_text_that_is_the_same_to_people_lets_them_in(configured, typed):
    """OpaqueString (RFC 8265, section 4.2), by USERHASH and SHA-256."""
    world = World(users=[configured], realm="re\u0301al\u3000m")
    client = world.client(user=typed[0], password=typed[1])
    assert isinstance(client.allocate(), tuple)
    assert world.events_of("allocated")[0]["user"] == COMPOSED[0]


@BOTH_WAYS
def test_so_it_does_when_the_name_travels_as_it_was_typed(configured, typed):
    """By USERNAME and MD5, from a client that prepares nothing but its key."""
    world = World(users=[configured])
    client, challenge = challenged(world)
    sha1 = (Attribute.MESSAGE_INTEGRITY, long_term_key(MD5, COMPOSED[0], "napt.lab", COMPOSED[1]))
    assert ask(world, client, credentials(challenge, typed[0].encode()), sha1)[0] == 0


@BOTH_WAYS
@pytest.mark.parametrize("algorithm", [MD5, SHA256])
def test_a_client_that_hashes_the_name_as_it_sends_it_is_let_in(configured, typed, algorithm):
    """RFC 8489, section 18.5.1: key = MD5(username ":" OpaqueString(realm) ":" …)."""
    world = World(users=[configured])
    client, challenge = challenged(world)
    text = f"{typed[0]}:napt.lab:{COMPOSED[1]}".encode()
    kind, hashed = (
        (Attribute.MESSAGE_INTEGRITY, hashlib.md5(text))
        if algorithm == MD5
        else (Attribute.MESSAGE_INTEGRITY_SHA256, hashlib.sha256(text))
    )
    chosen = [
        (Attribute.PASSWORD_ALGORITHM, PASSWORD_ALGORITHMS[:4]),
        (Attribute.PASSWORD_ALGORITHMS, PASSWORD_ALGORITHMS),
    ]
    attributes = credentials(challenge, typed[0].encode())
    attributes += chosen if algorithm == SHA256 else []
    integrity = (kind, hashed.digest())
    error, answer = ask(world, client, attributes, integrity)
    assert error == 0
    assert answer.verify(*integrity)


@pytest.mark.parametrize("name", ["mallory", DECOMPOSED[0], "\u0378"])
@pytest.mark.parametrize("password", ["", "wrong"])
def test_no_name_lets_in_without_its_password(name, password):
    world = World(users=[COMPOSED])
    client, challenge = challenged(world)
    key_ = hashlib.md5(f"{name}:napt.lab:{password}".encode()).digest()
    attributes = credentials(challenge, name.encode())
    assert ask(world, client, attributes, (Attribute.MESSAGE_INTEGRITY, key_))[0] == 401


@pytest.mark.parametrize("name", [b"al\xffice", b"al\x00ice", b"", "a\u0378".encode()])
def test_a_name_that_is_not_valid_is_an_unknown_user(name):
    world = World()
    client, challenge = challenged(world)
    assert (
        ask(world, client, credentials(challenge, name), (Attribute.MESSAGE_INTEGRITY, key()))[0]
        == 401
    )
    assert world.events_of("refused")[0]["reason"].startswith("401 ")


@pytest.mark.parametrize("text", ["", "a\x07", "a\u0378", "a\u200d", "\ud800"])
def test_text_that_is_not_valid_is_refused_before_the_server_starts(text):
    for realm, user, password in (
        (text, "alice", "secret"),
        ("napt.lab", text, "secret"),
        ("napt.lab", "alice", text),
    ):
        with pytest.raises(ValueError, match=r"is not valid \(RFC 8265\)"):
            World(realm=realm, users=[(user, password)])


def test_wrong_passwords_are_logged_once_the_address_is_proved():
    world = World()
    client, challenge = challenged(world)
    wrong = (Attribute.MESSAGE_INTEGRITY, key("wrong"))
    attributes = credentials(challenge)
    assert ask(world, client, attributes, wrong)[0] == 401
    assert world.events_of("refused") == [
        {
            "client": "24.9.3.7:40001",
            "reason": "401 Unauthenticated: no user 'alice', or a wrong password",
            "user": "",
            "request": "allocate",
        }
    ]
    # A forged source has no nonce of its own, and cannot fill the log.
    elsewhere = world.client(("198.51.100.99", 40001))
    assert ask(world, elsewhere, attributes, wrong)[0] == 401
    assert len(world.events_of("refused")) == 1


def test_the_client_does_not_follow_a_realm_that_is_not_valid():
    login = Login("alice", "secret")
    _, challenge = challenged(World())
    spoiled = [
        (kind, b"\x00" if kind == Attribute.REALM else value)
        for kind, value in challenge.attributes
    ]
    assert not login.learn(Message(Method.ALLOCATE, Class.ERROR, bytes(12), spoiled))
    assert login.learn(challenge)


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
    assert len(world.state.allocations) == 1


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
    turn = TurnClient(Login("alice", "secret"), UDP, random.Random(1).randbytes)
    _, challenge = challenged(World())
    turn.login.learn(challenge)
    turn.request(Method.REFRESH, [], 0.0)
    request = decode(turn.take_output()[0])
    forged = Message(
        Method.REFRESH,
        Class.SUCCESS,
        request.transaction_id,
        [(Attribute.LIFETIME, value.encode_number(600))],
    )
    turn.receive(encode(forged), 0.0)
    assert turn.take_events() == []


def test_a_request_over_udp_is_repeated_with_doubling_intervals():
    turn = TurnClient(Login("alice", "secret"), UDP, random.Random(1).randbytes)
    turn.request(Method.BINDING, [], 0.0)
    assert turn.take_output()
    sent = [0.0]
    while (deadline := turn.next_deadline()) is not None:
        turn.expire(deadline)
        if turn.take_output():
            sent.append(deadline)
    assert sent == [0.0, 0.5, 1.5, 3.5, 7.5, 15.5, 31.5]
    assert [event.error for event in turn.take_events()] == [408]


def test_over_tcp_it_is_sent_once():
    turn = TurnClient(Login("alice", "secret"), TCP, random.Random(1).randbytes)
    turn.request(Method.BINDING, [], 0.0)
    assert len(turn.take_output()) == 1
    turn.expire(turn.next_deadline())
    assert turn.take_output() == []
    assert [event.error for event in turn.take_events()] == [408]
