"""A PCP client (RFC 6887): ask this PC's NAPT for an explicit rule, as programs do.

    python -m servers.pcp map tcp 8080                a rule for this PC's TCP port 8080
    python -m servers.pcp map tcp 8080 --keep         … renewed in time, deleted at Ctrl-C
    python -m servers.pcp delete tcp 8080 --nonce …   its owner takes it back
    python -m servers.pcp announce                    does the NAPT listen, and since when?

Theory of operation
-------------------
The NAPT is the default gateway. One datagram asks and one answers; the answer is believed if it
comes from the NAPT and repeats our nonce, protocol and port. What is not answered is sent again
after about 3 s, 6 s, … with the same nonce, so that it does not matter which of them was lost.

The rule is for a lifetime only. `--keep` asks again after half of it, with the endpoint that was
assigned: a NAPT that has forgotten everything then gives the same one again, if it is free.

Each answer is a JSON line on standard output. Exit status: 0 granted, 1 refused or no answer,
2 wrong usage.
"""

from __future__ import annotations

import argparse
import random
import secrets
import signal
import socket
import struct
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address
from pathlib import Path

from servers.events import emit

PORT = 5351
VERSION = 2
ANNOUNCE, MAP = 0, 1
PREFER_FAILURE, FILTER = 2, 3
PROTOCOLS = {"tcp": 6, "udp": 17}
NO_ADDRESS = IPv4Address(0)
FIRST_TIMEOUT = 3.0  # seconds (section 8.1.1)
MIN_PAUSE = 4.0  # seconds between two renewals (section 11.2.1)
RESULTS = (
    "SUCCESS", "UNSUPP_VERSION", "NOT_AUTHORIZED", "MALFORMED_REQUEST", "UNSUPP_OPCODE",
    "UNSUPP_OPTION", "MALFORMED_OPTION", "NETWORK_FAILURE", "NO_RESOURCES", "UNSUPP_PROTOCOL",
    "USER_EX_QUOTA", "CANNOT_PROVIDE_EXTERNAL", "ADDRESS_MISMATCH", "EXCESSIVE_REMOTE_PEERS",
)  # fmt: skip

_HEADER = struct.Struct("!BBHI16s")  # of a request
_ANSWER = struct.Struct("!BBBBII12x")
_MAP = struct.Struct("!12sB3xHH16s")


class Refused(Exception):
    """The NAPT's answer is an error, or there is none; the text says which."""


@dataclass(frozen=True, slots=True)
class Mapping:
    """What is asked for; `external` is a suggestion, 0 and 0.0.0.0 where there is none."""

    protocol: str
    port: int
    nonce: bytes
    external_port: int = 0
    external_address: IPv4Address = NO_ADDRESS
    prefer_failure: bool = False
    only: tuple[IPv4Network, ...] = ()

    def opcode_data(self) -> bytes:
        """The part of the message behind the header."""
        address = in_ipv6(self.external_address)
        number = PROTOCOLS[self.protocol]
        data = _MAP.pack(self.nonce, number, self.port, self.external_port, address)
        if self.prefer_failure:
            data += struct.pack("!BxH", PREFER_FAILURE, 0)
        for network in self.only:
            data += struct.pack("!BxHxBH", FILTER, 20, 96 + network.prefixlen, 0)
            data += in_ipv6(network.network_address)
        return data


@dataclass(frozen=True, slots=True)
class Answer:
    """A response. Times are in seconds."""

    result: int
    lifetime: int
    epoch: int
    data: bytes


class Client:
    """Asks one NAPT; `patience` is how many seconds it may take to answer."""

    def __init__(self, server: str, patience: float) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.connect((server, PORT))
        self._own = IPv4Address(self._socket.getsockname()[0])
        self._patience = patience

    def ask(self, opcode: int, lifetime: int, data: bytes = b"", match: int = 0) -> Answer:
        """Send a request until it is answered. The answer's data begin as ours, for `match` bytes.

        Raises Refused if there is no answer.
        """
        request = header(opcode, lifetime, self._own) + data
        deadline = time.monotonic() + self._patience
        timeout = FIRST_TIMEOUT
        while time.monotonic() < deadline:
            timeout *= random.uniform(0.9, 1.1)
            self._socket.send(request)
            until = min(deadline, time.monotonic() + timeout)
            while (left := until - time.monotonic()) > 0:
                self._socket.settimeout(left)
                try:
                    answer = read_answer(self._socket.recv(2048), opcode)
                except TimeoutError:
                    break
                except ConnectionRefusedError:
                    raise Refused("nobody listens there: port control is off") from None
                if answer is not None and answer.data[:match] == data[:match]:
                    return answer
            timeout *= 2
        raise Refused(f"no answer within {self._patience:g} s")

    def map(self, wanted: Mapping, lifetime: int) -> tuple[Answer, Mapping]:
        """Ask for a mapping, or with lifetime 0 for its end; returns it as it was assigned.

        Raises Refused.
        """
        data = wanted.opcode_data()
        # Nonce, protocol and internal port: what the NAPT copies.
        answer = self.ask(MAP, lifetime, data, match=18)
        if answer.result:
            name = dict(enumerate(RESULTS)).get(answer.result, f"error {answer.result}")
            raise Refused(f"{name} (for another {answer.lifetime} s)")
        nonce, _, _, port, address = _MAP.unpack_from(answer.data)
        assigned = Mapping(
            wanted.protocol, wanted.port, nonce, port, IPv4Address(address[12:]), only=wanted.only
        )
        return answer, assigned


def read_answer(data: bytes, opcode: int) -> Answer | None:
    """A response to such a request; None if the bytes are none (section 8.3). Raises Refused."""
    if len(data) >= 4 and data[0] != VERSION:
        raise Refused("this NAPT has an older protocol: try natpmpc, which speaks NAT-PMP")
    if not _ANSWER.size <= len(data) <= 1100 or len(data) % 4 or data[1] != 0x80 | opcode:
        return None
    _, _, _, result, lifetime, epoch = _ANSWER.unpack_from(data)
    rest = data[_ANSWER.size :]
    return Answer(result, lifetime, epoch, rest) if opcode != MAP or len(rest) >= 36 else None


def header(opcode: int, lifetime: int, client: IPv4Address) -> bytes:
    """What every request begins with (section 7.1)."""
    return _HEADER.pack(VERSION, opcode, 0, lifetime, in_ipv6(client))


def forge(source: IPv4Address, server: str, request: bytes) -> None:
    """Send a request under somebody else's address, who also gets the answer. Takes root."""
    port = random.randint(1024, 65535)
    udp = struct.pack("!HHHH", port, PORT, 8 + len(request), 0)  # no checksum
    # The kernel fills in lengths, identification and the header's checksum.
    ip = struct.pack("!BxHHHBBH", 0x45, 0, 0, 0, 64, socket.IPPROTO_UDP, 0)
    ip += source.packed + socket.inet_aton(server)
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW) as raw:
        raw.sendto(ip + udp + request, (server, 0))


def in_ipv6(address: IPv4Address) -> bytes:
    """An IPv4 address as PCP writes it (section 5)."""
    return IPv6Address(f"::ffff:{address}").packed


def default_gateway() -> str:
    """The address that packets to anywhere go to. Raises Refused if there is none."""
    for line in Path("/proc/net/route").read_text().splitlines()[1:]:
        _, destination, gateway, flags, *_ = line.split()
        if destination == "00000000" and int(flags, 16) & 2:
            return socket.inet_ntoa(struct.pack("=I", int(gateway, 16)))
    raise Refused("this PC has no default gateway: say --server ADDRESS")


def keep(client: Client, mapping: Mapping, lifetime: int, tell: Callable[..., None]) -> None:
    """Renew a mapping until SIGTERM or Ctrl-C, then delete it."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    granted = lifetime
    try:
        while True:
            # Section 11.2.1: between 1/2 and 5/8 of its life, so that not every PC asks at once.
            time.sleep(max(MIN_PAUSE, granted * random.uniform(1 / 2, 5 / 8)))
            answer, mapping = client.map(mapping, lifetime)
            granted = answer.lifetime
            tell("renewed", answer, mapping)
    except KeyboardInterrupt:
        delete(client, mapping, tell)


def delete(client: Client, mapping: Mapping, tell: Callable[..., None]) -> None:
    """Give a mapping back."""
    answer, _ = client.map(Mapping(mapping.protocol, mapping.port, mapping.nonce), 0)
    tell("deleted", answer, mapping)


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
            delete(client, wanted, tell)
            return 0
        answer, mapping = client.map(wanted, options.lifetime)
        tell("granted", answer, mapping)
        if options.keep:
            keep(client, mapping, options.lifetime, tell)
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
        prog="python -m servers.pcp", description="Ask the NAPT for an explicit rule (RFC 6887)."
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    ask = commands.add_parser("map", help="ask for a rule, or renew it")
    end = commands.add_parser("delete", help="give a rule back")
    hello = commands.add_parser("announce", help="ask whether the NAPT listens")
    for command in (ask, end):
        command.add_argument("protocol", choices=tuple(PROTOCOLS))
        command.add_argument("port", type=_port, help="this PC's own port")
    ask.add_argument("--external", type=_port, default=0, metavar="PORT", help="suggested")
    ask.add_argument("--exactly", action="store_true", help="that port or none (PREFER_FAILURE)")
    ask.add_argument("--lifetime", type=int, default=3600, metavar="SECONDS")
    ask.add_argument(
        "--only", type=IPv4Network, action="append", default=[], metavar="ADDRESS[/N]",
        help="who may come in (FILTER); may be given several times",
    )  # fmt: skip
    ask.add_argument("--keep", action="store_true", help="renew it until Ctrl-C, then delete it")
    ask.add_argument("--nonce", type=_nonce, default=secrets.token_bytes(12), metavar="HEX")
    end.add_argument("--nonce", type=_nonce, required=True, metavar="HEX", help="as it was told")
    for command in (ask, end, hello):
        command.add_argument("--server", metavar="ADDRESS", help="default: the default gateway")
        command.add_argument(
            "--forge", type=IPv4Address, metavar="ADDRESS", help="pretend to be another PC"
        )
        command.add_argument("--wait", type=float, default=10.0, metavar="SECONDS")
    options = parser.parse_args()
    if options.command == "map" and not 0 < options.lifetime < 1 << 32:
        parser.error(f"--lifetime {options.lifetime}: seconds, from 1 on")
    return options


def _port(text: str) -> int:
    port = int(text)
    if not 1 <= port <= 65535:
        raise ValueError
    return port


def _nonce(text: str) -> bytes:
    nonce = bytes.fromhex(text)
    if len(nonce) != 12:
        raise argparse.ArgumentTypeError("24 hexadecimal digits")
    return nonce


if __name__ == "__main__":
    sys.exit(main())
