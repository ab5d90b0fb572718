"""What one peer tells the other before they are connected: its name, password and candidates.

One line of JSON. The other peer may be anyone who knows the meeting's word, so what is read is
bounded and checked.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address

from aioice import Candidate

LINE_BYTES = 1 << 14
MOST_CANDIDATES = 40
KINDS = {"host": "host", "srflx": "server-reflexive", "prflx": "peer-reflexive", "relay": "relayed"}
"""The types of candidates (RFC 8839) by RFC 8445's names for them."""
_ICE_CHARS = re.compile(r"[A-Za-z0-9+/]{4,256}")


class NotADescriptionError(Exception):
    """What the other peer sent is not a description; the text says why."""


@dataclass(frozen=True, slots=True)
class Description:
    """One peer: what its checks must name, and where it may be reached."""

    username: str
    password: str
    candidates: tuple[Candidate, ...]

    def line(self) -> bytes:
        """This description as a line."""
        told = {
            "ufrag": self.username,
            "pwd": self.password,
            "candidates": [candidate.to_sdp() for candidate in self.candidates],
        }
        return json.dumps(told).encode() + b"\n"

    @classmethod
    def read(cls, line: bytes) -> Description:
        """The description on a line. Raises NotADescriptionError."""
        try:
            told = json.loads(line)
            names = str(told["ufrag"]), str(told["pwd"])
            listed = [_candidate(str(text)) for text in told["candidates"]]
        except (ValueError, TypeError, LookupError, RecursionError) as error:
            raise NotADescriptionError(f"the other peer sent no description: {error}") from None
        if not all(_ICE_CHARS.fullmatch(name) for name in names):
            raise NotADescriptionError("the other peer's name or password has other characters")
        if len(listed) > MOST_CANDIDATES:
            raise NotADescriptionError(f"the other peer sent {len(listed)} candidates")
        return cls(*names, tuple(listed))


def _candidate(text: str) -> Candidate:
    candidate = Candidate.from_sdp(text)
    IPv4Address(candidate.host)  # a name would be looked up
    if not 0 < candidate.port < 1 << 16:
        raise ValueError(f"port {candidate.port} is not valid (RFC 6335)")
    return candidate


def kind_and_endpoint(candidate: Candidate) -> str:
    """As in `server-reflexive 24.9.3.7:40001`."""
    return f"{KINDS[candidate.type]} {candidate.host}:{candidate.port}"


def by_kind(candidates: Sequence[Candidate]) -> dict[str, list[str]]:
    """The endpoints of each type."""
    return {
        name: [f"{each.host}:{each.port}" for each in candidates if each.type == kind]
        for kind, name in KINDS.items()
        if kind != "prflx"  # found only by a check
    }
