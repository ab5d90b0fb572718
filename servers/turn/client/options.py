"""What the client's command lines have in common: options, and how a failure is reported."""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Coroutine
from typing import Any

from napt_lab.servers.shared.arguments import address_and_port
from napt_lab.servers.turn.client.endpoint import TurnError
from napt_lab.servers.turn.opaque_string import account_argument


def add_common(parser: argparse.ArgumentParser) -> None:
    """The server, our account there, the peer that may reach us, and how long we wait for it."""
    add = parser.add_argument
    add(
        "--server", type=address_and_port, required=True, metavar="ADDRESS:PORT", help="TURN server"
    )
    add("--user", type=account_argument, required=True, metavar="NAME:PASSWORD")
    add(
        "--permit",
        required=True,
        metavar="ADDRESS",
        help="IP address of the peer, as the server will see it",
    )
    add("--wait", type=float, default=60.0, metavar="SECONDS",
        help="for the peer (default: %(default)s)")  # fmt: skip


def converse(conversation: Coroutine[Any, Any, None]) -> None:
    """Run a conversation with a server; if it fails, exit with status 1 and the reason."""
    try:
        asyncio.run(conversation)
    except (OSError, TurnError) as error:  # asyncio's TimeoutError, an OSError, has no text
        sys.exit(f"turn client: {str(error) or 'timed out waiting for the peer'}")
