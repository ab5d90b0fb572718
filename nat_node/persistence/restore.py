"""From the picture of a table (memory.py) back to a table.

A file may have been cut short, overwritten or made by another program, so everything in it is
checked: if one record cannot be right, none is used. A NAPT that begins with an empty table breaks
connections; one that begins with a wrong table sends them to strangers.

A packet's rule without a session is not damage: its translator was killed between the two.
"""

from __future__ import annotations

from math import isfinite
from operator import attrgetter
from struct import Struct
from typing import Any
from zlib import crc32

from napt_lab.nat_node.core.behavior import Endpoint
from napt_lab.nat_node.core.mapping import Mapping, Session
from napt_lab.nat_node.core.packet import ICMP, PROTOCOL_NAMES, TCP
from napt_lab.nat_node.core.settings import Settings
from napt_lab.nat_node.core.table import Table
from napt_lab.nat_node.core.tcp_state import TcpState
from napt_lab.nat_node.persistence.memory import (
    BODY_AT,
    CHECKSUM,
    FREE,
    LIFE,
    LIFE_AT,
    NO_SESSION,
    NO_STATE,
    RECORD,
    RULE,
    RULE_BODY,
    SESSION,
    SESSION_BODY,
    TOUCH,
    Places,
)


class Damaged(ValueError):
    """These records are not the picture of a table; the text says why."""


def restore(records: memoryview, settings: Settings, table: Table, now: float) -> Places:
    """Put the rules and sessions in `records` into an empty table; gives where they are there.

    Nothing is changed in `records`, but rules without a session are freed. Raises Damaged.
    """
    places: Places = {}
    rules: dict[int, Mapping] = {}
    sessions: dict[int, list[Session]] = {}
    kinds = records[::RECORD].tobytes()
    for number, kind in enumerate(kinds):
        if kind == RULE:
            rule, first = _rule(records, number, settings, now)
            places[rule] = number * RECORD
            if rule.serial in rules:
                raise Damaged(f"record {number}: a rule that was there before")
            rules[rule.serial] = rule
            sessions[rule.serial] = []
            if first is not None:
                sessions[rule.serial].append(first)
                places[first] = number * RECORD
        elif kind not in (SESSION, FREE):
            raise Damaged(f"record {number}: no kind of record is {kind}")
    for number, kind in enumerate(kinds):
        if kind == SESSION:
            session = _session(records, number, rules, now)
            places[session] = number * RECORD
            sessions[session.mapping.serial].append(session)
    for serial, rule in sorted(rules.items()):  # in the order in which they were made
        if not (rule.explicit or sessions[serial]):
            records[places.pop(rule)] = FREE
            continue
        try:
            table.put_back(rule, sorted(sessions[serial], key=attrgetter("serial")))
        except KeyError as error:
            raise Damaged(f"record {places[rule] // RECORD}: {error.args[0]}") from None
    return places


def _body(records: memoryview, number: int, layout: Struct) -> tuple[Any, ...]:
    start = number * RECORD + BODY_AT
    body = records[start : start + layout.size]
    if (crc32(body),) != CHECKSUM.unpack_from(records, start + layout.size):
        raise Damaged(f"record {number}: its checksum is wrong")
    return layout.unpack(body)


def _rule(
    records: memoryview, number: int, settings: Settings, now: float
) -> tuple[Mapping, Session | None]:
    (
        protocol, explicit, serial, first_serial, address, port, external_address, external_port,
        remote_address, remote_port, first_address, first_port, created, made_by,
    ) = _body(records, number, RULE_BODY)  # fmt: skip
    lowest = 0 if protocol == ICMP else 1
    if not (
        protocol in PROTOCOL_NAMES
        and settings.is_inside(address)
        and external_address in settings.ours
        and min(port, external_port) >= lowest
        and created <= now
    ):
        raise Damaged(f"record {number}: a rule that no NAPT would make")
    maker = made_by.rstrip(b"\0").decode(errors="replace")
    mapping = Mapping(
        serial, protocol, (address, port), (external_address, external_port),
        (remote_address, remote_port), created, maker, bool(explicit),
    )  # fmt: skip
    if first_address:
        mapping.first_remote = (first_address, first_port)
    if records[number * RECORD + LIFE_AT] == NO_SESSION:
        return mapping, None
    return mapping, _alive(records, number, first_serial, mapping, (first_address, first_port), now)


def _session(records: memoryview, number: int, rules: dict[int, Mapping], now: float) -> Session:
    serial, of_rule, address, port = _body(records, number, SESSION_BODY)
    if of_rule not in rules:
        raise Damaged(f"record {number}: a session without a rule")
    return _alive(records, number, serial, rules[of_rule], (address, port), now)


def _alive(
    records: memoryview, number: int, serial: int, rule: Mapping, remote: Endpoint, now: float
) -> Session:
    state, last_used, lifetime = LIFE.unpack_from(records, number * RECORD + LIFE_AT)
    if (state == NO_STATE) == (rule.protocol == TCP) or state not in (*TcpState, NO_STATE):
        raise Damaged(f"record {number}: no state of its protocol is {state}")
    if not (isfinite(lifetime) and lifetime >= 0):
        raise Damaged(f"record {number}: no lifetime is {lifetime}")
    # The kill may have come between two bytes of this time. Then the session was just in use.
    if not (isfinite(last_used) and 0 <= last_used <= now):
        last_used = now
    kept = None if state == NO_STATE else TcpState(state)
    return Session(serial, rule, remote, min(now, last_used + TOUCH), lifetime, kept)
