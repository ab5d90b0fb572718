"""Which clients are served: the long-term credential mechanism (RFC 8489, section 9.2).

Theory of operation. The server challenges a first request with its realm and a nonce. The
client repeats the request with its username and a MESSAGE-INTEGRITY keyed with
H(username ":" realm ":" password); the password never travels. All three are text that people
type, so they are prepared by OpaqueString, whether configured or received.

The nonce is stateless: the server keeps nothing for a client that has not authenticated.

    "obMatJos2" | features, 4 characters | base64(issued, 4 | salt, 4 | MAC, 10 bytes)

The MAC covers when the nonce was issued, the salt, and the client's address. So a request
with a valid nonce also proves that its source address was not forged: the challenge arrived
there. The port is left out, because RFC 6062's data connections come from other ports.
The features (section 18.1) protect against a bid-down: the first bit promises
PASSWORD-ALGORITHMS, the second says that usernames may come hashed (USERHASH).
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from napt_lab.servers.stun.attributes import encode_error
from napt_lab.servers.stun.stun_message import Attribute, Attributes, Class, Message, Method, encode
from napt_lab.servers.turn.error_response import Refused
from napt_lab.servers.turn.opaque_string import opaque_string

NONCE_COOKIE = "obMatJos2"
FEATURES = base64.b64encode((0b11 << 22).to_bytes(3)).decode()
MD5, SHA256 = 0x0001, 0x0002
PASSWORD_ALGORITHMS = struct.pack("!HHHH", SHA256, 0, MD5, 0)

Integrity = tuple[Attribute, bytes]
"""Which integrity attribute, and its key."""


@dataclass(frozen=True, slots=True)
class Identity:
    """The user that sent an authenticated request, and how to protect the response."""

    username: str
    integrity: Integrity


def long_term_key(algorithm: int, username: str, realm: str, password: str) -> bytes:
    """The key of section 14.5 or 14.6, by the password algorithm of section 18.5.

    Raises ValueError if a text is not an OpaqueString.
    """
    return _key(algorithm, *(opaque_string(text).encode() for text in (username, realm, password)))


def _key(algorithm: int, *texts: bytes) -> bytes:
    hash_function = hashlib.md5 if algorithm == MD5 else hashlib.sha256
    return hash_function(b":".join(texts)).digest()


def userhash(username: str, realm: str) -> bytes:
    """USERHASH (section 14.4). Raises ValueError if a text is not an OpaqueString."""
    return hashlib.sha256(":".join(map(opaque_string, (username, realm))).encode()).digest()


class Credentials:
    """The users of one realm, and the nonces the server gives out."""

    def __init__(
        self,
        realm: str,
        users: Mapping[str, str],
        random_bytes: Callable[[int], bytes],
        nonce_lifetime: float = 3600.0,
    ) -> None:
        """`users`: passwords by username; `nonce_lifetime` in seconds.

        RFC 8656, section 5, recommends an hour at most. Raises ValueError if the realm, a
        username or a password is not an OpaqueString.
        """
        self.realm = opaque_string(realm)
        self._random_bytes = random_bytes
        self._nonce_lifetime = nonce_lifetime
        self._secret = random_bytes(32)
        self._passwords = {opaque_string(user): opaque_string(users[user]) for user in users}
        self._keys = {
            (user, algorithm): long_term_key(algorithm, user, realm, password)
            for user, password in self._passwords.items()
            for algorithm in (MD5, SHA256)
        }
        self._hashed = {userhash(user, realm): opaque_string(user) for user in users}

    def challenge(self, client: str, now: float) -> Attributes:
        """What a 401 or 438 carries besides its code, for a client at this IP address."""
        return [
            (Attribute.REALM, self.realm.encode()),
            (Attribute.NONCE, self._nonce(client, now).encode()),
            (Attribute.PASSWORD_ALGORITHMS, PASSWORD_ALGORITHMS),
        ]

    def challenge_length(self) -> int:
        """Bytes of the 401 that answers a client's first request."""
        attributes = [(Attribute.ERROR_CODE, encode_error(401)), *self.challenge("", 0.0)]
        message = Message(Method.ALLOCATE, Class.ERROR, bytes(12), attributes)
        return len(encode(message, fingerprint=False))

    def authenticate(self, request: Message, client: str, now: float) -> Identity:
        """Make the checks of section 9.2.4, in its order. Raises Refused (400, 401, 438)."""
        # 1. No integrity: challenge.
        if (
            Attribute.MESSAGE_INTEGRITY not in request
            and Attribute.MESSAGE_INTEGRITY_SHA256 not in request
        ):
            raise Refused(401, attributes=self.challenge(client, now))

        # 2. Integrity, but not all of USERNAME or USERHASH, REALM and NONCE.
        nonce = request.get(Attribute.NONCE)
        if (
            nonce is None
            or Attribute.REALM not in request
            or (Attribute.USERNAME not in request and Attribute.USERHASH not in request)
        ):
            raise Refused(400)

        # 3. Password algorithms: neither means MD5; both must be as we offered them.
        algorithm = self._algorithm(request, nonce)

        # 4. The username must be known. If not, go on with a random key: an unknown user must
        #    take as long to refuse as a wrong password.
        username = self._username(request)
        keys = [self._keys.get((username, algorithm)) or self._random_bytes(16)]
        # The key has the username as it is (section 18.5.1). A client must prepare it before it
        # sends it (section 14.3); of one that does neither, the key has it as it was sent.
        sent = request.get(Attribute.USERNAME)
        if sent is not None and sent != username.encode():
            password = self._passwords.get(username) or self._random_bytes(16).hex()
            keys.append(_key(algorithm, sent, self.realm.encode(), password.encode()))

        # 5. The integrity must be right; the stronger attribute decides if both are there.
        checked = (
            Attribute.MESSAGE_INTEGRITY_SHA256
            if Attribute.MESSAGE_INTEGRITY_SHA256 in request
            else Attribute.MESSAGE_INTEGRITY
        )
        fresh = self._fresh(nonce, client, now)
        key = next((key for key in keys if request.verify(checked, key)), None)
        if key is None:
            reason = f"no user {username!r}, or a wrong password" if fresh else ""
            raise Refused(401, reason, self.challenge(client, now))

        # 6. The nonce must be one of ours, for this client, and fresh.
        if not fresh:
            raise Refused(438, attributes=self.challenge(client, now))

        # Responses use SHA-256 unless the request was processed as though MD5 by default.
        answered = (
            Attribute.MESSAGE_INTEGRITY_SHA256
            if Attribute.PASSWORD_ALGORITHM in request
            else Attribute.MESSAGE_INTEGRITY
        )
        return Identity(username, (answered, key))

    def _algorithm(self, request: Message, nonce: bytes) -> int:
        chosen = request.get(Attribute.PASSWORD_ALGORITHM)
        offered = request.get(Attribute.PASSWORD_ALGORITHMS)
        if not nonce.startswith(NONCE_COOKIE.encode()) or (chosen is None and offered is None):
            return MD5
        # Each entry is an algorithm and the length of its parameters: 0 for both of ours.
        entries = (PASSWORD_ALGORITHMS[:4], PASSWORD_ALGORITHMS[4:])
        if chosen not in entries or offered != PASSWORD_ALGORITHMS:
            raise Refused(400)
        return int.from_bytes(chosen[:2])

    def _username(self, request: Message) -> str:
        name, hashed = request.get(Attribute.USERNAME), request.get(Attribute.USERHASH)
        if name is None:
            return self._hashed.get(hashed or b"", "")
        try:
            return opaque_string(name.decode())
        except ValueError:
            return ""  # no user has this name

    def _nonce(self, client: str, now: float) -> str:
        issued = struct.pack("!I4s", int(now) & 0xFFFFFFFF, self._random_bytes(4))
        token = base64.b64encode(issued + self._mac(issued, client)).decode()
        return NONCE_COOKIE + FEATURES + token

    def _fresh(self, nonce: bytes, client: str, now: float) -> bool:
        prefix = (NONCE_COOKIE + FEATURES).encode()
        try:
            token = base64.b64decode(nonce.removeprefix(prefix), validate=True)
        except ValueError:
            return False
        issued, mac = token[:8], token[8:]
        if not nonce.startswith(prefix) or not hmac.compare_digest(mac, self._mac(issued, client)):
            return False
        age = (int(now) - int.from_bytes(issued[:4])) & 0xFFFFFFFF
        return age < self._nonce_lifetime

    def _mac(self, issued: bytes, client: str) -> bytes:
        return hmac.digest(self._secret, issued + client.encode(), "sha256")[:10]
