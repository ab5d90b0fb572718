"""`pingall`, as in Mininet, but all pings at once, and without a shell: who can ping whom.

Mininet's own types one ping after the other into the nodes' shells, and waits for each that gets
no answer. Here the address is always the one that the other node has: two sites may have the same
private address, and then the wrong one may answer, as in real networks.
"""

from __future__ import annotations

from napt_lab.topologies.network.builder import Network

PATIENCE = 1  # seconds
MOST_PINGS = 200
DONE_SECONDS = 20.0


def pingall(net: Network) -> list[str]:
    """A line for each node, with those that answered it, and X for those that did not."""
    nodes = list(net)
    if len(nodes) * (len(nodes) - 1) > MOST_PINGS:
        return [f"{len(nodes)} nodes are too many for that: at most {MOST_PINGS} pings at once"]
    pings = {
        (node.name, other.name): node.start(
            ["ping", "-q", "-n", "-c", "1", "-W", str(PATIENCE), str(other.address)]
        )
        for node in nodes
        for other in nodes
        if other is not node
    }
    ended = {pair: ping.wait(DONE_SECONDS).status == 0 for pair, ping in pings.items()}
    lines = []
    for node in nodes:
        words = [
            other.name if ended[node.name, other.name] else "X" for other in nodes if other != node
        ]
        lines.append(f"{node.name} -> {' '.join(words)}")
    lost = list(ended.values()).count(False)
    return [*lines, f"{lost} of {len(ended)} pings got no answer"]
