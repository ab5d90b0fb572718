"""Connections from outside that are not established yet: how many one inside host may have.

Where filtering lets others in, or an explicit rule does, anyone can send SYNs, also from forged
addresses, and each makes a session that lasts for minutes. Without a limit of its own, a flood
from outside would use up all the sessions that the host may have, and then those of the whole
table: no host inside could open a connection any more. (RFC 6888, REQ-4 and REQ-5, limit floods
from inside; this limits the other direction.)

A connection is half open until both sides have confirmed it (RFC 5382, section 5: each has sent
an ACK). One that was refused counts until its session ends.
"""

from __future__ import annotations

from collections import Counter

from napt_lab.nat_node.core.mapping import Session
from napt_lab.nat_node.core.tcp_state import TcpState

#: Of one inside host: more than a busy server has at once, and a small part of the table.
LIMIT = 4096

_OPENING_IN = TcpState.OPENING_IN
_HALF_OPEN = (TcpState.OPENING_IN, TcpState.ANSWERED, TcpState.REFUSED)


class HalfOpen:
    """The half-open connections, counted by inside host."""

    def __init__(self) -> None:
        self._limit = LIMIT
        self._sessions: set[Session] = set()
        self._by_host: Counter[int] = Counter()

    def __len__(self) -> int:
        return len(self._sessions)

    def limit_by(self, host_limit: int) -> None:
        """`host_limit`: sessions of one inside host; at most a quarter of them are half open."""
        self._limit = max(1, min(LIMIT, host_limit // 4))

    def has_room(self, host: int) -> bool:
        """Whether an inside host may have one more."""
        return self._by_host.get(host, 0) < self._limit

    def add(self, session: Session) -> None:
        """Count a session that has begun, or begins afresh."""
        if session in self._sessions:
            return
        self._sessions.add(session)
        self._by_host[session.mapping.internal[0]] += 1

    def advance(self, session: Session) -> None:
        """Count a session by its new state."""
        if session.state is _OPENING_IN:
            self.add(session)
        elif session.state not in _HALF_OPEN:
            self.remove(session)

    def remove(self, session: Session) -> None:
        """Stop counting a session, if it is counted."""
        if session not in self._sessions:
            return
        self._sessions.remove(session)
        host = session.mapping.internal[0]
        self._by_host[host] -= 1
        if not self._by_host[host]:
            del self._by_host[host]
