"""A NAPT's table as text: two lines a rule, within 80 columns, no endpoint ever broken.

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

WIDTH = 76  # columns; whoever prints may indent a little
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
        endpoints = (rule[key] for key in ("protocol", "internal", "external", "remote"))
        lines.append(_COLUMNS.format(*endpoints).rstrip())
        packets = f"{rule['packets_out']} out, {rule['packets_in']} in"
        text = f"{_life(rule)}; {packets}; made by {rule['made_by']}"
        lines += textwrap.wrap(text, WIDTH, initial_indent=_BELOW, subsequent_indent=_BELOW)
    if total is not None and total > len(rules):
        lines.append(f"… {count(total, 'rule')} in all")
    return lines


def _life(rule: Rule) -> str:
    """The states of a rule's sessions, and how long it would live if it were not used."""
    sessions = rule["sessions"]
    states = Counter(session["state"] or "in use" for session in sessions)
    words = [
        state if len(sessions) == 1 else f"{number} {state}" for state, number in states.items()
    ]
    lease = rule.get("lease")
    if lease and not lease["ended"]:
        words.append(f"leased by {lease['protocol']} for another {lease['expires_in']:.1f} s")
    elif rule["explicit"]:
        words.append("stays until it is removed")
    elif sessions:
        longest = max(session["expires_in"] for session in sessions)
        words.append(f"expires in {max(0.0, longest):.1f} s")
    if any(session.get("carried_by") == "kernel" for session in sessions):
        words.append("carried by the kernel")
    return ", ".join(words).replace("_", " ") or "ending"
