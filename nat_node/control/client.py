"""A client of the control socket for people: `napt rules|add|remove|flush|stats|events`."""

from __future__ import annotations

import argparse
import json
import signal
import socket
import sys

from napt_lab.nat_node.control.rule_lines import count, rule_lines

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
        print(f"{count(answer['rules'], 'rule')}, {count(answer['sessions'], 'session')}")
        for reason, packets in sorted(answer["drops"].items()):
            print(f"{packets:>8}  {reason}")
    elif arguments.command == "flush":
        print(f"{count(answer['ended'], 'session')} ended")
    elif arguments.command == "rules":
        print(*rule_lines(answer["rules"], answer["total"]), sep="\n")
    else:
        done = "added" if arguments.command == "add" else "removed"
        rule = answer["rule"]
        print(f"{done}: {rule['protocol']} {rule['external']} -> {rule['internal']}")
    return 0
