"""Keeping a rule: it is renewed in time, and at once when the NAPT has restarted.

RFC 6887, sections 8.5 (epoch), 11.2.1 (renewal) and 14.1.3 (announcements).
"""

from __future__ import annotations

import random
import signal
import socket
import time
from collections.abc import Callable

from napt_lab.servers.pcp.client import PORT, Client, NoAnswer
from napt_lab.servers.pcp.messages import ANNOUNCE, Answer, Mapping, Refused, read_answer
from napt_lab.servers.shared.events import emit

ANNOUNCED = ("224.0.0.1", 5350)  # to all hosts
MIN_PAUSE = 4.0  # seconds between two renewals (section 11.2.1)
RECOVERY = 5.0  # seconds within which clients ask again, so that not all do at once

Tell = Callable[[str, Answer, Mapping], None]


class Epoch:
    """The NAPT's clock, which shows that it has restarted (section 8.5)."""

    def __init__(self) -> None:
        self._last: tuple[float, int] | None = None

    def goes_on(self, server: int, now: float) -> bool:
        """Whether an epoch of `server` seconds, heard now, continues what was heard before."""
        last, self._last = self._last, (now, server)
        if last is None:
            return True
        passed, there = int(now - last[0]), server - last[1]
        return (
            there >= -1 and passed + 2 >= there - there // 16 and there + 2 >= passed - passed // 16
        )


def keep(client: Client, server: str, mapping: Mapping, answer: Answer, tell: Tell) -> None:
    """Renew a mapping until SIGTERM or Ctrl-C, then delete it. Raises Refused."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    epoch, wanted = Epoch(), answer.lifetime
    epoch.goes_on(answer.epoch, time.monotonic())
    try:
        with _listener() as announcements:
            while True:
                # Between 1/2 and 5/8 of its life, so that not every PC asks at once.
                pause = max(MIN_PAUSE, answer.lifetime * random.uniform(1 / 2, 5 / 8))
                if _heard_of_restart(announcements, server, epoch, pause):
                    time.sleep(random.uniform(0, RECOVERY))
                while True:
                    try:
                        answer, mapping = client.map(mapping, wanted)
                        break
                    except NoAnswer:
                        continue  # it may be starting again
                epoch.goes_on(answer.epoch, time.monotonic())
                tell("renewed", answer, mapping)
    except KeyboardInterrupt:
        delete(client, mapping)


def delete(client: Client, mapping: Mapping) -> None:
    """Give a mapping back. Raises Refused.

    A NAPT that has no such mapping answers as if it had deleted it (RFC 6887, section 15), so all
    that is known is that there is none now. While connections still use it, the answer says for how
    many seconds at least.
    """
    answer, _ = client.map(Mapping(mapping.protocol, mapping.port, mapping.nonce), 0)
    emit(
        "no-lease",
        protocol=mapping.protocol,
        port=mapping.port,
        in_use_for=answer.lifetime,
        epoch=answer.epoch,
        nonce=mapping.nonce.hex(),
    )


def _listener() -> socket.socket:
    listener = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    # Every client on this PC listens there.
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(ANNOUNCED)
    return listener


def _heard_of_restart(
    announcements: socket.socket, server: str, epoch: Epoch, seconds: float
) -> bool:
    """Wait so long, unless the NAPT announces before that it has restarted."""
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        announcements.settimeout(left)
        try:
            data, sender = announcements.recvfrom(2048)
            answer = read_answer(data, ANNOUNCE)
        except (TimeoutError, Refused):  # NAT-PMP's announcements come there, too
            continue
        if answer is None or sender != (server, PORT):
            continue
        if not epoch.goes_on(answer.epoch, time.monotonic()):
            return True
    return False
