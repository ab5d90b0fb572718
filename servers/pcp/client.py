"""Asking a NAPT, again and again until it answers (RFC 6887, section 8.1)."""

from __future__ import annotations

import random
import socket
import struct
import time
from ipaddress import IPv4Address
from pathlib import Path

from napt_lab.servers.pcp.messages import (
    COPIED,
    MAP,
    Answer,
    Mapping,
    Refused,
    assigned,
    header,
    read_answer,
)

PORT = 5351
FIRST_TIMEOUT = 3.0  # seconds (section 8.1.1)


class NoAnswer(Refused):
    """The NAPT does not answer."""


class Client:
    """Asks one NAPT; `patience` is how many seconds it may take to answer."""

    def __init__(self, server: str, patience: float) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.connect((server, PORT))
        self._own = IPv4Address(self._socket.getsockname()[0])
        self._patience = patience

    def ask(self, opcode: int, lifetime: int, data: bytes = b"", match: int = 0) -> Answer:
        """Send a request until it is answered. The answer's data begin as ours, for `match` bytes.

        Raises NoAnswer, or Refused for an answer that is not PCP's.
        """
        request = header(opcode, lifetime, self._own) + data
        deadline = time.monotonic() + self._patience
        timeout = FIRST_TIMEOUT
        while time.monotonic() < deadline:
            timeout *= random.uniform(0.9, 1.1)
            self._socket.send(request)
            until = min(deadline, time.monotonic() + timeout)
            while (left := until - time.monotonic()) > 0:
                self._socket.settimeout(left)
                try:
                    answer = read_answer(self._socket.recv(2048), opcode)
                except TimeoutError:
                    break
                except ConnectionRefusedError:
                    raise NoAnswer(
                        "the NAPT refuses packets to port 5351: its port control is off"
                    ) from None
                if answer is not None and answer.data[:match] == data[:match]:
                    return answer
            timeout *= 2
        raise NoAnswer(f"no answer within {self._patience:g} s")

    def map(self, wanted: Mapping, lifetime: int) -> tuple[Answer, Mapping]:
        """Ask for a mapping, or with lifetime 0 for its end; returns it as it was assigned.

        Raises Refused.
        """
        answer = self.ask(MAP, lifetime, wanted.opcode_data(), match=COPIED)
        mapping = assigned(wanted, answer)
        if wanted.prefer_failure and mapping.external_port != wanted.external_port:
            raise Refused(
                f"the NAPT ignored PREFER_FAILURE and assigned port {mapping.external_port}"
            )
        return answer, mapping


def forge(source: IPv4Address, server: str, request: bytes) -> None:
    """Send a request under another host's address, which also gets the answer. Needs root."""
    port = random.randint(1024, 65535)
    udp = struct.pack("!HHHH", port, PORT, 8 + len(request), 0)  # no checksum
    # The kernel fills in lengths, identification and the header's checksum.
    ip = struct.pack("!BxHHHBBH", 0x45, 0, 0, 0, 64, socket.IPPROTO_UDP, 0)
    ip += source.packed + socket.inet_aton(server)
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW) as raw:
        raw.sendto(ip + udp + request, (server, 0))


def default_gateway() -> str:
    """The address of this PC's default gateway. Raises Refused if there is none."""
    for line in Path("/proc/net/route").read_text().splitlines()[1:]:
        _, destination, gateway, flags, *_ = line.split()
        if destination == "00000000" and int(flags, 16) & 2:
            return socket.inet_ntoa(struct.pack("=I", int(gateway, 16)))
    raise Refused("this PC has no default gateway: name the NAPT with --server ADDRESS")
