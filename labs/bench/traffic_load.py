"""Traffic for the bench, and its receiving end: small programs that run on the nodes.

    sink    counts the datagrams that arrive        blast    sends them as fast as it can
    echo    sends every datagram back               ask      asks and waits, one at a time
    accept  counts TCP connections                  connect  opens and closes them
    drain   counts the bytes of one of them         greet   asks until it is answered once
                                                    fill     one datagram from each of many ports

`napt-lab.bench.load ROLE ADDRESS PORT SECONDS`: those on the left say `ready` and measure
for that long from the first packet on; what they count is printed as one JSON object a line.
`fill` takes a number of ports in place of seconds. A connection is closed with a reset
(SO_LINGER 0), so that no port waits for minutes.
"""

from __future__ import annotations

import contextlib
import json
import math
import select
import socket
import struct
import sys
import time
from typing import Any

PAYLOAD = bytes(22)
"""With UDP, IPv4 and Ethernet headers: a frame of 64 bytes."""
AT_ONCE = 32
"""Connections that are being opened at the same time."""
FIRST_PORT = 1024
SILENCE = 2.0
"""Seconds after which what has come so far was all."""
PATIENCE = 30.0
"""Seconds without a first packet after which a receiver gives up."""
ASKED_AGAIN = 0.3
"""Seconds after which a lost question is repeated."""
RECEIVE_BUFFER = 8 << 20
DRAIN_BUFFER = 1 << 20
RESET_ON_CLOSE = struct.pack("ii", 1, 0)


def report(**fields: Any) -> None:
    print(json.dumps(fields), flush=True)


def _udp() -> socket.socket:
    return socket.socket(socket.AF_INET, socket.SOCK_DGRAM)


def _ready() -> None:
    report(event="ready", time=time.time())


def sink(address: str, port: int, seconds: float) -> None:
    """Count datagrams for `seconds` from the first one on; take them until they end."""
    with _udp() as receiver:
        receiver.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
        receiver.bind((address, port))
        receiver.settimeout(PATIENCE)
        _ready()
        buffer = bytearray(2048)
        receive = receiver.recv_into
        receive(buffer)
        receiver.settimeout(SILENCE)
        begin = now = time.monotonic()
        count = 0
        with contextlib.suppress(TimeoutError):  # the sender was done before us
            while now < begin + seconds:
                for _ in range(50):
                    receive(buffer)
                    count += 1
                now = time.monotonic()
        report(event="received", packets=count, seconds=now - begin)
        with contextlib.suppress(TimeoutError):
            while True:  # otherwise the sender would get ICMP port unreachable
                receive(buffer)


def blast(address: str, port: int, seconds: float) -> None:
    """Send datagrams for `seconds`, as fast as one process can."""
    with _udp() as sender:
        sender.connect((address, port))
        send, count, begin = sender.send, 0, time.monotonic()
        while (now := time.monotonic()) < begin + seconds:
            for _ in range(50):
                send(PAYLOAD)
            count += 50
    report(event="sent", packets=count, seconds=now - begin)


def echo(address: str, port: int, seconds: float) -> None:
    """Send every datagram back, until none has come for a while."""
    with _udp() as server:
        server.bind((address, port))
        server.settimeout(PATIENCE)
        _ready()
        try:
            while True:
                data, peer = server.recvfrom(2048)
                server.settimeout(seconds)
                server.sendto(data, peer)
        except TimeoutError:
            report(event="idle")


def ask(address: str, port: int, seconds: float) -> None:
    """Round-trip times of datagrams, in microseconds, one at a time."""
    with _udp() as client:
        client.connect((address, port))
        client.settimeout(1.0)
        times, end, clock = [], time.monotonic() + seconds, time.perf_counter_ns
        while time.monotonic() < end:
            begin = clock()
            client.send(PAYLOAD)
            client.recv(2048)
            times.append(clock() - begin)
    times.sort()
    p50, p99 = (times[int(len(times) * part)] / 1000 for part in (0.50, 0.99))
    report(event="answered", count=len(times), p50=p50, p99=p99)


def greet(address: str, port: int, seconds: float) -> None:
    """Ask until an answer comes, for at most `seconds`; the asking itself is no load."""
    with _udp() as client:
        client.connect((address, port))
        client.settimeout(ASKED_AGAIN)
        end = time.monotonic() + seconds
        while True:
            client.send(PAYLOAD)
            try:
                client.recv(2048)
                return
            except TimeoutError:
                if time.monotonic() > end:
                    raise


def accept(address: str, port: int, seconds: float) -> None:
    """Count the TCP connections that are accepted for `seconds` from the first one on."""
    with socket.create_server((address, port), backlog=4096) as server:
        server.settimeout(PATIENCE)
        _ready()
        _take(server)
        server.settimeout(SILENCE)
        begin = now = time.monotonic()
        count = 0
        with contextlib.suppress(TimeoutError):  # the sender was done before us
            while now < begin + seconds:
                _take(server)
                count += 1
                now = time.monotonic()
        report(event="accepted", count=count, seconds=now - begin)
        with contextlib.suppress(TimeoutError):
            while True:
                _take(server)


def drain(address: str, port: int, seconds: float) -> None:
    """Count the bytes of one TCP connection for `seconds`; take them until it ends."""
    with socket.create_server((address, port)) as server:
        server.settimeout(PATIENCE)
        _ready()
        connection, _ = server.accept()
    with connection:
        connection.settimeout(PATIENCE)
        buffer = bytearray(DRAIN_BUFFER)
        receive = connection.recv_into
        receive(buffer)
        count, begin = 0, time.monotonic()
        while (now := time.monotonic()) < begin + seconds:
            count += receive(buffer)
        report(event="received", bytes=count, seconds=now - begin)
        while receive(buffer):
            pass


def _take(server: socket.socket) -> None:
    connection, _ = server.accept()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
    connection.close()


def connect(address: str, port: int, seconds: float) -> None:
    """Open and reset TCP connections for `seconds`, some at the same time."""
    poll = select.epoll()
    opening: dict[int, socket.socket] = {}
    count, end = 0, math.inf  # the time runs from the first one on, as it does for `accept`
    while time.monotonic() < end:
        while len(opening) < AT_ONCE:
            client = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
            client.connect_ex((address, port))
            opening[client.fileno()] = client
            poll.register(client, select.EPOLLOUT)
        for descriptor, _ in poll.poll(1.0):
            opening.pop(descriptor).close()
            count += 1
            end = min(end, time.monotonic() + seconds)
    report(event="opened", count=count)


def fill(address: str, port: int, count: float) -> None:
    """Send one datagram from each of `count` ports: as many rules as can be had from one host."""
    for number in range(FIRST_PORT, FIRST_PORT + int(count)):
        with _udp() as sender:
            sender.bind(("", number))
            sender.sendto(PAYLOAD, (address, port))


ROLES = {
    role.__name__: role
    for role in (
        sink,
        blast,
        echo,
        ask,
        greet,
        accept,
        drain,
        connect,
        fill,
    )
}


def main(words: list[str]) -> None:
    role, address, port, seconds = words
    ROLES[role](address, int(port), float(seconds))


if __name__ == "__main__":
    main(sys.argv[1:])
