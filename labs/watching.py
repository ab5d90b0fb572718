"""The packets of a node, live: one line each, until somebody has seen enough.

tcpdump would do as well, but it gives its rights away by changing to a user that does not exist
in an ordinary user's sandbox. So this reads the interfaces as the labs' own capture does.
"""

from __future__ import annotations

import contextlib
import select
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial

from labs.packets import decode_frame
from labs.ring import Ring
from topologies.namespaces import visit
from topologies.node import Node

LINES_AT_ONCE = 100  # of one interface; a burst beyond that is only counted
ROUND_SECONDS = 0.1  # how often it looks whether the command has ended


def watch(
    node: Node,
    interfaces: Sequence[str],
    say: Callable[[str], None],
    start: Callable[[], subprocess.Popen[bytes]] | None = None,
) -> None:
    """Say each packet at `interfaces` until Enter is typed or Ctrl-C.

    `start` starts a command once the interfaces are watched; its end is the end of watching.
    """
    with contextlib.ExitStack() as stack:
        rings = {
            name: stack.enter_context(contextlib.closing(visit(node.pid, partial(Ring, name))))
            for name in interfaces
        }
        began = time.time_ns()
        command = stack.enter_context(_ended(start())) if start is not None else None
        with contextlib.suppress(KeyboardInterrupt):
            while True:
                # Asked before reading: what passed before its end is in the rings then.
                ended = command is not None and command.poll() is not None
                ready, _, _ = select.select([sys.stdin, *rings.values()], [], [], ROUND_SECONDS)
                _tell(rings, began, say)
                if sys.stdin in ready:
                    sys.stdin.readline()
                    return
                if ended:
                    return


@contextlib.contextmanager
def _ended(command: subprocess.Popen[bytes]) -> Iterator[subprocess.Popen[bytes]]:
    """Whatever happens, the command does not outlive this."""
    try:
        yield command
    finally:
        command.kill()
        command.wait()


def _tell(rings: dict[str, Ring], began: int, say: Callable[[str], None]) -> None:
    """Say what is in the rings, in the order in which it passed."""
    seen = []
    left_out = 0
    for name, ring in rings.items():
        for number, (nanoseconds, outgoing, _, data) in enumerate(ring.read()):
            if number < LINES_AT_ONCE:
                seen.append((nanoseconds, name, outgoing, data))
            else:
                left_out += 1
    for nanoseconds, name, outgoing, data in sorted(seen):
        way = "out" if outgoing else "in "
        say(f"{(nanoseconds - began) / 1e9:7.3f} {name} {way} {decode_frame(data)}")
    if left_out:
        say(f"        … and {left_out:,} more, too fast to show")
