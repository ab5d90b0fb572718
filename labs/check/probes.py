"""One try to reach a node: by TCP, UDP, ping or HTTP, from another node.

Theory of operation. TCP and UDP are tried with a socket in the node's own namespace, the others
with ping and curl. Each try carries a random token, by which its packets are found at every
interface (trail.py). A try ends when it is answered, when the
kernel or the program gives up, or when a translator reports that it dropped the first packet.

What is sent over TCP depends on the service: HTTP services get a request, our own listeners
(listeners.py) a line. Other services get nothing, since it could do harm: then only the handshake
is tried.
"""

from __future__ import annotations

import errno
import os
import re
import secrets
import select
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum

from napt_lab.labs.check import stun_binding
from napt_lab.labs.check.drops import dropped, lost
from napt_lab.labs.check.ground import Ground
from napt_lab.labs.check.outcome import CannotTell
from napt_lab.labs.check.trail import Match, Trail, carries, follow, is_syn, node_of
from napt_lab.labs.shared_steps.commands import CURL_NOT_TRIED
from napt_lab.topologies.network.namespaces import visit

POLL = 0.05  # seconds between two checks whether the NAPT has dropped the packet
IP_RECVERR = 11  # ip(7); Python has no name for it
_TOLD = re.compile(r"You are ([0-9.]+:[0-9]+)")


class Speech(Enum):
    """What is sent once a TCP connection is established, or to a service over UDP."""

    NOTHING = "nothing"
    LINE = "a line"
    HTTP = "a request"
    DNS = "a question"


@dataclass(slots=True)
class Tried:
    """One try. `words` say how it ended; `told` is the endpoint that the target reported, or "".

    `opening` finds its first packet in a capture, and is None until that has left; `sequence` is
    the first segment's. `payload` finds the packet with the data, if any was sent.
    `began` is in nanoseconds since 1970.
    """

    token: bytes
    opening: Match | None = None
    payload: Match | None = None
    sequence: int | None = None
    answered: bool = False
    words: str = ""
    told: str = ""
    began: int = field(default_factory=time.time_ns)


class Prober:
    """Tries from one node. An answer may take `patience` seconds."""

    def __init__(self, ground: Ground, source: str, patience: float) -> None:
        self.ground = ground
        self.source = source
        self.patience = patience + ground.slowness
        self.since = ground.wire.mark()
        self.log_since = ground.net.log.mark()
        self._node = ground.net[source]

    def trail(self, match: Match | None) -> Trail:
        """Where one of the packets was seen since this prober was made."""
        return follow(self.ground, match, self.since) if match else Trail(())

    def tcp(self, address: str, port: int, speech: Speech) -> Tried:
        """Connect, send what `speech` says, and wait for an answer."""
        tried = Tried(new_token())
        with visit(self._node.pid, _tcp_socket) as sock:
            local = sock.getsockname()[1]
            number = sock.connect_ex((address, port))
            if number in (0, errno.EINPROGRESS):
                is_there = self._wait(sock, select.POLLOUT, lambda: self._is_dead(tried, local))
                self._find_syn(tried, local)
                if not is_there:
                    tried.words = "no answer to the SYN"
                    return tried
                number = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if number:
                tried.words = os.strerror(number)
            elif speech is Speech.NOTHING:
                tried.answered, tried.words = True, "connected"
            else:
                self._converse(sock, tried, speech)
        return tried

    def udp(self, address: str, port: int, speech: Speech) -> Tried:
        """Send a Binding request, or a question to a DNS server, and wait for the answer."""
        transaction = secrets.token_bytes(stun_binding.TRANSACTION_BYTES)
        asked = stun_binding.request(transaction)
        if speech is Speech.DNS:
            asked = _dns_question(transaction)
        tried = Tried(transaction, carries(asked), carries(asked))
        with visit(self._node.pid, _udp_socket) as sock:
            try:
                sock.connect((address, port))
                sock.send(asked)
                if not self._wait(sock, select.POLLIN, lambda: self._is_dead(tried)):
                    tried.words = "no answer to the datagram"
                    return tried
                answer = sock.recv(2048)
            except OSError as error:
                tried.words = error.strerror or str(error)
                return tried
        if speech is Speech.DNS:
            tried.answered = answer[:2] == asked[:2] and transaction in answer[2:]
            tried.words = "answered" if tried.answered else "the reply is not of a DNS server"
            return tried
        mapped = stun_binding.mapped(answer, transaction)
        tried.answered = mapped is not None
        tried.words = "answered" if mapped else "the reply is not a STUN response"
        tried.told = f"{mapped[0]}:{mapped[1]}" if mapped else ""
        return tried

    def ping(self, address: str) -> Tried:
        """One echo request."""
        token = secrets.token_bytes(8)
        tried = Tried(token, carries(token), carries(token))
        argv = ["ping", "-n", "-c", "1", "-W", f"{self.patience:g}", "-p", token.hex(), address]
        status, stdout, stderr = self._run(argv, lambda: self._is_dead(tried))
        if status not in (0, 1, None):
            raise CannotTell(f"{self.source}$ {' '.join(argv)}: {stderr.strip() or status}")
        tried.answered = status == 0
        said = [line for line in stdout.splitlines() if line.startswith(("From ", "64 bytes"))]
        tried.words = said[0] if said else "no echo reply"
        return tried

    def http(self, address: str, port: int, *options: str, name: str = "") -> Tried:
        """Fetch the page or file `name` with curl; `options` are more of curl's."""
        token = new_token()
        tried = Tried(token, payload=carries(token))
        local = visit(self._node.pid, _free_port)
        url = f"http://{address}:{port}/{name}?check={token.decode()}"
        argv = ["curl", "-sS", "-m", f"{self.patience:g}", "--local-port", str(local),
                "-w", "\n%{http_code}", *options, url]  # fmt: skip
        status, stdout, stderr = self._run(argv, lambda: self._is_dead(tried, local))
        self._find_syn(tried, local)
        if status in CURL_NOT_TRIED:
            raise CannotTell(f"{self.source}$ {' '.join(argv)}: {stderr.strip() or status}")
        code = stdout.rpartition("\n")[2]
        tried.answered = status == 0 and code[:1] in ("2", "3")
        tried.words = f"HTTP status {code}" if status == 0 else stderr.strip() or "no answer"
        tried.told = _told(stdout)
        return tried

    def _converse(self, sock: socket.socket, tried: Tried, speech: Speech) -> None:
        said = tried.token + b"\n"
        if speech is Speech.HTTP:
            said = b"HEAD /?check=" + tried.token + b" HTTP/1.0\r\n\r\n"
        tried.payload = carries(tried.token)
        heard = b""
        try:
            sock.sendall(said)
            if self._wait(sock, select.POLLIN, lambda: False):
                heard = sock.recv(4096)
        except OSError as error:
            tried.words = f"connected, then: {error.strerror}"
            return
        tried.answered = bool(heard)
        tried.words = "connected and answered" if heard else "connected, but no answer came"
        tried.told = _told(heard.decode("latin-1"))

    def _find_syn(self, tried: Tried, local: int) -> None:
        """Learn the sequence number of the first segment, if it has left."""
        if tried.opening is not None:
            return
        first = self.ground.wire.everywhere(
            lambda c: (
                c.outgoing
                and c.packet.source_port == local
                and c.packet.sequence is not None
                and node_of(c) == self.source
            ),
            since=self.since,
        )
        if first and first[0].packet.sequence is not None:
            tried.sequence = first[0].packet.sequence
            tried.opening = is_syn(tried.sequence)

    def _is_dead(self, tried: Tried, local: int = 0) -> bool:
        """Whether nothing more can come of a try: its first packet was dropped, or lost for good.

        TCP sends again what a link has lost; then `local` is its port.
        """
        if not any(event.name == "drop" for event in self.ground.net.log.since(self.log_since)):
            return False
        if local:
            self._find_syn(tried, local)
        trail = self.trail(tried.opening)
        if not local and lost(self.ground, trail, self.log_since) is not None:
            return True
        return dropped(self.ground, trail, self.log_since) is not None

    def _wait(self, sock: socket.socket, event: int, is_dead: Callable[[], bool]) -> bool:
        """Wait until the socket is ready; False if the packet was dropped, or after `patience`."""
        poll = select.poll()
        poll.register(sock, event)
        end = time.monotonic() + self.patience
        while not poll.poll(POLL * 1000):
            if time.monotonic() > end or self.ground.stopped.is_set() or is_dead():
                return False
        return True

    def _run(self, argv: list[str], is_dead: Callable[[], bool]) -> tuple[int | None, str, str]:
        """Run a program: status, stdout, stderr; None as status if the packet was dropped."""
        process = self._node.start(argv)
        if not self.ground.ends(process, 2 * self.patience, is_dead):
            return None, "", ""
        completed = process.wait(self.patience)
        return completed.status, completed.stdout, completed.stderr


def new_token() -> bytes:
    """A random text, by which a packet is found on the wires."""
    return secrets.token_hex(8).encode()


def _told(text: str) -> str:
    found = _TOLD.search(text)
    return found[1] if found else ""


def _tcp_socket() -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    sock.bind(("0.0.0.0", 0))  # so that the port is known before the first packet
    return sock


def _dns_question(token: bytes) -> bytes:
    """A question (RFC 1035, section 4.1) for the address of a name that nobody has: the token."""
    header = token[:2] + bytes([1, 0, 0, 1]) + bytes(6)  # one question, recursion desired
    return header + bytes([len(token)]) + token + bytes([0, 0, 1, 0, 1])


def _udp_socket() -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
    sock.setsockopt(socket.IPPROTO_IP, IP_RECVERR, 1)  # any ICMP error ends the wait
    return sock


def _free_port() -> int:
    with _tcp_socket() as sock:
        return int(sock.getsockname()[1])
