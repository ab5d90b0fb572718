"""What the client's command lines have in common."""

from __future__ import annotations

import argparse

from servers.turn.attributes import Address


def add_common(parser: argparse.ArgumentParser) -> None:
    """The server, who we are there, who may reach us, and how long we wait for it."""
    add = parser.add_argument
    add("--server", type=address, required=True, metavar="ADDRESS:PORT", help="TURN server")
    add("--user", type=user, required=True, metavar="NAME:PASSWORD")
    add(
        "--permit",
        required=True,
        metavar="ADDRESS",
        help="IP address of the peer, as the server will see it",
    )
    add("--wait", type=float, default=60.0, metavar="SECONDS",
        help="for the peer (default: %(default)s)")  # fmt: skip


def address(argument: str) -> Address:
    host, _, port = argument.rpartition(":")
    return host, int(port)


def user(argument: str) -> tuple[str, str]:
    name, _, password = argument.partition(":")
    return name, password
