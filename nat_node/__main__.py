"""The command line: `napt run …`, and a client of its control socket."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from enum import Enum
from pathlib import Path
from typing import Any

from napt_lab.nat_node.core.settings import PORT_CONTROL, SETTINGS

_METAVARS = {"": "FIRST-LAST", "s": "SECONDS"}  # by a setting's unit


def main(argv: Sequence[str] | None = None) -> int:
    """Run a NAPT or talk to one. Exit status: 0 done, 1 refused or cannot run, 2 wrong usage."""
    arguments = _parser().parse_args(argv)
    if arguments.command == "run":
        from napt_lab.nat_node.startup import run

        return run(arguments)
    from napt_lab.nat_node.control.client import talk

    return talk(arguments)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="napt", description="A NAPT (RFC 3022) in Python, and its control."
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    run = commands.add_parser("run", help="translate between two interfaces of this namespace")
    run.add_argument("--inside", required=True, metavar="IFACE", help="towards the private side")
    run.add_argument("--outside", required=True, metavar="IFACE", help="towards the public side")
    run.add_argument(
        "--external",
        action="append",
        required=True,
        metavar="ADDRESS",
        help="e.g. 24.9.3.7; given several times: a pool of addresses",
    )
    run.add_argument("--internal", required=True, metavar="ADDRESS/N", help="e.g. 10.0.0.1/24")
    for setting in (*SETTINGS, *PORT_CONTROL):
        how: dict[str, Any] = {"metavar": _METAVARS.get(setting.unit, "N")}
        if setting.kind is bool:
            how = {"action": argparse.BooleanOptionalAction}
        elif issubclass(setting.kind, Enum):
            how = {"choices": [member.value for member in setting.kind]}
        rfc = f" ({setting.rfc})" if setting.rfc else ""
        run.add_argument(setting.option, help=f"{setting.what}{rfc}", **how)
    run.add_argument(
        "--port-control",
        action="store_true",
        help="inside hosts may ask for explicit rules (PCP, NAT-PMP)",
    )
    run.add_argument(
        "--datapath",
        choices=("python", "kernel"),
        default="python",
        help="who carries the packets of established flows",
    )
    run.add_argument(
        "--engine",
        choices=("python", "nftables"),
        default="python",
        help="who translates; nftables: the kernel, with the tables that are loaded already",
    )
    run.add_argument(
        "--host",
        action="append",
        default=[],
        metavar="ADDRESS",
        help="an inside host that explicit rules may lead to (all, if none is given)",
    )
    run.add_argument(
        "--rule",
        action="append",
        default=[],
        metavar="'tcp 8080 -> 10.0.0.7:8080'",
        help="an explicit rule from the start; with a pool also 'tcp 24.9.3.8:8080 -> …'",
    )

    run.add_argument(
        "--translator", type=Path, metavar="FILE", help="a translate(packet, now) of your own"
    )
    run.add_argument(
        "--state",
        type=Path,
        metavar="PATH",
        help="where rules are kept for the case that the translator is killed "
        "(default: the control socket's path and .state)",
    )

    rules = commands.add_parser("rules", help="list the rules")
    add = commands.add_parser("add", help="add an explicit rule (port forwarding)")
    remove = commands.add_parser("remove", help="remove an explicit rule")
    for command in (add, remove):
        command.add_argument("protocol", choices=("tcp", "udp"))
        command.add_argument("external", help="e.g. 24.9.3.7:8080")
    add.add_argument("internal", help="e.g. 10.0.0.7:8080")
    flush = commands.add_parser("flush", help="end all sessions; only explicit rules stay")
    stats = commands.add_parser("stats", help="counts of rules, sessions and drops by reason")
    events = commands.add_parser("events", help="rules made and ended, packets dropped, as JSON")
    for command in (rules, add, remove, flush, stats, events):
        command.add_argument("--json", action="store_true", help="print the answer as it comes")
    for command in (run, rules, add, remove, flush, stats, events):
        command.add_argument(
            "--control",
            type=Path,
            metavar="PATH",
            default=os.environ.get("NAPT_CONTROL"),
            help="the control socket (default: $NAPT_CONTROL)",
        )
    return parser


if __name__ == "__main__":
    sys.exit(main())
