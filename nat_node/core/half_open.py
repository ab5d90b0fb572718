"""Connections from outside that are not established (yet): how many one inside host may have.

Where filtering lets others in, or an explicit rule does, anyone can send SYNs, from addresses
that may be forged, and each makes a session that lasts for minutes. Without a bound of its own,
a flood from outside would use up all the sessions that the host may have, and then those of the
whole table, and nobody inside could dial out any more (RFC 6888, REQ-4 and REQ-5, think of floods
from inside; this is the other direction).

A call counts until both sides have confirmed it (RFC 5382, section 5: each has sent an ACK); one
that was refused counts until its session has gone.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from napt_lab.nat_node.core.mapping import Session
from napt_lab.nat_node.core.tcp_state import TcpState

#: Of one inside host: more than a busy server has under way, and a small part of the table.
LIMIT = 4096

_OPENING = frozenset({TcpState.OPENING_IN, TcpState.ANSWERED, TcpState.REFUSED})


class Calls:
    """The calls that count, by inside host."""

    def __init__(self, host_limit: int) -> None:
        """`host_limit`: sessions of one inside host; a quarter of them at most are calls."""
        self._limit = max(1, min(LIMIT, host_limit // 4))
        self._sessions: set[Session] = set()
        self._by_host: Counter[int] = Counter()

    def __len__(self) -> int:
        return len(self._sessions)

    def may_come(self, host: int) -> bool:
        """Whether one more may come in for an inside host."""
        return self._by_host.get(host, 0) < self._limit

    def adopt(self, sessions: Iterable[Session]) -> None:
        """Count the calls among the sessions of a table that was restored."""
        for session in sessions:
            if session.state in (TcpState.OPENING_IN, TcpState.ANSWERED):
                self.add(session)

    def add(self, session: Session) -> None:
        """A call has come in."""
        self._sessions.add(session)
        self._by_host[session.mapping.internal[0]] += 1

    def advance(self, session: Session) -> None:
        """The state of a session has changed."""
        if session.state not in _OPENING:
            self.remove(session)

    def remove(self, session: Session) -> None:
        """A session counts no longer, if it did."""
        if session not in self._sessions:
            return
        self._sessions.remove(session)
        host = session.mapping.internal[0]
        self._by_host[host] -= 1
        if not self._by_host[host]:
            del self._by_host[host]
