"""Rules, events and drops as JSON-able dictionaries, for control clients.

`wall` gives the wall-clock time, in seconds since 1970, of a time on the translator's own clock;
`carried` says whether the kernel carries a session's packets.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable, Iterable
from itertools import islice
from typing import Any

from napt_lab.nat_node.core.behavior import ANY, show, show_address
from napt_lab.nat_node.core.events import Dropped, Event, RuleAdded, RuleChanged
from napt_lab.nat_node.core.lease import Lease
from napt_lab.nat_node.core.mapping import Mapping, Session
from napt_lab.nat_node.core.packet import protocol_name
from napt_lab.nat_node.core.settings import Settings
from napt_lab.nat_node.core.translator import Translator

Wall = Callable[[float], float]
Carried = Callable[[Session], bool]

#: A rule of a busy server may have tens of thousands; a list for people needs only some.
SESSIONS_SHOWN = 16


def rule(mapping: Mapping, now: float, wall: Wall, carried: Carried) -> dict[str, Any]:
    """One rule and its life so far. Times in seconds, counters in packets and bytes of IPv4."""
    made_by = mapping.made_by
    if mapping.first_remote is not None:
        made_by = f"{made_by} to {show(mapping.first_remote)}"
    elif mapping.lease is not None:
        host = show_address(mapping.internal[0])
        made_by = f"{made_by} of {host}, {mapping.lease.lifetime} s"
    return {
        "id": mapping.serial,
        "protocol": protocol_name(mapping.protocol),
        "internal": show(mapping.internal),
        "external": show(mapping.external),
        "remote": "*" if mapping.remote == ANY else show(mapping.remote),
        "explicit": mapping.explicit,
        "lease": _lease(mapping.lease, now) if mapping.lease else None,
        "made_by": made_by,
        "created": wall(mapping.created),
        "age": round(now - mapping.created, 6),
        "packets_out": mapping.packets_out,
        "packets_in": mapping.packets_in,
        "bytes_out": mapping.bytes_out,
        "bytes_in": mapping.bytes_in,
        "session_count": len(mapping.sessions),
        "sessions": [
            {
                "remote": show(session.remote),
                "state": session.state.name.lower() if session.state is not None else None,
                "idle": max(0.0, round(now - session.last_used, 6)),  # kernel_datapath.py rounds up
                "expires_in": round(session.deadline - now, 6),
                "carried_by": "kernel" if carried(session) else "python",
            }
            for session in islice(mapping.sessions, SESSIONS_SHOWN)
        ],
    }


def _lease(lease: Lease, now: float) -> dict[str, Any]:
    return {
        "protocol": lease.asked_by,
        "nonce": lease.nonce.hex() if lease.nonce is not None else None,
        "lifetime": lease.lifetime,
        "expires_in": round(lease.deadline - now, 6),
        "filters": [str(entry) for entry in lease.filters],
        "ended": lease.ended,
    }


def port_map(mappings: Iterable[Mapping], settings: Settings) -> dict[str, str]:
    """The external ports that are in use: a bit for each of a protocol's 65,536, as base64.

    Bit p % 8 of byte p // 8 is port p's. A picture can be made of it where a list is too long.
    With several external addresses there is a map for each: `tcp 24.9.3.8`.
    """
    maps: dict[str, bytearray] = {}
    for mapping in mappings:
        name, (address, port) = protocol_name(mapping.protocol), mapping.external
        if settings.others:
            name = f"{name} {show_address(address)}"
        bits = maps.setdefault(name, bytearray(65536 // 8))
        bits[port >> 3] |= 1 << (port & 7)
    return {protocol: b64encode(bits).decode() for protocol, bits in maps.items()}


def event(what: Event, now: float, wall: Wall, carried: Carried) -> dict[str, Any]:
    """One event, with the wall-clock time at which it happened."""
    if isinstance(what, Dropped):
        return {
            "event": "drop",
            "time": wall(now),
            "reason": what.reason.label,
            "meaning": what.reason.meaning,
            "packet": what.packet,
            "side": what.side,
        }
    described = rule(what.mapping, now, wall, carried)
    if isinstance(what, RuleAdded):
        return {"event": "rule-added", "time": wall(now), "rule": described}
    name = "rule-changed" if isinstance(what, RuleChanged) else "rule-ended"
    return {"event": name, "time": wall(now), "why": what.why, "rule": described}


def statistics(translator: Translator) -> dict[str, Any]:
    """Counts of the whole translator."""
    table = translator.table
    return {
        "rules": len(table),
        "sessions": table.session_count,
        "drops": {reason.label: count for reason, count in translator.drops.items()},
    }
