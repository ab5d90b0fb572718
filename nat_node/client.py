"""A client of the control socket for people: `python -m nat_node rules|add|remove|stats|events`."""

from __future__ import annotations

import argparse
import json
import socket
import sys
from typing import Any

_TIMEOUT = 5.0


def talk(arguments: argparse.Namespace) -> int:
    """Send one request and print the answer. Returns 1 if it was refused or nobody listens."""
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
        print(f"{answer['rules']} rules, {answer['sessions']} sessions")
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
    columns = "{:<5} {:<21} {:<21} {:<21} {:>8} {:>8}  {}"
    print(columns.format("proto", "internal", "external", "remote", "out", "in", "made by"))
    for rule in answer["rules"]:
        print(
            columns.format(
                rule["protocol"], rule["internal"], rule["external"], rule["remote"],
                rule["packets_out"], rule["packets_in"], rule["made_by"],
            )
        )  # fmt: skip
    if answer["total"] > len(answer["rules"]):
        print(f"… {answer['total']} rules in all")
