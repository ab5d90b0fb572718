"""Assertions about a running topology: what its `expect:` says, found out on its wires.

run.py         all expectations of a topology, side by side where they may be
outcome.py     how a check ends: passed, failed, or could not be made
ground.py      the network as checks see it: who holds an address, who is whose neighbor
listeners.py   what answers where the topology runs no service of its own
probes.py      one try to reach somebody: sockets, ping, curl, on the node itself
trail.py       one packet, wherever it passed; and by which kind of path it came
drops.py       what translators report
diagnosis.py   where a packet ended, and why
reaching.py    `reaches` and `cannot reach`
"""

from labs.check.outcome import Outcome, Verdict
from labs.check.run import run_checks

__all__ = ["Outcome", "Verdict", "run_checks"]
