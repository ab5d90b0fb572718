"""What programs on several nodes print, each line with the name of its node."""

from __future__ import annotations

import sys

from napt_lab.topologies.network.processes import Tell


def labeled(node: str) -> Tell:
    """Print the lines of a program on `node`, as soon as they come."""

    def tell(line: str, on_stderr: bool) -> None:
        stream = sys.stderr if on_stderr else sys.stdout
        stream.write(f"{node}: {line}\n")  # at once: other programs print, too
        stream.flush()

    return tell
