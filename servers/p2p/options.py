"""The command line of the two punchers: where the peer is, and what is sent to it."""

from __future__ import annotations

import argparse
import socket

from napt_lab.servers.shared.arguments import (
    address_and_port,
    file_to_send,
    file_to_write,
    port_number,
)
from napt_lab.servers.stun.attributes import Address


def stun_server(text: str) -> Address:
    """A STUN server; without a port it is 3478."""
    host, port = address_and_port(text if ":" in text else f"{text}:3478")
    try:
        return socket.gethostbyname(host), port
    except OSError:
        raise argparse.ArgumentTypeError(f"{host!r} is neither an address nor a host") from None


def puncher(name: str, description: str) -> argparse.ArgumentParser:
    """The options that both have."""
    parser = argparse.ArgumentParser(prog=name, description=description)
    add = parser.add_argument
    add("--port", type=port_number, default=0, help="own port (default: a free one)")
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--peer", type=address_and_port, metavar="ADDRESS:PORT",
                       help="the peer's endpoint outside")  # fmt: skip
    where.add_argument("--meet", type=address_and_port, metavar="RELAY:PORT",
                       help="where the peers tell each other their endpoints")  # fmt: skip
    add(
        "--stun", type=stun_server, metavar="SERVER[:PORT]", help="for --meet: it tells the own one"
    )
    add("--word", default="", metavar="TOKEN", help="for --meet: what both say, 32 hex digits")
    one_way = parser.add_mutually_exclusive_group()
    one_way.add_argument("--send", type=file_to_send, metavar="FILE")
    one_way.add_argument("--receive", type=file_to_write, metavar="FILE")
    add("--wait", type=float, default=10.0, metavar="SECONDS",
        help="for the peer (default: %(default)s)")  # fmt: skip
    return parser


def parse(parser: argparse.ArgumentParser) -> argparse.Namespace:
    """What was typed. Ends the program if it is wrong."""
    options = parser.parse_args()
    if options.meet and not (options.stun and options.word):
        parser.error("--meet needs --stun and --word")
    return options
