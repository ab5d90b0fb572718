"""A NAPT's table as text: two lines a rule, within 80 columns, no endpoint broken.

proto internal              external              remote
tcp   10.0.0.7:40001        24.9.3.7:40001        151.101.1.69:80
      established, expires in 7440 s; 5 out, 4 in; made by SYN from …
"""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Sequence
from typing import Any

Rule = dict[str, Any]

WIDTH = 76  # columns, so that the caller may indent
_COLUMNS = "{:<5} {:<21} {:<21} {:<21}"
_BELOW = " " * 6


def count(number: int, noun: str) -> str:
    """`1 rule`, `2 rules`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def rule_lines(rules: Sequence[Rule], total: int | None = None) -> list[str]:
    """A heading, the rules, and how many of `total` were left out."""
    if not rules:
        return ["no rules"]
    lines = [_COLUMNS.format("proto", "internal", "external", "remote").rstrip()]
    for rule in rules:
        endpoints = (rule[key] for key in ("protocol", "internal", "external"))
        lines.append(_COLUMNS.format(*endpoints, remote(rule)).rstrip())
        packets = f"{rule['packets_out']} out, {rule['packets_in']} in"
        text = f"{life(rule)}; {packets}; made by {rule['made_by']}"
        lines += textwrap.wrap(text, WIDTH, initial_indent=_BELOW, subsequent_indent=_BELOW)
    if total is not None and total > len(rules):
        lines.append(f"… {count(total, 'rule')} in all")
    return lines


def remote(rule: Rule) -> str:
    """Which remote endpoints a rule is for: those of its lease's filters, if it has any."""
    lease = rule.get("lease") or {}
    filters = lease.get("filters") or [rule["remote"]]
    return f"{filters[0]} …" if len(filters) > 1 else str(filters[0])


def life(rule: Rule) -> str:
    """How long a rule stays, and the states of the sessions that use it.

    A rule made by a packet lives as long as they do; one that stays by itself is not closed when
    a connection through it is.
    """
    sessions = rule["sessions"]
    lease = rule.get("lease")  # a student's translator knows none
    if lease and not lease["ended"]:
        stays = f"leased by {lease['protocol']} for another {lease['expires_in']:.1f} s"
    elif rule["explicit"]:
        stays = "stays until it is removed"
    elif sessions:
        longest = max(session["expires_in"] for session in sessions)
        return f"{_states(rule)}, expires in {max(0.0, longest):.1f} s"
    else:
        return "ending"
    if not sessions:
        return stays
    noun = "connection" if rule["protocol"] == "tcp" else "session"
    return f"{stays}; {count(_number(rule), noun)} through it: {_states(rule)}"


def _states(rule: Rule) -> str:
    """What the sessions that are listed do, and how many are not listed."""
    sessions = rule["sessions"]
    states = Counter(session["state"] or "in use" for session in sessions)
    words = [
        state if len(sessions) == 1 else f"{number} {state}" for state, number in states.items()
    ]
    if _number(rule) > len(sessions):
        words.append(f"{_number(rule) - len(sessions):,} more")
    if any(session.get("carried_by") == "kernel" for session in sessions):
        words.append("carried by the kernel")
    return ", ".join(words).replace("_", " ")


def _number(rule: Rule) -> int:
    return int(rule.get("session_count", len(rule["sessions"])))
