"""Load a TURN server: `python -m napt_lab.servers.turn.client.load …`, for `make bench`.

With UDP one packet of channel data is sent again and again, as fast as one process can; with
TCP (RFC 6062) the client connects to the peer and sends what the connection takes. How much of
it arrives, only the peer can tell.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import socket
import time

from napt_lab.servers.shared.arguments import account, address_and_port
from napt_lab.servers.shared.events import emit
from napt_lab.servers.stun.attributes import Address, Transport
from napt_lab.servers.turn.client.endpoint import TurnError, connected
from napt_lab.servers.turn.client.turn_client import Finished, Login, TurnClient

CHUNK = 256 << 10  # bytes
PATIENCE = 5.0  # seconds without an answer after which a server is not there


def main() -> None:
    options = _arguments()
    send = datagrams if options.relay == "udp" else stream
    try:
        count = send(options.server, options.user, options.peer, options.seconds, options.size)
    except (OSError, TurnError) as error:
        raise SystemExit(f"turn load: {error}") from error
    emit("sent", count=count)


def datagrams(
    server: Address, login: tuple[str, str], peer: Address, seconds: float, size: int
) -> int:
    """Send `size` bytes at a time to the peer through a channel; how many packets it were."""
    turn = TurnClient(Login(*login), Transport.UDP, os.urandom)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.connect(server)
        client.settimeout(PATIENCE)
        _ask(client, turn, turn.allocate(Transport.UDP, time.monotonic()))
        _ask(client, turn, turn.bind_channel(peer, time.monotonic()))
        turn.send(peer, bytes(size))
        (packet,) = turn.take_output()
        send, count, end = client.send, 0, time.monotonic() + seconds
        while time.monotonic() < end:
            for _ in range(50):
                send(packet)
            count += 50
    return count


def _ask(client: socket.socket, turn: TurnClient, handle: int) -> None:
    """Wait for the request's success. Raises TurnError, OSError."""
    while True:
        for packet in turn.take_output():
            client.send(packet)
        turn.receive(client.recv(2048), time.monotonic())
        for event in turn.take_events():
            if isinstance(event, Finished) and event.handle == handle:
                if event.error:
                    raise TurnError(event.error)
                return


def stream(server: Address, login: tuple[str, str], peer: Address, seconds: float, _: int) -> int:
    """Send to the peer over a TCP connection of a TCP allocation; how many bytes it took."""
    return asyncio.run(_stream(server, login, peer, seconds))


async def _stream(server: Address, login: tuple[str, str], peer: Address, seconds: float) -> int:
    chunk, count = bytes(CHUNK), 0
    async with connected(server, *login, Transport.TCP) as turn:
        await turn.allocate(Transport.TCP)
        await turn.permit(peer[0])
        joined = await turn.connect(peer)
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            joined.writer.write(chunk)
            await joined.writer.drain()
            count += CHUNK
        joined.writer.close()
        await joined.writer.wait_closed()
    return count


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m napt_lab.servers.turn.client.load")
    add = parser.add_argument
    add(
        "--server", type=address_and_port, required=True, metavar="ADDRESS:PORT", help="TURN server"
    )
    add("--user", type=account, required=True, metavar="NAME:PASSWORD")
    add(
        "--peer",
        type=address_and_port,
        required=True,
        metavar="ADDRESS:PORT",
        help="who receives it",
    )
    add("--relay", choices=("udp", "tcp"), required=True, help="what is relayed")
    add("--size", type=int, default=1000, metavar="BYTES", help="of data in a packet")
    add("--seconds", type=float, default=1.0, help="for which to send (default: %(default)s)")
    return parser.parse_args()


if __name__ == "__main__":
    main()
