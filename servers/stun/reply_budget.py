"""How many bytes go to addresses that may be forged (RFC 8656, section 21.3: amplification).

Theory of operation. The smallest Allocate request has 28 bytes, and no challenge (401) with a
realm and a nonce fits into that; a Binding request has 20 bytes, its answer 32. A server that
always answers is an amplifier. A server that never sends more than it received cannot serve a
client that asks once. So a request earns its bytes, a reply costs its bytes, and a reply that
exceeds the credit is not sent. An address without proof starts with credit for one challenge;
time gives back 32 bytes/s of it. For every address, over any time,

    bytes sent <= bytes received + one challenge + 32 bytes/s + 1,024 bytes for each proof

A proof is an authenticated request: its nonce had arrived at the address. Without proofs a
victim of forgery gets at most one challenge more than was sent in its name, and 32 bytes/s from
then on. A client whose challenge was lost gets another at its second retransmission; many
clients behind one NAT can start at once with the first one's proof. Answers over TCP (the
handshake proved the address) and to authenticated requests are not charged.

The credit is a fixed array, indexed by a keyed hash of the address: a flood cannot make it
grow, and all victims together get at most 4,096 times the excess. Addresses that share a place
share its credit.
"""

from __future__ import annotations

import hashlib

REPLY_REFILL = 32.0  # bytes/s, if the server does not want another
REPLY_PROOF = 1024.0  # bytes that an authenticated request earns
REPLY_CREDIT = 4096.0  # bytes at most, earned and not spent
REPLY_SLOTS = 4096


class ReplyBudget:
    """Bytes that may be sent to addresses which have not proved to be real."""

    def __init__(self, secret: bytes, first: float, refill: float = REPLY_REFILL) -> None:
        """`first`: bytes that an address has on credit from the beginning; `refill`: bytes/s."""
        self._secret = secret
        self._first = first
        self._refill = refill
        self._credit = [self._first] * REPLY_SLOTS
        self._filled_at = [0.0] * REPLY_SLOTS

    def allows(self, client: str, request: int, reply: int, now: float) -> bool:
        """Earn the request's bytes, and spend the reply's if there is enough."""
        slot = self._slot(client)
        credit = self._credit[slot]
        # Time gives back the first credit, and nothing on top of it.
        if credit < self._first:
            refilled = credit + (now - self._filled_at[slot]) * self._refill
            credit = min(self._first, refilled)
        self._filled_at[slot] = now
        credit = min(REPLY_CREDIT, credit + request)
        granted = credit >= reply
        self._credit[slot] = credit - reply if granted else credit
        return granted

    def proved(self, client: str) -> None:
        """The address is real: a request from it had a nonce that was sent there."""
        slot = self._slot(client)
        self._credit[slot] = min(REPLY_CREDIT, self._credit[slot] + REPLY_PROOF)

    def _slot(self, client: str) -> int:
        digest = hashlib.blake2b(client.encode(), digest_size=4, key=self._secret).digest()
        return int.from_bytes(digest) % REPLY_SLOTS
