"""UDP hole punching: two PCs talk directly, without an explicit rule (RFC 5128, section 3.3).

    punch --port 5000 --peer 203.0.113.77:40002 --send photo.jpg         I know my peer's endpoint
    punch --stun 198.51.100.2 --meet 198.51.100.11:9000 --word TOKEN --receive photo.jpg

Theory of operation. A NAPT lets in what comes from where its own PC has sent to. So both PCs send,
each to the endpoint that the other has outside:

    alice ──hello──▶ napt_a ────────────▶✗ napt_b           bob     dropped; but napt_a now lets
                                                                    bob's datagrams in,
    alice ◀───────── napt_a ◀───────────── napt_b ◀──hello── bob    and napt_b alice's

Each repeats "hello" until it has heard the other, then "heard you" until it knows that it was heard
itself. The hole is open.

Events: `mapped`, `told` (meeting.py), `punching` (local: my port, peer), `open` (local, peer: from
where its datagrams come), `done` (hole.py).
"""

from __future__ import annotations

import asyncio
import socket
import sys
import time

from napt_lab.servers.p2p.hole import use
from napt_lab.servers.p2p.meeting import exchange
from napt_lab.servers.p2p.options import parse, puncher
from napt_lab.servers.p2p.sockets import arrivals, udp_socket
from napt_lab.servers.p2p.stun_client import ask
from napt_lab.servers.shared.events import emit, endpoint
from napt_lab.servers.stun.attributes import Address

HELLO, HEARD = b" hello", b" heard you"
EVERY = 0.2  # seconds between two datagrams


def punch(sock: socket.socket, peer: Address, word: bytes, patience: float) -> Address:
    """Send until the peer is heard and has heard us; returns from where its datagrams come.

    That may be another port than the one that was told: some NAPTs give each destination its own.
    The word keeps strangers out. Raises TimeoutError after `patience` seconds.
    """
    say = HELLO
    until = time.monotonic() + patience
    while time.monotonic() < until:
        sock.sendto(word + say, peer)
        for data, source in arrivals(sock, EVERY):
            if data == word + HELLO and say == HELLO:
                peer, say = source, HEARD
                break
            if data == word + HEARD:
                for _ in range(3):  # the peer waits for one of them
                    sock.sendto(word + HEARD, source)
                return source
    raise TimeoutError(f"{endpoint(peer)} was not heard, or did not hear us")


def main() -> None:
    parser = puncher("punch", "Reach a peer by UDP, through both NAPTs.")
    add = parser.add_argument
    add("--pause", type=float, default=0.0, metavar="SECONDS", help="before the file is sent")
    add("--keep-alive", type=float, default=0.0, metavar="SECONDS", help="(default: none is sent)")
    options = parse(parser)
    try:
        sock, peer = udp_socket(options.port), options.peer
        if options.meet:
            mine = ask(sock, options.stun)
            peer = exchange(options.meet, options.word, mine, options.wait)
        local = sock.getsockname()[1]
        emit("punching", local=local, peer=endpoint(peer))
        peer = punch(sock, peer, options.word.encode(), options.wait)
        emit("open", local=local, peer=endpoint(peer))
        asyncio.run(use(sock, peer, options))
    except OSError as error:
        sys.exit(f"punch: {error.strerror or str(error) or 'the peer has fallen silent'}")


if __name__ == "__main__":
    main()
