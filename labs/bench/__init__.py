"""`make bench`: this translator beside the kernel's, on the same topology, in turns.

suite.py         which rows there are, and the order in which they are measured
traffic.py       the engines side by side, and what goes through them
relaying.py      the TURN server beside coturn's
starting.py      how long things take until they run
figures.py       medians, spread, ratios, targets
figure_table.py  the table with bars
traffic_load.py, scapy_nat.py, start.py
                 programs that run on the nodes
"""

from __future__ import annotations


def run_bench(seconds: float = 1.0, rounds: int = 3) -> int:
    """Measure everything, in the sandbox; write bench.json and print the table.

    Each measurement takes `seconds`, and each is made `rounds` times. The labs are played as well,
    so runs/latest is another run afterwards. Returns the exit status: 1 if something could not be
    measured. A target that is missed is shown, and no failure: the machine may be busy.
    """
    from napt_lab.labs.bench.suite import run  # `import labs.bench` costs nothing

    return run(seconds, rounds)
