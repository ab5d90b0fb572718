"""Flood a TURN server with unauthenticated Allocate requests, at a steady rate, for `make bench`.

`python -m napt_lab.servers.turn.client.flood ADDRESS:PORT RATE SECONDS`, RATE in requests a second,
from 64 ports in turn. The server answers each with 401 (RFC 8489, section 9.2.4), or drops it.
"""

from __future__ import annotations

import contextlib
import os
import socket
import sys
import time

from napt_lab.servers.shared.arguments import address_and_port
from napt_lab.servers.shared.events import emit
from napt_lab.servers.stun.stun_message import Class, Message, Method, encode

PORTS = 64
BURST = 50  # requests between two looks at the clock


def main(server: str, rate: str, seconds: str) -> None:
    request = encode(Message(Method.ALLOCATE, Class.REQUEST, os.urandom(12)))
    with contextlib.ExitStack() as stack:
        senders = [
            stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
            for _ in range(PORTS)
        ]
        for sender in senders:
            sender.setblocking(False)
            sender.connect(address_and_port(server))
        emit("ready")
        count, begin = 0, time.monotonic()
        while (spent := time.monotonic() - begin) < float(seconds):
            due = count + BURST if count <= spent * float(rate) else count
            for number in range(count, due):
                with contextlib.suppress(OSError):  # its buffer is full, or an ICMP error came
                    senders[number % PORTS].send(request)
            count = due
    emit("sent", count=count, seconds=spent)


if __name__ == "__main__":
    main(*sys.argv[1:])
