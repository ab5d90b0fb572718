"""The command line of the PCP client: `pcp map|delete|announce …`.

Each answer is a JSON line on standard output. Exit status: 0 granted, 1 refused or no answer,
2 wrong usage.
"""

from __future__ import annotations

import argparse
import secrets
import sys
from ipaddress import IPv4Address, IPv4Network

from napt_lab.servers.pcp.client import PORT, Client, default_gateway, forge
from napt_lab.servers.pcp.keeping import delete, keep
from napt_lab.servers.pcp.messages import ANNOUNCE, MAP, PROTOCOLS, Answer, Mapping, Refused, header
from napt_lab.servers.shared.arguments import port_number
from napt_lab.servers.shared.events import emit


def tell(event: str, answer: Answer, mapping: Mapping) -> None:
    """One JSON line about a mapping."""
    emit(
        event,
        protocol=mapping.protocol,
        port=mapping.port,
        external=f"{mapping.external_address}:{mapping.external_port}",
        lifetime=answer.lifetime,
        epoch=answer.epoch,
        nonce=mapping.nonce.hex(),
    )


def main() -> int:
    """Do what the command line says; returns the exit status."""
    options = _arguments()
    try:
        server = options.server or default_gateway()
        if options.forge is not None:
            return _forge(options, server)
        client = Client(server, options.wait)
        if options.command == "announce":
            answer = client.ask(ANNOUNCE, 0)
            emit("announce", epoch=answer.epoch, result=answer.result)
            return 0
        wanted = _mapping(options)
        if options.command == "delete":
            delete(client, wanted)
            return 0
        answer, mapping = client.map(wanted, options.lifetime)
        tell("granted", answer, mapping)
        if options.keep:
            keep(client, server, mapping, answer, tell)
    except (Refused, OSError) as error:
        print(f"pcp: {error}", file=sys.stderr)
        return 1
    return 0


def _mapping(options: argparse.Namespace) -> Mapping:
    if options.command == "delete":
        return Mapping(options.protocol, options.port, options.nonce)
    return Mapping(
        options.protocol, options.port, options.nonce, options.external,
        prefer_failure=options.exactly, only=tuple(options.only),
    )  # fmt: skip


def _forge(options: argparse.Namespace, server: str) -> int:
    if options.command == "announce":
        request = header(ANNOUNCE, 0, options.forge)
    else:
        lifetime = options.lifetime if options.command == "map" else 0
        request = header(MAP, lifetime, options.forge) + _mapping(options).opcode_data()
    forge(options.forge, server, request)
    emit("forged", source=str(options.forge), server=f"{server}:{PORT}")
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="pcp", description="Ask the NAPT for an explicit rule (RFC 6887)."
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    ask = commands.add_parser("map", help="ask for a rule, or renew it")
    end = commands.add_parser("delete", help="give a rule back")
    hello = commands.add_parser("announce", help="ask whether the NAPT listens")
    for command in (ask, end):
        command.add_argument("protocol", choices=tuple(PROTOCOLS))
        command.add_argument("port", type=_port, help="this PC's own port")
    ask.add_argument("--external", type=_port, default=0, metavar="PORT", help="suggested")
    ask.add_argument("--exactly", action="store_true", help="only that port (PREFER_FAILURE)")
    ask.add_argument("--lifetime", type=int, default=3600, metavar="SECONDS")
    ask.add_argument(
        "--only", type=IPv4Network, action="append", default=[], metavar="ADDRESS[/N]",
        help="remote hosts that may connect (FILTER); can be repeated",
    )  # fmt: skip
    ask.add_argument("--keep", action="store_true", help="renew it until Ctrl-C, then delete it")
    ask.add_argument("--nonce", type=_nonce, default=secrets.token_bytes(12), metavar="HEX")
    end.add_argument("--nonce", type=_nonce, required=True, metavar="HEX", help="as `granted` said")
    for command in (ask, end, hello):
        command.add_argument("--server", metavar="ADDRESS", help="default: the default gateway")
        command.add_argument(
            "--forge", type=IPv4Address, metavar="ADDRESS", help="pretend to be another PC"
        )
        command.add_argument("--wait", type=float, default=10.0, metavar="SECONDS")
    options = parser.parse_args()
    if options.command == "map" and not 0 < options.lifetime < 1 << 32:
        parser.error(f"--lifetime {options.lifetime} is not valid: 1 to {(1 << 32) - 1} seconds")
    return options


def _port(text: str) -> int:
    port = port_number(text)
    if not port:
        raise argparse.ArgumentTypeError("port 0 is not valid (RFC 6335)")
    return port


def _nonce(text: str) -> bytes:
    nonce = bytes.fromhex(text)
    if len(nonce) != 12:
        raise argparse.ArgumentTypeError(f"{text!r} is not a nonce of 24 hexadecimal digits")
    return nonce


if __name__ == "__main__":
    sys.exit(main())
