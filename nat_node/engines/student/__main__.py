"""Try whether a file can be a translator, before any network is built.

    python -m napt_lab.nat_node.engines.student mine.py

Exit status: 0 it can, 2 it cannot (and FILE:LINE why), 3 this machine cannot wall it in.
"""

from __future__ import annotations

import sys
from pathlib import Path

from napt_lab.nat_node.core.behavior import parse_address
from napt_lab.nat_node.core.settings import Settings
from napt_lab.nat_node.engines.student import channel
from napt_lab.nat_node.engines.student.faults import OPTIONAL, LoadError
from napt_lab.nat_node.engines.student.process import WorkerProcess
from napt_lab.nat_node.engines.student.wall import WallError

_ANY = Settings(
    parse_address("24.9.3.7"), parse_address("10.0.0.1"), parse_address("255.255.255.0")
)


def main(arguments: list[str]) -> int:
    """Load the file as the node would, and say what is in it."""
    if len(arguments) != 1:
        print("usage: python -m napt_lab.nat_node.engines.student FILE", file=sys.stderr)
        return 2
    file = Path(arguments[0])
    worker = WorkerProcess(_ANY, file)
    try:
        functions, said = worker.start()
    except LoadError as error:
        print(error, file=sys.stderr)
        return 2
    except WallError as error:
        print(f"{file}: not run: {error}", file=sys.stderr)
        return 3
    worker.end()
    for _, body in said:
        print(f"{file} prints: {channel.read(body)['text']}")
    missing = ", ".join(name for name in OPTIONAL if name not in functions)
    print(f"{file}: {', '.join(('translate', *functions))}{f'; no {missing}' if missing else ''}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
