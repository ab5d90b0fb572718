"""`link:` in a topology file: what the wire of a node does to packets.

    link: {delay: 40ms, jitter: 5ms, loss: 1%, rate: 20Mbit, mtu: 1400, queue: 50}
    link: {loss: {every: 10}}
    link: dsl

Each direction has these values: a delay of 40 ms makes a round trip of 80 ms. The program that
does it is topologies/links/.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import asdict, dataclass

from napt_lab.topologies.spec.errors import not_one_of, quoted
from napt_lab.topologies.spec.scalars import count, duration, flag
from napt_lab.topologies.spec.yaml_nodes import Entry

LONGEST_DELAY = 10.0  # seconds
LEAST_MTU, MOST_MTU = 576, 1500  # every host takes 576 bytes (RFC 791), Ethernet carries 1500
MOST_QUEUE = 10_000
USUAL_QUEUE = 100
FRAME = 1514  # bytes of the longest one
KEYS = ("delay", "jitter", "loss", "rate", "mtu", "queue", "black-hole")

_PERCENT = re.compile(r"([0-9]{1,3}(?:\.[0-9]{1,6})?)%")
_MILLISECONDS = re.compile(r"([0-9]{1,5}(?:\.[0-9]{1,3})?)ms")
_RATE = re.compile(r"([0-9]{1,6}(?:\.[0-9]{1,3})?)(kbit|Mbit|Gbit)")
_UNITS = {"kbit": 1e3, "Mbit": 1e6, "Gbit": 1e9}
_seconds = duration(0, LONGEST_DELAY)


@dataclass(frozen=True, slots=True)
class Link:
    """A slow link. Times are in seconds, `rate` in bits a second (0: no limit).

    `loss`: the share of packets lost by chance; `every`: each so many-th is lost (0: none).
    `mtu`: the longest IP packet in bytes (0: 1500). With `black_hole` a longer one is lost and no
    router says so; without it the nodes at both ends know the limit.
    """

    delay: float = 0.0
    jitter: float = 0.0
    loss: float = 0.0
    every: int = 0
    rate: float = 0.0
    queue: int = USUAL_QUEUE
    mtu: int = 0
    black_hole: bool = False

    @property
    def told_mtu(self) -> int:
        """The limit that the nodes know; 0 if they know none."""
        return 0 if self.black_hole else self.mtu

    @property
    def longest(self) -> float:
        """How many seconds a packet may take, with a full queue before it."""
        waiting = 8 * FRAME * (self.queue + 1) / self.rate if self.rate else 0.0
        return self.delay + self.jitter + waiting

    def direction(self) -> dict[str, float | int]:
        """The settings of either direction, for the program that carries the frames."""
        values = asdict(self)
        del values["mtu"], values["black_hole"]
        return values | {"largest": self.mtu if self.black_hole else 0}


#: Links under the names that people use, as they are on an ordinary day.
LINKS = {
    "fiber": Link(delay=0.002, rate=300e6),
    "dsl": Link(delay=0.012, jitter=0.001, rate=16e6, mtu=1492),  # PPPoE takes 8 bytes (RFC 2516)
    "wifi": Link(delay=0.003, jitter=0.002, loss=0.005, rate=50e6),
    "4g": Link(delay=0.030, jitter=0.010, loss=0.005, rate=20e6, mtu=1430),
    "satellite": Link(delay=0.280, jitter=0.010, loss=0.005, rate=20e6),
}


def read_link(entry: Entry) -> Link | None:
    """The link at `entry`: a name or a group of settings; None if it is wrong, which is noted."""
    if not entry.is_mapping():
        return entry.read(_named)
    section = entry.section(*KEYS)
    loss, every = 0.0, 0
    if (lost := section.get("loss")) is not None:
        if lost.is_mapping():
            every = lost.section("every", required=("every",)).value_or("every", _every, 0)
        else:
            loss = lost.read(share) or 0.0
    link = Link(
        delay=section.value_or("delay", seconds, 0.0),
        jitter=section.value_or("jitter", seconds, 0.0),
        loss=loss,
        every=every,
        rate=section.value_or("rate", bits_per_second, 0.0),
        queue=section.value_or("queue", count(MOST_QUEUE), USUAL_QUEUE),
        mtu=section.value_or("mtu", packet_size, 0),
        black_hole=section.value_or("black-hole", flag, False),
    )
    if link.black_hole and "mtu" not in section:
        section["black-hole"].refuse("a black hole needs a size; allowed: mtu beside it")
    if "queue" in section and "rate" not in section:
        section["queue"].refuse("without a rate no packet waits; allowed: rate beside it")
    if link.jitter > link.delay:
        section["jitter"].refuse("it is more than the delay; allowed: at most the delay")
    return link


def _named(text: str) -> Link:
    if text not in LINKS:
        raise ValueError(
            not_one_of(f"there is no link {quoted(text)}", text, [*LINKS, "{delay: 40ms, …}"])
        )
    return LINKS[text]


def seconds(text: str) -> float:
    """A time, such as 40ms or 0.5s, in seconds."""
    if match := _MILLISECONDS.fullmatch(text):
        text = str(float(match[1]) / 1000)
    try:
        return _seconds(text)
    except ValueError:
        raise ValueError(
            f"{quoted(text)} is not a time; allowed: 0ms to {LONGEST_DELAY:g}s, as in 40ms or 0.5s"
        ) from None


def share(text: str) -> float:
    """A percentage, as a share: 1% is 0.01."""
    match = _PERCENT.fullmatch(text)
    if not match or float(match[1]) > 100:
        raise ValueError(
            f"{quoted(text)} is not a share of packets; allowed: 0% to 100%, or {{every: 10}}"
        )
    return float(match[1]) / 100


def bits_per_second(text: str) -> float:
    """A rate, such as 20Mbit."""
    match = _RATE.fullmatch(text)
    rate = float(match[1]) * _UNITS[match[2]] if match else 0.0
    if not 1e3 <= rate <= 1e10:
        raise ValueError(
            f"{quoted(text)} is not a rate; allowed: 1kbit to 10Gbit, as in 500kbit or 20Mbit"
        )
    return rate


def packet_size(text: str) -> int:
    """The size of the longest IP packet in bytes."""
    if not text.isascii() or not text.isdigit() or not LEAST_MTU <= int(text[:9]) <= MOST_MTU:
        raise ValueError(f"{quoted(text)} is not an MTU; allowed: {LEAST_MTU} to {MOST_MTU} bytes")
    return int(text)


_every: Callable[[str], int] = count(1_000_000)
