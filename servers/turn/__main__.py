"""Command line: `turn-server --realm napt.lab --user alice:secret …`."""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sys
from ipaddress import IPv4Address, IPv4Network
from random import SystemRandom

from napt_lab.servers.shared import descriptors
from napt_lab.servers.shared.arguments import port_number
from napt_lab.servers.shared.destinations import is_own
from napt_lab.servers.shared.events import emit
from napt_lab.servers.turn.credentials import Credentials
from napt_lab.servers.turn.framing import CHANNELS, RFC5766_CHANNELS
from napt_lab.servers.turn.opaque_string import account_argument, realm_argument
from napt_lab.servers.turn.policy import PeerPolicy
from napt_lab.servers.turn.quota import Limits, Quota
from napt_lab.servers.turn.relayed_addresses import Ports
from napt_lab.servers.turn.sockets import Sockets
from napt_lab.servers.turn.turn_server import TurnServer


def main() -> None:
    options = _arguments()
    try:
        asyncio.run(_serve(options))
    except OSError as error:
        reason = os.strerror(error.errno or 0)
        sys.exit(f"turn: cannot serve on {options.listen}:{options.port}: {reason}")


async def _serve(options: argparse.Namespace) -> None:
    descriptors.take_all()  # an allocation takes two, a data connection seven
    random = SystemRandom()
    server = TurnServer(
        credentials=Credentials(
            options.realm, dict(options.user), random.randbytes, options.nonce_lifetime
        ),
        policy=PeerPolicy(str(options.relay_address), is_own, options.allow_peer),
        ports=Ports(str(options.relay_address)),
        relay_ports=options.relay_ports,
        limits=Limits(
            user=Quota(options.user_allocations, options.user_bandwidth),
            client=Quota(options.client_allocations, options.client_bandwidth),
        ),
        rng=random,
        channels=RFC5766_CHANNELS if options.channels == "rfc5766" else CHANNELS,
    )
    sockets = Sockets(server)
    await sockets.listen(str(options.listen), options.port)
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        sockets.loop.add_signal_handler(number, stopped.set)
    listening = f"{options.listen}:{options.port}"
    emit("ready", listening=[listening], relay=str(options.relay_address), realm=options.realm)
    await stopped.wait()
    await sockets.close()


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="turn-server", description="A TURN server (RFC 8656, RFC 6062)."
    )
    add = parser.add_argument
    add(
        "--listen",
        type=IPv4Address,
        default=IPv4Address("0.0.0.0"),
        metavar="ADDRESS",
        help="address for clients; name it if this machine has several (default: %(default)s)",
    )
    add("--port", type=port_number, default=3478, help="UDP and TCP port (default: %(default)s)")
    add(
        "--realm",
        type=realm_argument,
        required=True,
        help="the realm of the credentials, such as napt.lab",
    )
    add(
        "--user",
        type=account_argument,
        action="append",
        required=True,
        metavar="NAME:PASSWORD",
        help="a user that may allocate; may be repeated",
    )
    add(
        "--relay-address",
        type=IPv4Address,
        required=True,
        metavar="ADDRESS",
        help="address of this machine on which allocations are made",
    )
    add(
        "--relay-ports",
        type=_ports,
        default=range(49152, 65536),
        metavar="FIRST-LAST",
        help="ports for allocations (default: 49152-65535)",
    )
    add(
        "--allow-peer",
        type=IPv4Network,
        action="append",
        default=[],
        metavar="CIDR",
        help="also relay to this network, though it is private, loopback or ours; may be repeated",
    )
    add(
        "--user-allocations",
        type=int,
        default=64,
        metavar="N",
        help="allocations a user may have at once (default: %(default)s)",
    )
    add(
        "--client-allocations",
        type=int,
        default=32,  # fewer than a user's: a host must not use up an account that it shares
        metavar="N",
        help="allocations a client's IP address may have at once (default: %(default)s)",
    )
    add(
        "--user-bandwidth",
        type=int,
        default=0,
        metavar="BYTES/S",
        help="bytes/s relayed for a user, both ways together (default: 0, unlimited)",
    )
    add(
        "--client-bandwidth",
        type=int,
        default=0,
        metavar="BYTES/S",
        help="bytes/s relayed for a client's IP address (default: 0, unlimited)",
    )
    add(
        "--nonce-lifetime",
        type=float,
        default=3600.0,
        metavar="SECONDS",
        help="seconds until a nonce is stale (default: %(default)s)",
    )
    add(
        "--channels",
        choices=("rfc8656", "rfc5766"),
        default="rfc8656",
        help="channel numbers: 0x4000-0x4FFF, or for older clients 0x4000-0x7FFF "
        "(default: %(default)s)",
    )
    return parser.parse_args()


def _ports(text: str) -> range:
    first, _, last = text.partition("-")
    ports = range(port_number(first), port_number(last) + 1)
    if not ports or ports[0] < 1024 or ports[-1] > 65535:
        raise argparse.ArgumentTypeError("FIRST-LAST within 1024-65535 is needed")
    return ports


if __name__ == "__main__":
    main()
