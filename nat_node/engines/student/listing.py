"""A student's rules as the control socket tells them, in the words of control/report.py.

The worker describes them, and the node checks that it has: labs read each of these keys.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from napt_lab.nat_node.core.tcp_state import TcpState
from napt_lab.student.napt import Rule
from napt_lab.student.packet import Endpoint

SESSIONS_SHOWN = 16


def describe(rule: Rule, now: float, wall: float) -> dict[str, Any]:
    """One rule. `wall` is the wall-clock time in seconds since 1970 at `now`.

    Raises TypeError where the student's program has written something else into it.
    """
    remote = "*"
    remotes: dict[Endpoint, tuple[float, TcpState | None]] = {**(rule.seen or {})}
    if rule.remote is not None:
        remote = f"{rule.remote.address}:{rule.remote.port or '*'}"
        remotes = {rule.remote: (rule.last_used, rule.tcp)}
    described = {
        "id": rule.serial,
        "protocol": rule.protocol,
        "internal": str(rule.internal),
        "external": str(rule.external),
        "remote": remote,
        "explicit": bool(rule.explicit),
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
                "state": state.name.lower() if state is not None else None,
                "idle": round(now - used, 6),
                "expires_in": round(rule.expires - now, 6) if rule.expires is not None else 0.0,
            }
            for endpoint, (used, state) in list(remotes.items())[-SESSIONS_SHOWN:]
        ],
    }
    _check_rule(described)
    return described


_RULE = {
    "id": int, "protocol": str, "internal": str, "external": str, "remote": str, "explicit": bool,
    "made_by": str, "created": float, "age": float, "packets_out": int, "packets_in": int,
    "bytes_out": int, "bytes_in": int, "session_count": int, "sessions": list,
}  # fmt: skip
_SESSION = {"remote": str, "state": (str, type(None)), "idle": float, "expires_in": float}
_NEWS = ("rule-added", "rule-ended")


def checked_news(event: dict[str, Any]) -> dict[str, Any]:
    """An event as it came from the worker. Raises ValueError or its like if it makes no sense."""
    _check_rule(event["rule"])
    if event["event"] not in _NEWS or not isinstance(event.get("why", ""), str):
        raise ValueError(event["event"])
    return event


def checked_answer(answer: dict[str, Any]) -> dict[str, Any]:
    """The worker's answer to a request. Raises ValueError or its like if it makes no sense."""
    listed = answer.get("rules")
    for rule in listed if isinstance(listed, list) else []:
        _check_rule(rule)
    if "rule" in answer:
        _check_rule(answer["rule"])
    if answer["ok"] is not True and not isinstance(answer["error"], str):
        raise TypeError("ok")
    return answer


def _check_rule(rule: dict[str, Any]) -> None:
    _check(rule, _RULE)
    for session in rule["sessions"]:
        _check(session, _SESSION)


def _check(found: dict[str, Any], wanted: Mapping[str, Any]) -> None:
    for key, kind in wanted.items():
        if not isinstance(found[key], kind):
            raise TypeError(f"`{key}` of a rule is {found[key]!r}")


def news(rule: Rule, why: str | None, now: float, wall: float) -> dict[str, Any]:
    """The event that a rule was made, or that it ended."""
    described = describe(rule, now, wall)
    if why is None:
        return {"event": "rule-added", "time": wall, "rule": described}
    return {"event": "rule-ended", "time": wall, "why": why, "rule": described}
