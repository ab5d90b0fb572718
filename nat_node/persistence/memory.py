"""What is left of the table when its translator is killed: a picture of it, always up to date.

Theory of operation
-------------------
The picture is a row of records of one size in a piece of memory that outlives the process
(state_file.py: a file, mapped). A record is written when its rule or session is made. It is freed
when that ends, by one byte, its kind, which is also what is written last: a translator may be
killed between any two bytes, and a record is there or it is not.

    free      0
    rule      1  life │ protocol, serials, endpoints, when and by what it was made │ checksum
    session   2  life │ its serial, its rule's serial, remote endpoint             │ checksum

A rule that a packet made has its first session in its own record: most have no other. `life` is
what changes: the state of a TCP connection with every segment that changes it, the last use with
the first packet that comes `TOUCH` seconds after the last one for which it was written. So a
session is given that much more when it comes back: a rule may live a little too long, never too
short.

Not kept, because connections live without: leases (lease.py), counters, fragments that wait for
others, ports that are held back for a while, the fast path (which is learnt anew). Times are of
the clock that the translator is told; state_file.py sees to it that it is still the same clock.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import lru_cache
from math import inf
from struct import Struct
from zlib import crc32

from napt_lab.nat_node.core.mapping import BY_HAND, NOWHERE, Mapping, Session
from napt_lab.nat_node.core.settings import Settings

#: Seconds between two times that a session's last use is written.
TOUCH = 1.0
FREE, RULE, SESSION = 0, 1, 2

LIFE = Struct("!Bdd")
LIFE_AT, USED_AT = 1, 2
BODY_AT = LIFE_AT + LIFE.size
RULE_BODY = Struct("!BBQQIHHIHIHd20s")
SESSION_BODY = Struct("!QQIH")
CHECKSUM = Struct("!I")
RECORD = BODY_AT + RULE_BODY.size + CHECKSUM.size
"""Bytes of one record; a session's is shorter and ends in zeros."""
FEWEST = 1024
"""Records that there is room for at first."""

#: In the place of a state: what has none; and that a rule's record holds no session (any more).
NO_STATE, NO_SESSION = 255, 254
_put_life, _put_used = LIFE.pack_into, Struct("!d").pack_into
_pack_rule, _pack_session, _pack_checksum = RULE_BODY.pack, SESSION_BODY.pack, CHECKSUM.pack

#: Room for the records in `contents` and free ones behind, `count` in all. None: there is none.
MakeRoom = Callable[[bytes, int], memoryview | None]


def most_records(settings: Settings) -> int:
    """How many records the table of such a NAPT can ever need."""
    explicit = 2 * 65_535  # a rule for each port, with TCP and with UDP
    return 2 * settings.session_limit + explicit


class Memory:
    """The picture of a table in `records`, kept up to date by whoever changes the table."""

    def __init__(self, records: memoryview, most: int, make_room: MakeRoom) -> None:
        self._records = records
        self._most = most
        self._make_room = make_room
        self._free = [at for at in range(0, len(records), RECORD) if records[at] == FREE]
        self._free.reverse()  # the first is taken first

    def keep_rule(self, mapping: Mapping, first: Session | None = None) -> None:
        """Remember a new rule, with the session for which it was made, if there is one."""
        mapping.place = place = self._take()
        if place == NOWHERE:
            return
        self._records[place + LIFE_AT] = NO_SESSION
        serial = 0
        if first is not None:
            serial = first.serial
            self._begin(first, place)
        # Who asked for a lease asks again when we begin anew (RFC 6887, section 14): only the
        # connections through it must be known then, and a packet's rule will do for them.
        by_hand = mapping.explicit and mapping.made_by == BY_HAND
        body = _pack_rule(
            mapping.protocol, by_hand, mapping.serial, serial, *mapping.internal,
            mapping.external_port, *mapping.remote, *(mapping.first_remote or (0, 0)),
            mapping.created, _encode(mapping.made_by),
        )  # fmt: skip
        self._put(place, body, RULE)

    def keep_session(self, session: Session) -> None:
        """Remember a new session, and its rule if it was made for it."""
        mapping = session.mapping
        if mapping.place == NOWHERE:
            if not mapping.explicit and session.remote == mapping.first_remote:
                self.keep_rule(mapping, session)
            return  # else its rule had no room
        place = self._take()
        if place != NOWHERE:
            self._begin(session, place)
            body = _pack_session(session.serial, mapping.serial, *session.remote)
            self._put(place, body, SESSION)

    def advance(self, session: Session) -> None:
        """Remember a session's state and lifetime."""
        place = session.place
        if place != NOWHERE:
            state = NO_STATE if session.state is None else session.state
            _put_life(self._records, place + LIFE_AT, state, session.last_used, session.lifetime)
            session.remember_at = session.last_used + TOUCH

    def touch(self, session: Session) -> None:
        """Remember when a session was last used."""
        _put_used(self._records, session.place + USED_AT, session.last_used)
        session.remember_at = session.last_used + TOUCH

    def forget_session(self, session: Session) -> None:
        """A session has ended."""
        place = session.place
        if place == NOWHERE:
            return
        session.place, session.memory, session.remember_at = NOWHERE, None, inf
        if place == session.mapping.place:
            self._records[place + LIFE_AT] = NO_SESSION
        else:
            self._records[place] = FREE
            self._free.append(place)

    def forget_rule(self, mapping: Mapping) -> None:
        """A rule has ended, after its sessions."""
        if mapping.place != NOWHERE:
            self._records[mapping.place] = FREE
            self._free.append(mapping.place)
            mapping.place = NOWHERE

    def adopt(self, sessions: Iterable[Session]) -> None:
        """Go on with sessions that were restored from these records."""
        for session in sessions:
            self._begin(session, session.place)

    def snapshot(self) -> bytes:
        """All records as they are now."""
        return bytes(self._records)

    def _begin(self, session: Session, place: int) -> None:
        session.place, session.memory = place, self
        self.advance(session)

    def _take(self) -> int:
        if not self._free:
            present = len(self._records) // RECORD
            wanted = min(self._most, max(FEWEST, 2 * present))
            more = None
            if wanted > present:
                more = self._make_room(self.snapshot(), wanted)
            if more is None:
                self._most = present  # it is not asked for again
                return NOWHERE
            self._free = list(range((wanted - 1) * RECORD, len(self._records) - 1, -RECORD))
            self._records = more
        return self._free.pop()

    def _put(self, place: int, body: bytes, kind: int) -> None:
        start = place + BODY_AT
        self._records[start : start + len(body) + 4] = body + _pack_checksum(crc32(body))
        self._records[place] = kind


@lru_cache(16)  # there are only some kinds
def _encode(made_by: str) -> bytes:
    return made_by.encode()[:20]
