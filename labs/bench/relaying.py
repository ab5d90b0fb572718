"""What TURN servers relay: this project's beside coturn's, on the same node, in turns.

    client ── channel data, or TCP ── server: TURN ── plain UDP, or TCP ── peer

Client and peer are programs on the same public host, so no translator is in between. The client
sends as fast as it can; the peer counts what arrives. Each server runs with its own defaults.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import tempfile
from collections.abc import Iterator, Mapping
from typing import Any

from napt_lab.labs.bench.figures import COTURN, OURS
from napt_lab.labs.bench.traffic import GRACE, SENDS_LONGER, BenchError, Traffic
from napt_lab.topologies.network.own_programs import program

PORT = 3478
HONEST_RATE, HONEST_BYTES = 1000, 200  # packets a second, and bytes in each: twenty telephone calls
USER = "bench:bench"
SERVERS = (OURS, *([COTURN] if shutil.which("turnserver") else []))


class Relaying:
    """Measurements of TURN servers on a running topology."""

    def __init__(self, traffic: Traffic) -> None:
        self._traffic = traffic

    def datagrams(self, engine: str, seconds: float, size: int) -> tuple[float, float]:
        """Packets of `size` bytes that arrive at the peer each second, and the part that was lost.

        If none was lost, the client, not the server, was the limit.
        """
        received, sent = self._relay(engine, "udp", "sink", seconds, size)
        rate = received["packets"] / received["seconds"]
        return rate, max(0.0, 1 - rate * (seconds + SENDS_LONGER) / sent)

    def under_flood(self, engine: str, seconds: float, rate: int) -> tuple[float, float]:
        """The part of an honest client's packets that arrive while a stranger floods the server.

        And how many unauthenticated Allocate requests the stranger really sent each second.
        """
        public = self._traffic.public
        with (
            self._server(engine) as server,
            self._traffic.receiver("sink", seconds, public) as (peer, port),
        ):
            honest = self._load(server, f"{public.address}:{port}", "udp", HONEST_BYTES, seconds,
                                "--rate", str(HONEST_RATE))  # fmt: skip
            client = public.start_program(honest, name=f"honest:{port}")
            flood = program("napt_lab.servers.turn.client.flood", server, str(rate), str(seconds))
            try:
                client.wait_for("ready", deadline=GRACE)
                stranger = self._traffic.stranger.start_program(flood, name=f"stranger:{port}")
                stranger.wait_for("ready", deadline=GRACE)
                os.kill(client.pid, signal.SIGUSR1)
                sent = client.wait_for("sent", deadline=seconds + GRACE).fields["count"]
                flooded = stranger.wait_for("sent", deadline=seconds + GRACE).fields
            finally:
                client.kill()
                client.await_end()
            received = peer.wait_for("received", deadline=GRACE).fields
        return received["packets"] / sent, flooded["count"] / flooded["seconds"]

    def stream(self, engine: str, seconds: float) -> float:
        """Gbit/s that arrive at the peer through a TCP allocation (RFC 6062)."""
        received, _ = self._relay(engine, "tcp", "drain", seconds, 0)
        return float(received["bytes"] / received["seconds"]) * 8 / 1e9

    def _relay(
        self, engine: str, relay: str, receiver: str, seconds: float, size: int
    ) -> tuple[Mapping[str, Any], int]:
        """What the peer received, and what the client sent (packets, or bytes)."""
        public = self._traffic.public
        receiving = self._traffic.receiver(receiver, seconds, public)
        with self._server(engine) as server, receiving as (peer, port):
            argv = self._load(server, f"{public.address}:{port}", relay, size,
                              seconds + SENDS_LONGER)  # fmt: skip
            done = public.run(argv, timeout=seconds + GRACE)
            if done.status:
                raise BenchError(f"TURN load through {engine}: {done.stderr.strip()[-500:]}")
            received = peer.wait_for("received", deadline=GRACE).fields
            return received, json.loads(done.stdout)["count"]

    @staticmethod
    def _load(server: str, peer: str, relay: str, size: int, seconds: float, *more: str
    ) -> list[str]:  # fmt: skip
        return program("napt_lab.servers.turn.client.load", "--relay", relay, "--server", server,
                       "--user", USER, "--peer", peer, "--size", str(size),
                       "--seconds", str(seconds), *more)  # fmt: skip

    @contextlib.contextmanager
    def _server(self, engine: str) -> Iterator[str]:
        """A TURN server that listens, and where."""
        node = self._traffic.server
        address = str(node.address)
        with tempfile.TemporaryDirectory() as folder:
            argv = {
                OURS: program("napt_lab.servers.turn", "--port", str(PORT), "--realm", "bench",
                              "--user", USER, "--relay-address", address),
                COTURN: ["turnserver", "-n", "-c", "/dev/null", "--log-file", "stdout", "--no-cli",
                         "--no-tls", "--no-dtls", "-a", "-r", "bench", "-u", USER,
                         "-L", address, "-E", address, "-p", str(PORT),
                         "--userdb", f"{folder}/users", "--pidfile", f"{folder}/pid"],
            }[engine]  # fmt: skip
            process = node.start(argv)
            try:
                self._traffic.await_listening(PORT)
                yield f"{address}:{PORT}"
            finally:
                process.kill()
                process.await_end()
