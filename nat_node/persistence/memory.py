"""What is left of the table when its translator is killed: a picture of it, kept up to date.

Theory of operation
-------------------
The picture is a row of records of one size in memory that outlives the process (state_file.py: a
file, mapped). It watches the table (watchers.py): a record is written when its rule or session is
made, and freed when that ends, by one byte, its kind. The kind is also written last: a translator
may be killed between any two bytes, and a record is there or it is not.

    free      0
    rule      1  life │ protocol, serials, endpoints, when and by what it was made │ checksum
    session   2  life │ its serial, its rule's serial, remote endpoint             │ checksum

A rule that a packet made has its first session in its own record: most have no other. `life` is
what changes: the state of a TCP connection, written with each change, and the last use. Last uses
are read from the sessions in turn, each within `TOUCH` seconds, so a restored session is given
that much more: a rule may live a little too long, never too short.

Not kept, because connections live without: leases (lease.py), counters, waiting fragments, ports
that are held unused, the fast path (which is learnt anew). Times are of the clock that the
translator is told; state_file.py makes sure that it is still the same clock.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from struct import Struct
from zlib import crc32

from napt_lab.nat_node.core.mapping import BY_HAND, Mapping, Session
from napt_lab.nat_node.core.settings import Settings
from napt_lab.nat_node.core.translator import Translator

#: Seconds within which the last use of every session is written; one round of them takes half.
TOUCH = 1.0
SLICE = 2048
"""Records that are looked at in one go: a fraction of a millisecond."""
FREE, RULE, SESSION = 0, 1, 2

LIFE = Struct("!Bdd")
LIFE_AT, USED_AT = 1, 2
BODY_AT = LIFE_AT + LIFE.size
RULE_BODY = Struct("!BBQQIHIHIHIHd20s")
SESSION_BODY = Struct("!QQIH")
CHECKSUM = Struct("!I")
RECORD = BODY_AT + RULE_BODY.size + CHECKSUM.size
"""Bytes of one record; a session's is shorter and ends in zeros."""
FEWEST = 1024
"""Records that there is room for at first."""

#: In the place of a state: no state; and that a rule's record holds no session (any more).
NO_STATE, NO_SESSION = 255, 254
_put_life, _put_used = LIFE.pack_into, Struct("!d").pack_into
_put_rule, _put_session = RULE_BODY.pack_into, SESSION_BODY.pack_into
_put_checksum = CHECKSUM.pack_into

#: Room for the records in `contents` and free ones behind, `count` in all; None if there is none.
MakeRoom = Callable[[bytes, int], memoryview | None]
Places = dict[Mapping | Session, int]


def most_records(settings: Settings) -> int:
    """How many records the table of such a NAPT can ever need."""
    explicit = 2 * 65_535  # a rule for each port, with TCP and with UDP
    return 2 * settings.session_limit + explicit


class Memory:
    """The picture of a translator's table in `records`, which show the table as it is.

    `places` says where they have its rules and sessions.
    """

    def __init__(
        self,
        translator: Translator,
        records: memoryview,
        most: int,
        make_room: MakeRoom,
        places: Places,
    ) -> None:
        self._records = records
        self._most = most
        self._make_room = make_room
        # Of rules, and of the sessions that have records of their own.
        self._places: Places = {}
        self._sessions: list[Session | None] = [None] * (len(records) // RECORD)
        self._free = [at for at in range(0, len(records), RECORD) if records[at] == FREE]
        self._free.reverse()  # the first is taken first
        self._next = 0
        self._look_at = 0.0
        for one, place in places.items():
            if isinstance(one, Mapping):
                self._places[one] = place
        for one, place in places.items():
            if isinstance(one, Session):
                self._begin(one, place)
        watchers = translator.watchers
        watchers.opened.append(self._keep_session)
        watchers.changed.append(self._advance)
        watchers.closed.append(self._forget_session)
        watchers.explicit_added.append(self._keep_rule)
        watchers.rule_ended.append(self._forget_rule)

    def change(self, settings: Settings) -> None:
        """Go on with other settings: there may be more sessions, and so more records."""
        self._most = most_records(settings)

    def next_look(self) -> float | None:
        """When `look` has something to do; None while there is no session."""
        return self._look_at if self._places else None

    def look(self, now: float) -> None:
        """Write when the next sessions were last used, if it is their turn."""
        if now < self._look_at:
            return
        size = len(self._sessions)
        begin, end = self._next, min(self._next + SLICE, size)
        records = self._records
        for number in range(begin, end):
            session = self._sessions[number]
            if session is not None:
                _put_used(records, number * RECORD + USED_AT, session.last_used)
        self._next = end if end < size else 0
        self._look_at = now + TOUCH / 2 * (end - begin) / max(1, size)

    def snapshot(self) -> bytes:
        """All records as they are now."""
        return bytes(self._records)

    # -- what is told by the translator -------------------------------------------------------

    def _keep_rule(self, mapping: Mapping, first: Session | None = None) -> None:
        """Write a new rule, with the session for which it was made, if there is one."""
        place = self._take()
        if place is None:
            return
        self._places[mapping] = place
        self._records[place + LIFE_AT] = NO_SESSION
        serial = 0
        if first is not None:
            serial = first.serial
            self._begin(first, place)
        # A program asks for its lease again when we begin anew (RFC 6887, section 14). Until then
        # only the connections through it must be known, so a packet's rule is written.
        by_hand = mapping.explicit and mapping.made_by == BY_HAND
        _put_rule(
            self._records, place + BODY_AT,
            mapping.protocol, by_hand, mapping.serial, serial, *mapping.internal,
            *mapping.external, *mapping.remote, *(mapping.first_remote or (0, 0)),
            mapping.created, _encode(mapping.made_by),
        )  # fmt: skip
        self._seal(place, RULE_BODY.size, RULE)

    def _keep_session(self, session: Session) -> None:
        """Write a new session, and its rule if it was made for it."""
        mapping = session.mapping
        if mapping not in self._places:
            if not mapping.explicit and session.remote == mapping.first_remote:
                self._keep_rule(mapping, session)
            return  # else there was no room for its rule
        place = self._take()
        if place is not None:
            self._begin(session, place)
            _put_session(
                self._records, place + BODY_AT, session.serial, mapping.serial, *session.remote
            )
            self._seal(place, SESSION_BODY.size, SESSION)

    def _advance(self, session: Session) -> None:
        """Write a session's state and lifetime."""
        place = self._place(session)
        if place is not None:
            self._put_life(session, place)

    def _forget_session(self, session: Session) -> None:
        place = self._place(session)
        if place is None:
            return
        self._sessions[place // RECORD] = None
        if self._places.pop(session, None) is None:  # it is in its rule's record
            self._records[place + LIFE_AT] = NO_SESSION
        else:
            self._records[place] = FREE
            self._free.append(place)

    def _forget_rule(self, mapping: Mapping) -> None:
        place = self._places.pop(mapping, None)
        if place is not None:
            self._records[place] = FREE
            self._free.append(place)

    # -- records ------------------------------------------------------------------------------

    def _put_life(self, session: Session, place: int) -> None:
        state = NO_STATE if session.state is None else session.state
        _put_life(self._records, place + LIFE_AT, state, session.last_used, session.lifetime)

    def _place(self, session: Session) -> int | None:
        place = self._places.get(session.mapping)
        if place is None or self._sessions[place // RECORD] is session:
            return place
        return self._places.get(session)

    def _begin(self, session: Session, place: int) -> None:
        if place != self._places[session.mapping]:
            self._places[session] = place
        self._sessions[place // RECORD] = session
        self._put_life(session, place)

    def _take(self) -> int | None:
        if not self._free:
            present = len(self._sessions)
            wanted = min(self._most, max(FEWEST, 2 * present))
            more = None
            if wanted > present:
                more = self._make_room(self.snapshot(), wanted)
            if more is None:
                self._most = present  # it is not asked for again
                return None
            self._free = list(range((wanted - 1) * RECORD, len(self._records) - 1, -RECORD))
            self._sessions += [None] * (wanted - present)
            self._records = more
        return self._free.pop()

    def _seal(self, place: int, size: int, kind: int) -> None:
        """Finish a record whose body of `size` bytes is written."""
        records, start = self._records, place + BODY_AT
        end = start + size
        _put_checksum(records, end, crc32(records[start:end]))
        records[place] = kind


@lru_cache(16)  # there are only some kinds
def _encode(made_by: str) -> bytes:
    return made_by.encode()[:20]
