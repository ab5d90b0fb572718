"""A client of the control socket for people: `napt rules|add|remove|stats|events`."""

from __future__ import annotations

import argparse
import json
import signal
import socket
import sys
import textwrap
from collections import Counter
from typing import Any

_TIMEOUT = 5.0


def talk(arguments: argparse.Namespace) -> int:
    """Send one request and print the answer. Returns 1 if it was refused or could not be sent."""
    if arguments.control is None:
        print(
            "nat_node: --control PATH (or NAPT_CONTROL) says which NAPT is meant", file=sys.stderr
        )
        return 2
    request = {"do": arguments.command}
    for name in ("protocol", "external", "internal"):
        if (value := getattr(arguments, name, None)) is not None:
            request[name] = value
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(_TIMEOUT)
            connection.connect(str(arguments.control))
            lines = connection.makefile("r", encoding="utf-8")
            connection.sendall(json.dumps(request).encode() + b"\n")
            answer = json.loads(lines.readline() or "{}")
            # Nothing is sent any more; the reader of our output may end (| head).
            signal.signal(signal.SIGPIPE, signal.SIG_DFL)
            if arguments.command == "events" and answer.get("ok"):
                connection.settimeout(None)
                for line in lines:
                    print(line, end="", flush=True)
                return 0
    except (OSError, ValueError) as error:
        print(f"nat_node: {arguments.control}: {error}", file=sys.stderr)
        return 1
    if not answer.get("ok"):
        print(f"nat_node: {answer.get('error', 'no answer')}", file=sys.stderr)
        return 1
    if arguments.json:
        print(json.dumps(answer))
    elif arguments.command == "stats":
        print(f"{_count(answer['rules'], 'rule')}, {_count(answer['sessions'], 'session')}")
        for reason, count in sorted(answer["drops"].items()):
            print(f"{count:>8}  {reason}")
    elif arguments.command == "rules":
        _print_rules(answer)
    else:
        done = "added" if arguments.command == "add" else "removed"
        rule = answer["rule"]
        print(f"{done}: {rule['protocol']} {rule['external']} -> {rule['internal']}")
    return 0


def _print_rules(answer: dict[str, Any]) -> None:
    """Two lines a rule, within 79 columns; an endpoint is never broken."""
    if not answer["rules"]:
        print("no rules")
        return
    columns = "{:<5} {:<21} {:<21} {}"
    print(columns.format("proto", "internal", "external", "remote"))
    for rule in answer["rules"]:
        endpoints = (rule[key] for key in ("protocol", "internal", "external", "remote"))
        print(columns.format(*endpoints))
        packets = f"{rule['packets_out']} out, {rule['packets_in']} in"
        text = f"{life(rule)}; {packets}; made by {rule['made_by']}"
        below = " " * 6
        print(textwrap.fill(text, 79, initial_indent=below, subsequent_indent=below))
    if answer["total"] > len(answer["rules"]):
        print(f"… {_count(answer['total'], 'rule')} in all")


def life(rule: dict[str, Any]) -> str:
    """How long a rule stays, and the states of the sessions that use it.

    A rule made by a packet lives as long as they do; one that stays by itself is not closed when
    a connection through it is. labs/stage/rule_lines.py says the same.
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
    return f"{stays}; {_count(_number(rule), noun)} through it: {_states(rule)}"


def _states(rule: dict[str, Any]) -> str:
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


def _number(rule: dict[str, Any]) -> int:
    return int(rule.get("session_count", len(rule["sessions"])))


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
