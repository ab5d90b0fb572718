"""A transfer that goes on until its test ends it: what happens meanwhile happens in its middle.

A file of a fixed size, however slowly it is fetched, may be over before a busy machine has come
to what was to happen in its middle.
"""

from __future__ import annotations

import hashlib

from napt_lab.topologies.network.node import Node
from tests.waiting import wait_until

# Some 300 kB/s of random bytes, until SIGTERM; then it says what they were. It waits for the
# signal between two pieces, for one that ends a program could come in the middle of a piece.
SENDER = """
import hashlib, os, signal, socket, sys

signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
with socket.create_server(("", int(sys.argv[1]))) as listening:
    print("listening", flush=True)
    connection = listening.accept()[0]
with connection:
    connection.recv(65536)
    connection.sendall(b"HTTP/1.0 200 OK\\r\\n\\r\\n")
    sent = hashlib.sha256()
    while not signal.sigtimedwait([signal.SIGTERM], 0.01):
        piece = os.urandom(3000)
        connection.sendall(piece)
        sent.update(piece)
print("sent", sent.hexdigest(), flush=True)
"""


class EndlessTransfer:
    """`receiver` fetches by curl, from `server` (ADDRESS or ADDRESS:PORT), what `sender` sends."""

    def __init__(self, sender: Node, receiver: Node, server: str, port: int = 80) -> None:
        """`port` is where the sender listens: behind an explicit rule it is not the server's."""
        self._sender = sender.start(["python", "-c", SENDER, str(port)], name="the sender")
        self._sender.wait_for("listening")
        self._got = receiver.home / "got"
        self._fetch = receiver.start(["curl", "-sSN", "-o", "got", f"http://{server}/"])

    def goes_on(self, size: int = 1) -> None:
        """Wait until `size` bytes more than now have arrived."""
        until = self._size() + size
        wait_until(
            lambda: self._size() >= until,
            lambda: f"{until} bytes; there are {self._size()}. {self._fetch.last_words()}",
        )

    def end(self) -> None:
        """End it, and see that all that was sent has arrived."""
        self._sender.terminate()
        assert self._sender.wait(30).status == 0
        fetched = self._fetch.wait(30)
        assert fetched.status == 0, fetched.stderr
        sent = self._sender.wait_for("sent").split()[1]
        assert hashlib.sha256(self._got.read_bytes()).hexdigest() == sent

    def _size(self) -> int:
        return self._got.stat().st_size if self._got.exists() else 0
