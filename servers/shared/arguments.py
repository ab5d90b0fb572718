"""What several servers have on their command lines: how a word is read, and options in common.

All parsers are argparse types: they raise ArgumentTypeError with a message for the user.
"""

from __future__ import annotations

import argparse
import os
from ipaddress import IPv4Network
from pathlib import Path


def port_number(text: str) -> int:
    """A TCP or UDP port; 0 lets the kernel choose."""
    if not (text.isdecimal() and text.isascii() and len(text) < 6 and int(text) < 65_536):
        raise argparse.ArgumentTypeError(f"{text!r} is not a port, 0 to 65535")
    return int(text)


def address_and_port(text: str) -> tuple[str, int]:
    """A server, as in 198.51.100.11:9000."""
    host, _, port = text.rpartition(":")
    if not host:
        raise argparse.ArgumentTypeError(f"{text!r} is not ADDRESS:PORT")
    return host, port_number(port)


def file_to_send(text: str) -> Path:
    """A file that exists and can be read."""
    path = Path(text)
    if path.is_dir():
        raise argparse.ArgumentTypeError(f"{text}: is a folder")
    if not path.exists():
        raise argparse.ArgumentTypeError(f"{text}: no such file")
    if not os.access(path, os.R_OK):
        raise argparse.ArgumentTypeError(f"{text}: permission denied")
    return path


def file_to_write(text: str) -> Path:
    """Where a file can be written."""
    path = Path(text)
    if path.is_dir():
        raise argparse.ArgumentTypeError(f"{text}: is a folder")
    if not path.parent.is_dir():
        raise argparse.ArgumentTypeError(f"{text}: no such folder: {path.parent}")
    is_device = path.exists() and not path.is_file()  # else the file is put into its folder
    if not os.access(path if is_device else path.parent, os.W_OK):
        raise argparse.ArgumentTypeError(f"{text}: permission denied")
    return path


def account(text: str) -> tuple[str, str]:
    """A user and a password."""
    name, _, password = text.partition(":")
    if not (name and password):
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME:PASSWORD")
    return name, password


def add_proxying(parser: argparse.ArgumentParser) -> None:
    """Where a proxy listens and connects from, what it may reach, and how many clients at once."""
    add = parser.add_argument
    add("--device", metavar="INTERFACE", help="serve only what arrives on this interface")
    add("--source", metavar="ADDRESS", help="own address to connect from")
    add(
        "--allow",
        metavar="CIDR",
        type=IPv4Network,
        action="append",
        default=[],
        help="network that may be reached although it is not public; can be repeated",
    )
    add("--connect-time", type=float, default=10, help="seconds, default: %(default)s")
    add("--connections", type=int, default=500, help="at most at once, default: %(default)s")
    add("--per-client", type=int, default=100, help="of one address, default: %(default)s")
