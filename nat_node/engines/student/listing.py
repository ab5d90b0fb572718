"""A student's rules as the control socket tells them, in the words of control/report.py."""

from __future__ import annotations

from typing import Any

from napt_lab.student.napt import Rule
from napt_lab.student.packet import Endpoint

SESSIONS_SHOWN = 16


def describe(rule: Rule, now: float, wall: float) -> dict[str, Any]:
    """One rule. `wall` is the wall-clock time in seconds since 1970 at `now`."""
    remote = "*"
    remotes: dict[Endpoint, float] = {**(rule.seen or {})}
    if rule.remote is not None:
        remote = f"{rule.remote.address}:{rule.remote.port or '*'}"
        remotes = {rule.remote: rule.last_used}
    return {
        "id": rule.serial,
        "protocol": rule.protocol,
        "internal": str(rule.internal),
        "external": str(rule.external),
        "remote": remote,
        "explicit": rule.explicit,
        "made_by": rule.made_by,
        "created": wall - (now - rule.created),
        "age": round(now - rule.created, 6),
        "packets_out": rule.packets_out,
        "packets_in": rule.packets_in,
        "bytes_out": rule.bytes_out,
        "bytes_in": rule.bytes_in,
        "session_count": len(remotes),
        "sessions": [
            {
                "remote": str(endpoint),
                "state": str(rule.state) or None,
                "idle": round(now - used, 6),
                "expires_in": round(rule.expires - now, 6) if rule.expires is not None else 0.0,
            }
            for endpoint, used in list(remotes.items())[-SESSIONS_SHOWN:]
        ],
    }


def news(rule: Rule, why: str | None, now: float, wall: float) -> dict[str, Any]:
    """The event that a rule was made, or that it ended."""
    described = describe(rule, now, wall)
    if why is None:
        return {"event": "rule-added", "time": wall, "rule": described}
    return {"event": "rule-ended", "time": wall, "why": why, "rule": described}
