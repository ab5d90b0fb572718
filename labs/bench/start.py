"""How long a network takes: `napt-lab.bench.start FILE STARTED`, STARTED in Unix time.

Builds the topology in a sandbox of its own, as a lab does, sends a first packet from the first
host of the first site to the first public host, and takes everything down again. Prints the
seconds since STARTED: `built`, and `first_packet` when the answer was there; and the MB of
`available_memory` then.
"""

from __future__ import annotations

import json
import re
import sys
import time
from pathlib import Path

from napt_lab.topologies.sandbox import sandbox
from napt_lab.topologies.spec.loader import load


def available_memory(text: str | None = None) -> float:
    """MB that programs can still have, by a `text` that has /proc/meminfo; by itself: now."""
    if text is None:
        text = Path("/proc/meminfo").read_text()
    found = re.search(r"MemAvailable: *([0-9]+) kB", text)
    if found is None:
        raise ValueError(f"no MemAvailable in {text[-500:]!r}")
    return int(found[1]) / 1000


def main(file: str, started: str) -> int:
    topology = load(Path(file))
    sandbox.enter()
    from napt_lab.topologies.network.builder import (
        Network,  # which imports Mininet: a part of what is measured
    )

    begin = float(started)
    with Network(topology) as net:
        seconds = {"built": time.time() - begin}
        if topology.sites:
            host, server = topology.sites[0].hosts[0], topology.internet[0]
            ping = net[host.name].run(["ping", "-c", "1", "-W", "2", str(server.address.ip)])
            if ping.status:
                print(ping.stdout, file=sys.stderr)
                return 1
            seconds["first_packet"] = time.time() - begin
        print(json.dumps(seconds | {"available_memory": available_memory()}))
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
