"""Command line: `stun-server --address 198.51.100.2 --address 198.51.100.3`.

Events: `told` (peer: the client's endpoint, by: the server's endpoint that answered), also if the
answer is an error.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import socket
import sys
import time
from functools import partial
from ipaddress import IPv4Address

from napt_lab.servers.shared.arguments import address_and_port, port_number
from napt_lab.servers.shared.events import emit, endpoint
from napt_lab.servers.shared.tcp_server import (
    Limits,
    close_gently,
    listen,
    receive_exactly,
    run,
    serve,
)
from napt_lab.servers.stun.attributes import Address
from napt_lab.servers.stun.binding import BindingServer
from napt_lab.servers.stun.stun_message import HEADER_LENGTH

LARGEST = 548  # bytes of a request; over UDP this fits into any path's packet (RFC 8489, 6.1)
BATCH = 64  # datagrams that are received from one socket in turn
PATIENCE = 60.0  # seconds that a TCP connection may be silent
CONNECTIONS = Limits(connections=500, per_client=50)


def main() -> int:
    """Run the server; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="stun-server", description="Tell hosts which endpoint they have (RFC 8489, RFC 5780)."
    )
    add = parser.add_argument
    add("--address", type=IPv4Address, action="append", metavar="ADDRESS",
        help="own address; with a second one, both are used on this port and the next")  # fmt: skip
    add("--port", type=port_number, default=3478, help="UDP and TCP, default: %(default)s")
    add("--always", type=_endpoint, metavar="ADDRESS:PORT",
        help="tell every client that it has this endpoint, which is a lie")  # fmt: skip
    given = parser.parse_args()
    addresses = [str(address) for address in given.address or ["0.0.0.0"]]
    if len(addresses) > 2 or len(set(addresses)) < len(addresses):
        parser.error("name one --address, or two different ones")
    return run(_serve(addresses, given.port, given.always))


def _endpoint(text: str) -> Address:
    host, port = address_and_port(text)
    return str(IPv4Address(host)), port


async def _serve(addresses: list[str], port: int, always: Address | None) -> None:
    stream = listen(addresses[0] if len(addresses) == 1 else "0.0.0.0", port)
    port = stream.getsockname()[1]
    ports = (port,) if len(addresses) == 1 else (port, port + 1)
    endpoints = [(address, each) for address in addresses for each in ports]
    server = BindingServer(endpoints, os.urandom(32), always)
    sockets = {each: _datagram_socket(each) for each in endpoints}
    loop = asyncio.get_running_loop()
    for here, sock in sockets.items():
        loop.add_reader(sock, _receive, server, sockets, here)
    await serve(stream, partial(_handle, server), CONNECTIONS)


def _datagram_socket(here: Address) -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
    sock.bind(here)
    return sock


def _receive(server: BindingServer, sockets: dict[Address, socket.socket], here: Address) -> None:
    """Answer what has arrived at one endpoint; then the others have their turn."""
    for _ in range(BATCH):
        try:
            data, client = sockets[here].recvfrom(2048)
            if answered := server.answer_datagram(data, client, here, time.monotonic()):
                answer, origin, goal = answered
                sockets[origin].sendto(answer, goal)
                emit("told", peer=endpoint(client), by=endpoint(origin))
        except OSError:  # nothing more is there; or an ICMP error about an earlier answer
            return


async def _handle(server: BindingServer, sock: socket.socket, client: Address) -> None:
    """Answer the requests of one TCP connection, one after another."""
    here: Address = sock.getsockname()
    loop = asyncio.get_running_loop()
    try:
        while True:
            async with asyncio.timeout(PATIENCE):
                request = await receive_exactly(sock, HEADER_LENGTH)
                length = int.from_bytes(request[2:4])
                if length > LARGEST:
                    return
                request += await receive_exactly(sock, length)
                answer = server.answer_stream(request, client, here)
                if answer is None:
                    return
                await loop.sock_sendall(sock, answer)
            emit("told", peer=endpoint(client), by=endpoint(here))
    except EOFError:
        await close_gently(sock)
    except (OSError, TimeoutError):
        return


if __name__ == "__main__":
    sys.exit(main())
