"""What the client's command lines have in common: options, and how a conversation ends."""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Coroutine
from typing import Any

from napt_lab.servers.shared.arguments import account, address_and_port
from napt_lab.servers.turn.client.endpoint import TurnError


def add_common(parser: argparse.ArgumentParser) -> None:
    """The server, who we are there, who may reach us, and how long we wait for it."""
    add = parser.add_argument
    add(
        "--server", type=address_and_port, required=True, metavar="ADDRESS:PORT", help="TURN server"
    )
    add("--user", type=account, required=True, metavar="NAME:PASSWORD")
    add(
        "--permit",
        required=True,
        metavar="ADDRESS",
        help="IP address of the peer, as the server will see it",
    )
    add("--wait", type=float, default=60.0, metavar="SECONDS",
        help="for the peer (default: %(default)s)")  # fmt: skip


def converse(conversation: Coroutine[Any, Any, None]) -> None:
    """Have a conversation; if it fails, exit with status 1 and why."""
    try:
        asyncio.run(conversation)
    except (OSError, TurnError) as error:  # asyncio's TimeoutError, an OSError, has no words
        sys.exit(f"turn client: {str(error) or 'nobody came in time'}")
