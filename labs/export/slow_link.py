"""A slow link as the kernel's netem does it (tc-netem(8)), as a line of a shell script.

It works on what leaves an interface, so each direction is set at the end where it begins. A machine
without netem says so, and its link is fast. What netem cannot do is told by `left_out`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from napt_lab.topologies.spec.link import MOST_QUEUE, Link

FULL_PACKET = 1500  # bytes
NO_NETEM = "no netem on this machine: the link of this node is fast"


def slow_down(interface: str, link: Link) -> str:
    """The line that makes slow what leaves an interface; empty if the link is not slow."""
    words = []
    if link.delay:
        words.append(f"delay {1000 * link.delay:g}ms")
        if link.jitter:
            words[-1] += f" {1000 * link.jitter:g}ms"
    if link.loss:
        words.append(f"loss {100 * link.loss:g}%")
    if link.rate:
        words.append(f"rate {link.rate:.0f}bit")
    if not words:
        return ""
    # Its limit counts those that are on the wire as well.
    on_the_wire = link.rate * (link.delay + link.jitter) / 8 / FULL_PACKET
    limit = math.ceil(link.queue + on_the_wire) if link.rate else 10 * MOST_QUEUE
    netem = f"tc qdisc replace dev {interface} root netem limit {limit} {' '.join(words)}"
    return f"{netem} || echo '{NO_NETEM}' >&2"


def left_out(node: str, link: Link) -> Iterator[str]:
    """What of the link of a node does not carry over."""
    if link.every:
        yield f"loss: {{every: {link.every}}} of {node}"
    if link.black_hole:
        yield f"black-hole of {node}"
    if link.jitter and not link.rate:
        yield f"the order of packets on the link of {node} (netem lets them overtake each other)"
