"""What a TURN client sends to its server, without I/O (RFC 8656, sections 7 to 12).

Theory of operation. A request over UDP is repeated after 0.5 s, 1 s, 2 s … until it is
answered (RFC 8489, section 6.2.1). The first one is sent without credentials; the server's
401 brings realm and nonce, and the request goes out again with them. A 438 brings a new
nonce. A response whose integrity is not right is ignored.

The allocation, each permission (300 s) and each channel (600 s) expire in the server, so they
are renewed well before. Every call takes `now`, in seconds; `take_output()` and `take_events()`
return what is to be sent and what has happened.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeAlias

from napt_lab.servers.stun import attributes as value
from napt_lab.servers.stun.attributes import Address, Transport
from napt_lab.servers.stun.stun_message import (
    Attribute,
    Attributes,
    Class,
    Malformed,
    Message,
    Method,
    decode,
    encode,
)
from napt_lab.servers.turn.credentials import (
    MD5,
    NONCE_COOKIE,
    SHA256,
    Integrity,
    long_term_key,
    userhash,
)
from napt_lab.servers.turn.expirations import Expirations
from napt_lab.servers.turn.framing import (
    CHANNEL_HEADER,
    CHANNEL_HEADER_LENGTH,
    CHANNELS,
    channel_data,
)
from napt_lab.servers.turn.opaque_string import opaque_string

RETRANSMIT_AFTER = 0.5  # seconds, doubled each time (RTO)
MAX_SENT = 7  # times one request is sent (Rc)
LAST_WAIT = 8.0  # seconds for the last one (Rm × RTO)
RELIABLE_TIMEOUT = 39.5  # seconds over TCP (Ti)
PERMISSION_RENEWAL = 240.0  # seconds
CHANNEL_RENEWAL = 240.0  # seconds; it renews the peer's permission too
MAX_CHALLENGES = 3  # of one request
TIMED_OUT = 408
"""Not an error code of STUN: no answer came."""


@dataclass(frozen=True, slots=True)
class Finished:
    """A request was answered: the response, and its error code or 0."""

    handle: int
    response: Message | None
    error: int


@dataclass(frozen=True, slots=True)
class Data:
    """A peer sent this through the relay."""

    peer: Address
    data: bytes


@dataclass(frozen=True, slots=True)
class ConnectionAttempt:
    """A peer connected to the relayed transport address (RFC 6062)."""

    connection_id: int
    peer: Address


Event: TypeAlias = Finished | Data | ConnectionAttempt


@dataclass(slots=True, eq=False)
class _Transaction:
    handle: int
    """0: a renewal, whose result is not reported."""
    method: Method
    attributes: Attributes
    transaction_id: bytes = b""
    packet: bytes = b""
    sent: int = 0
    challenges: int = 0
    wait: float = RETRANSMIT_AFTER
    integrity: Integrity | None = None


@dataclass(slots=True, eq=False)
class _Renewal:
    method: Method
    attributes: Attributes
    interval: float


@dataclass(slots=True)
class Login:
    """A username and password, and how the server wants them used (its last challenge)."""

    username: str
    password: str
    realm: str = ""
    nonce: bytes = b""
    algorithms: bytes | None = None
    _keys: dict[int, bytes] = field(default_factory=dict)

    def learn(self, challenge: Message) -> bool:
        """Take realm and nonce from a 401 or 438. False: it cannot be followed."""
        nonce = challenge.get(Attribute.NONCE)
        realm = challenge.get(Attribute.REALM)
        algorithms = challenge.get(Attribute.PASSWORD_ALGORITHMS)
        if nonce is None or realm is None:
            return False
        # Something on the path removed the algorithms (RFC 8489, section 9.2.5).
        if algorithms is None and self._features(nonce) & 0b10:
            return False
        try:
            self.realm = opaque_string(realm.decode())
        except ValueError:
            return False
        self.nonce, self.algorithms = nonce, algorithms
        self._keys.clear()
        return True

    def sign(self, attributes: Attributes) -> tuple[Attributes, Integrity | None]:
        """Add credentials to a request, if the server has asked for them yet."""
        if not self.nonce:
            return attributes, None
        if self._features(self.nonce) & 0b01:
            name = (Attribute.USERHASH, userhash(self.username, self.realm))
        else:
            name = (Attribute.USERNAME, opaque_string(self.username).encode())
        signed = [
            *attributes,
            name,
            (Attribute.REALM, self.realm.encode()),
            (Attribute.NONCE, self.nonce),
        ]
        if self.algorithms is None:
            return signed, (Attribute.MESSAGE_INTEGRITY, self._key(MD5))
        entries = [self.algorithms[i : i + 4] for i in range(0, len(self.algorithms), 4)]
        known = (entry for entry in entries if int.from_bytes(entry[:2]) in (MD5, SHA256))
        chosen = next(known, b"\x00\x01\x00\x00")
        signed += [
            (Attribute.PASSWORD_ALGORITHMS, self.algorithms),
            (Attribute.PASSWORD_ALGORITHM, chosen),
        ]
        key = self._key(int.from_bytes(chosen[:2]))
        return signed, (Attribute.MESSAGE_INTEGRITY_SHA256, key)

    def _key(self, algorithm: int) -> bytes:
        if algorithm not in self._keys:
            self._keys[algorithm] = long_term_key(
                algorithm, self.username, self.realm, self.password
            )
        return self._keys[algorithm]

    def _features(self, nonce: bytes) -> int:
        """The first two security features: password algorithms, username anonymity."""
        cookie = NONCE_COOKIE.encode()
        if not nonce.startswith(cookie) or len(nonce) < len(cookie) + 4:
            return 0
        # The two features are the first bits of base64's first character.
        alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
        return max(0, alphabet.find(nonce[len(cookie)])) >> 4


class TurnClient:
    """One 5-tuple's conversation with a TURN server."""

    def __init__(
        self, login: Login, transport: Transport, random_bytes: Callable[[int], bytes]
    ) -> None:
        """`transport`: how the server is reached."""
        self.login = login
        self._transport = transport
        self._random_bytes = random_bytes
        self._handles = 0
        self._transactions: dict[bytes, _Transaction] = {}
        self._expirations: Expirations[_Transaction | _Renewal] = Expirations()
        self._channels: dict[Address, int] = {}
        self._peers: dict[int, Address] = {}
        self._binding: dict[int, tuple[Address, int]] = {}
        self._output: list[bytes] = []
        self._events: list[Event] = []

    def request(self, method: Method, attributes: Attributes, now: float) -> int:
        """Send a request; a `Finished` with the returned handle tells how it ended."""
        self._handles += 1
        self._start(_Transaction(self._handles, method, attributes), now)
        return self._handles

    def allocate(self, relayed: Transport, now: float, extra: Attributes | None = None) -> int:
        requested = (Attribute.REQUESTED_TRANSPORT, value.encode_byte(relayed))
        return self.request(Method.ALLOCATE, [requested, *(extra or [])], now)

    def refresh(self, lifetime: int, now: float) -> int:
        """Ask for `lifetime` seconds more; 0 deletes the allocation."""
        return self.request(
            Method.REFRESH, [(Attribute.LIFETIME, value.encode_number(lifetime))], now
        )

    def permit(self, address: str, now: float) -> int:
        """Let this IP address send to us. It is renewed for as long as this object is used."""
        return self.request(Method.CREATE_PERMISSION, [self._peer((address, 0))], now)

    def bind_channel(self, peer: Address, now: float) -> int:
        """Bind the next free channel to this peer."""
        number = self._channels.get(peer, CHANNELS[len(self._channels)])
        attributes = [(Attribute.CHANNEL_NUMBER, value.encode_channel(number)), self._peer(peer)]
        handle = self.request(Method.CHANNEL_BIND, attributes, now)
        self._binding[handle] = peer, number
        return handle

    def connect(self, peer: Address, now: float) -> int:
        """Have the server connect to the peer (RFC 6062)."""
        return self.request(Method.CONNECT, [self._peer(peer)], now)

    def bind_connection(self, connection_id: int, now: float) -> int:
        """On a new connection: make it the data connection of a connection to a peer."""
        number = (Attribute.CONNECTION_ID, value.encode_number(connection_id))
        return self.request(Method.CONNECTION_BIND, [number], now)

    def send(self, peer: Address, data: bytes) -> None:
        """Send to a peer: over its channel if it has one, else by a Send indication."""
        number = self._channels.get(peer)
        if number is not None:
            self._output.append(channel_data(number, data, pad=self._transport == Transport.TCP))
            return
        transaction_id = self._random_bytes(12)
        attributes: Attributes = [
            (Attribute.XOR_PEER_ADDRESS, value.encode_xor_address(peer, transaction_id)),
            (Attribute.DATA, data),
        ]
        indication = Message(Method.SEND, Class.INDICATION, transaction_id, attributes)
        self._output.append(encode(indication))

    def receive(self, data: bytes, now: float) -> None:
        """One datagram, or one message of the stream, from the server."""
        if len(data) >= CHANNEL_HEADER_LENGTH and data[0] >> 6 == 0b01:
            number, length = CHANNEL_HEADER.unpack_from(data)
            end = CHANNEL_HEADER_LENGTH + length
            if number in self._peers and end <= len(data):
                self._events.append(Data(self._peers[number], data[CHANNEL_HEADER_LENGTH:end]))
            return
        try:
            message = decode(data)
            if message.message_class == Class.INDICATION:
                self._receive_indication(message)
            elif message.message_class in (Class.SUCCESS, Class.ERROR):
                self._receive_response(message, now)
        except (Malformed, ValueError):
            return

    def next_deadline(self) -> float | None:
        return self._expirations.next()

    def expire(self, now: float) -> None:
        """Repeat what was not answered, and renew what would end."""
        for due in self._expirations.due(now):
            if isinstance(due, _Renewal):
                self._start(_Transaction(0, due.method, due.attributes), now)
                self._expirations.set(due, now + due.interval)
            elif due.sent >= MAX_SENT or self._transport == Transport.TCP:
                self._finish(due, None, TIMED_OUT)
            else:
                self._transmit(due, now)

    def take_output(self) -> list[bytes]:
        taken, self._output = self._output, []
        return taken

    def take_events(self) -> list[Event]:
        taken, self._events = self._events, []
        return taken

    def _peer(self, peer: Address) -> tuple[int, bytes]:
        """A peer's IPv4 address, whose XOR does not use the transaction ID, yet unknown here."""
        return Attribute.XOR_PEER_ADDRESS, value.encode_xor_address(peer, bytes(12))

    def _start(self, transaction: _Transaction, now: float) -> None:
        transaction.transaction_id = self._random_bytes(12)
        transaction.sent, transaction.wait = 0, RETRANSMIT_AFTER
        attributes, transaction.integrity = self.login.sign(transaction.attributes)
        message = Message(transaction.method, Class.REQUEST, transaction.transaction_id, attributes)
        transaction.packet = encode(message, integrity=transaction.integrity)
        self._transactions[transaction.transaction_id] = transaction
        self._transmit(transaction, now)

    def _transmit(self, transaction: _Transaction, now: float) -> None:
        self._output.append(transaction.packet)
        transaction.sent += 1
        wait = transaction.wait if transaction.sent < MAX_SENT else LAST_WAIT
        if self._transport == Transport.TCP:
            wait = RELIABLE_TIMEOUT
        self._expirations.set(transaction, now + wait)
        transaction.wait *= 2

    def _receive_indication(self, message: Message) -> None:
        address = message.get(Attribute.XOR_PEER_ADDRESS)
        if address is None:
            return
        peer = value.decode_xor_address(address, message.transaction_id)
        data, number = message.get(Attribute.DATA), message.get(Attribute.CONNECTION_ID)
        if message.method == Method.DATA and data is not None:
            self._events.append(Data(peer, data))
        elif message.method == Method.CONNECTION_ATTEMPT and number is not None:
            self._events.append(ConnectionAttempt(value.decode_number(number), peer))

    def _receive_response(self, message: Message, now: float) -> None:
        transaction = self._transactions.get(message.transaction_id)
        if transaction is None or transaction.method != message.method:
            return
        error = 0
        if message.message_class == Class.ERROR:
            error = value.decode_error(message.get(Attribute.ERROR_CODE) or b"")
        challenged = error in (401, 438)
        if not challenged and not _authentic(message, transaction.integrity):
            return
        if challenged and self._may_retry(transaction, error) and self.login.learn(message):
            del self._transactions[transaction.transaction_id]
            self._expirations.discard(transaction)
            self._start(transaction, now)
            return
        if not error and transaction.handle:
            self._remember(transaction, message, now)
        self._finish(transaction, message, error)

    def _may_retry(self, transaction: _Transaction, error: int) -> bool:
        """Whether to send the request again with new credentials.

        Not with those that were refused; and not for ever to a server that finds every nonce stale.
        """
        transaction.challenges += 1
        if transaction.challenges > MAX_CHALLENGES:
            return False
        return error == 438 or transaction.integrity is None

    def _remember(self, transaction: _Transaction, response: Message, now: float) -> None:
        """Take note of what was granted, and plan to renew it."""
        method = transaction.method
        if method == Method.ALLOCATE:
            granted = value.decode_number(response.get(Attribute.LIFETIME) or b"")
            lifetime: Attributes = [(Attribute.LIFETIME, value.encode_number(granted))]
            self._renew(_Renewal(Method.REFRESH, lifetime, granted / 2), now)
        elif method == Method.CREATE_PERMISSION:
            self._renew(_Renewal(method, transaction.attributes, PERMISSION_RENEWAL), now)
        elif transaction.handle in self._binding:
            peer, number = self._binding.pop(transaction.handle)
            self._channels[peer] = number
            self._peers[number] = peer
            self._renew(_Renewal(method, transaction.attributes, CHANNEL_RENEWAL), now)

    def _renew(self, renewal: _Renewal, now: float) -> None:
        self._expirations.set(renewal, now + renewal.interval)

    def _finish(self, transaction: _Transaction, response: Message | None, error: int) -> None:
        del self._transactions[transaction.transaction_id]
        self._expirations.discard(transaction)
        if transaction.handle:
            self._events.append(Finished(transaction.handle, response, error))


def _authentic(response: Message, integrity: Integrity | None) -> bool:
    return integrity is None or response.verify(*integrity)
