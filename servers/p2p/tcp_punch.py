"""TCP hole punching: two PCs dial each other at the same time (RFC 5128, section 3.4).

    tcp-punch --port 5000 --peer 203.0.113.77:40002 --send photo.jpg
    tcp-punch --stun 198.51.100.2 --meet 198.51.100.11:9000 --word TOKEN --receive photo.jpg

Theory of operation. Nobody listens. Each PC dials the other's endpoint, from the port for which it
was told its own. Each SYN opens its own NAPT for the other one. When they cross, TCP makes one
connection of both (RFC 9293, section 3.5: simultaneous open):

    alice ──SYN──▶ napt_a ──╲  ╱── napt_b ◀──SYN── bob
    alice ◀──SYN── napt_a ◀─╱  ╲─▶ napt_b ──SYN──▶ bob
    alice ──SYN-ACK──▶                  ◀──SYN-ACK── bob

A SYN that comes before the other has left is dropped. TCP sends it again after a second, unless
the NAPT has refused it. Then dialing has failed, and only a further try can help.

Events: `mapped`, `told` (meeting.py), `dialing` (local: my port, peer), `refused` (reason: of a
try), `open` (local, peer), `done` (bytes that were received).
"""

from __future__ import annotations

import argparse
import os
import random
import socket
import sys
import time
from pathlib import Path

from napt_lab.servers.p2p.meeting import exchange
from napt_lab.servers.p2p.options import parse, puncher
from napt_lab.servers.p2p.sockets import tcp_socket
from napt_lab.servers.p2p.stun_client import ask_by_tcp
from napt_lab.servers.shared.arriving_file import arriving_file
from napt_lab.servers.shared.events import emit, endpoint
from napt_lab.servers.shared.splice import fin_when_closed, reset_when_closed
from napt_lab.servers.stun.attributes import Address

PAUSES = (0.05, 0.25)  # seconds between two tries; by chance, or both sides might stay in step
PIECE = 64 << 10  # bytes
MOST = 1 << 30  # bytes that are received: the peer may be anyone


def dial(port: int, peer: Address, patience: float, tries: int) -> socket.socket:
    """A connection from our port to the peer's endpoint, reset when closed. Raises OSError."""
    for left in reversed(range(tries)):
        sock = tcp_socket(port)
        sock.settimeout(patience)
        try:
            sock.connect(peer)
        except OSError as error:
            sock.close()
            if not left:
                raise
            emit("refused", reason=error.strerror or str(error))
            time.sleep(random.uniform(*PAUSES))
        else:
            reset_when_closed(sock)  # if we end early, the peer must not take the file for whole
            return sock
    raise AssertionError("there is at least one try")


def use(sock: socket.socket, options: argparse.Namespace) -> None:
    """Send or receive the file that is wanted. Raises OSError."""
    if options.send:
        # A small buffer, and small pieces: the patience is for each of them, not for the file.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2 * PIECE)
        with options.send.open("rb") as file:
            while piece := file.read(PIECE):
                sock.sendall(piece)
    sock.shutdown(socket.SHUT_WR)
    received = 0
    with arriving_file(options.receive or Path(os.devnull)) as file:
        while data := sock.recv(PIECE):
            received += file.write(data)
            if received > MOST:
                raise OSError(f"more than {MOST:,} bytes came")
    fin_when_closed(sock)
    emit("done", bytes=received)


def main() -> None:
    parser = puncher("tcp-punch", "Reach a peer by TCP, through both NAPTs.")
    parser.add_argument("--later", type=float, default=0.0, metavar="SECONDS",
                        help="wait before dialing (default: dial at once)")  # fmt: skip
    parser.add_argument("--tries", type=int, choices=range(1, 21), metavar="N", default=1,
                        help="if it is refused (default: 1)")  # fmt: skip
    options = parse(parser)
    try:
        peer = options.peer
        with tcp_socket(options.port) as asking:
            port = asking.getsockname()[1]
            if options.meet:
                # This connection stays open: with it, the NAPT's rule does.
                mine = ask_by_tcp(asking, options.stun)
                peer = exchange(options.meet, options.word, mine, options.wait)
            time.sleep(options.later)
            emit("dialing", local=port, peer=endpoint(peer))
            with dial(port, peer, options.wait, options.tries) as sock:
                emit("open", local=port, peer=endpoint(peer))
                use(sock, options)
    except OSError as error:
        sys.exit(f"tcp-punch: {error.strerror or error}")


if __name__ == "__main__":
    main()
