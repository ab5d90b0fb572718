"""Load a TURN server: `python -m napt_lab.servers.turn.client.load …`, for `make bench`.

With UDP one packet of channel data is sent again and again, as fast as one process can; or, at a
steady rate, after `ready` and a SIGUSR1. With TCP (RFC 6062) the client connects to the peer and
sends what the connection takes. How much of it arrives, only the peer can tell.
"""

from __future__ import annotations

import argparse
import asyncio
import math
import os
import signal
import socket
import time

from napt_lab.servers.shared.arguments import account, address_and_port
from napt_lab.servers.shared.events import emit
from napt_lab.servers.stun.attributes import Transport
from napt_lab.servers.turn.client.endpoint import TurnError, connected
from napt_lab.servers.turn.client.turn_client import Finished, Login, TurnClient

CHUNK = 256 << 10  # bytes
PATIENCE = 5.0  # seconds without an answer after which a server is not there


def main() -> None:
    options = _arguments()
    send = datagrams if options.relay == "udp" else stream
    try:
        count = send(options)
    except (OSError, TurnError) as error:
        raise SystemExit(f"turn load: {error}") from error
    emit("sent", count=count)


def datagrams(options: argparse.Namespace) -> int:
    """Send `size` bytes at a time to the peer through a channel; how many packets it were."""
    turn = TurnClient(Login(*options.user), Transport.UDP, os.urandom)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.connect(options.server)
        client.settimeout(PATIENCE)
        _ask(client, turn, turn.allocate(Transport.UDP, time.monotonic()))
        _ask(client, turn, turn.bind_channel(options.peer, time.monotonic()))
        turn.send(options.peer, bytes(options.size))
        (packet,) = turn.take_output()
        if options.rate < math.inf:
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
            emit("ready")
            signal.sigwait({signal.SIGUSR1})
        send, count, begin = client.send, 0, time.monotonic()
        while (spent := time.monotonic() - begin) < options.seconds:
            if count >= spent * options.rate:
                time.sleep(1 / options.rate)
                continue
            burst = 50 if options.rate == math.inf else 1
            for _ in range(burst):
                send(packet)
            count += burst
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


def stream(options: argparse.Namespace) -> int:
    """Send to the peer over a TCP connection of a TCP allocation; how many bytes it took."""
    return asyncio.run(_stream(options))


async def _stream(options: argparse.Namespace) -> int:
    chunk, count = bytes(CHUNK), 0
    name, password = options.user
    async with connected(options.server, name, password, Transport.TCP) as turn:
        await turn.allocate(Transport.TCP)
        await turn.permit(options.peer[0])
        joined = await turn.connect(options.peer)
        end = time.monotonic() + options.seconds
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
    add("--rate", type=float, default=math.inf, metavar="N", help="of packets a second (UDP)")
    add("--seconds", type=float, default=1.0, help="for which to send (default: %(default)s)")
    return parser.parse_args()


if __name__ == "__main__":
    main()
