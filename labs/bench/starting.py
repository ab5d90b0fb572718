"""How long things take until they run: programs, networks, whole labs.

All of these are processes, timed from the outside as a person waits for them.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from ipaddress import IPv4Address
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from napt_lab.labs.bench.start import available_memory
from napt_lab.labs.bench.traffic import BenchError
from napt_lab.topologies.spec.checkout import ROOT, TOPOLOGIES

PATIENCE = 300.0  # seconds; `mn` may need 170 for 1,000 hosts
REST = 0.5
"""Seconds without memory coming back after which an earlier network is gone."""


class Built(NamedTuple):
    """Seconds for building a network and taking it down, and the MB of memory that it held."""

    seconds: float
    megabytes: float


def timed(*argv: str) -> float:
    """Seconds that a command takes. BenchError if it fails."""
    begin = time.monotonic()
    _run(argv)
    return time.monotonic() - begin


def first_packet(topology: Path) -> float:
    """Seconds from the command that builds a topology to the answer to a first packet."""
    argv = [sys.executable, "-m", "napt_lab.labs.bench.start", str(topology), str(time.time())]
    answer: dict[str, float] = json.loads(_run(argv))
    return answer["first_packet"]


def many_hosts(count: int, napts: int = 0) -> Built:
    """Build a network of `count` hosts and take it down, as a command.

    All are on one segment, behind the kernel's NAT; or behind so many NAPTs of ours.
    """
    with TemporaryDirectory() as folder:
        topology = Path(folder) / "many.yaml"
        topology.write_text(many_hosts_topology(count, napts))
        argv = [sys.executable, "-m", "napt_lab.labs.bench.start", str(topology), str(time.time())]
        return _build(argv, lambda out: float(json.loads(out)["available_memory"]))


def many_hosts_topology(count: int, napts: int = 0) -> str:
    """A topology file for many_hosts, and little else."""
    text = f"title: {count} hosts\ninternet: {{server: 151.101.1.69}}\nsites:\n"
    outside, inside = IPv4Address("24.9.0.2"), IPv4Address("10.0.0.2")
    engine = "python" if napts else "nftables"
    for site in range(sites := napts or 1):
        keys = f"kind: napt, engine: {engine}, public: {outside + site}/16, private: 10.0.0.1/16"
        text += f"  s{site}:\n    gateway: {{{keys}}}\n    hosts:\n"
        numbers = range(count // sites)
        text += "".join(f"      h{site}_{number}: {inside + number}\n" for number in numbers)
    return text


def check(sentences: int) -> float:
    """Seconds that `check` takes for so many sentences on one network."""
    with TemporaryDirectory() as folder:
        topology = Path(folder) / "sentences.yaml"
        topology.write_text(sentences_topology(sentences))
        return timed(sys.executable, "-m", "napt_lab.labs", "check", str(topology))


def sentences_topology(count: int) -> str:
    """A topology file with so many sentences, half of them on what cannot be done."""
    text = (TOPOLOGIES / "two-sites.yaml").read_text(encoding="utf-8").partition("\nexpect:")[0]
    pair = (
        "  - alice reaches files:8080 as 24.9.3.7\n",
        "  - bob cannot reach alice:8080 at 24.9.3.7 because no-rule at napt_a\n",
    )
    return f"{text}\nexpect:\n" + "".join(pair[number % 2] for number in range(count))


def many_hosts_of_mininet(count: int) -> Built:
    """The same for `mn` and a Linux bridge."""
    with TemporaryDirectory() as folder:
        look = Path(folder) / "look"
        look.write_text("sh cat /proc/meminfo\n")
        argv = ["mn", "--topo", f"single,{count}", "--switch", "lxbr", "--controller", "none",
                "--test", "none", "--post", str(look)]  # fmt: skip
        return _build(argv, available_memory)


def _build(argv: list[str], available: Callable[[str], float]) -> Built:
    """Run a command; `available` finds in what it printed the MB that were left beside it."""
    free = 0.0
    while (now := available_memory()) > free + 1:  # the kernel still takes an earlier one down
        free = now
        time.sleep(REST)
    begin = time.monotonic()
    out = _run(argv)
    return Built(time.monotonic() - begin, now - available(out))


def _run(argv: list[str] | tuple[str, ...]) -> str:
    try:
        done = subprocess.run(
            argv, capture_output=True, text=True, check=False, timeout=PATIENCE, cwd=ROOT,
            stdin=subprocess.DEVNULL,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as error:
        raise BenchError(f"{' '.join(argv)}: {error}") from None
    if done.returncode:
        raise BenchError(f"{' '.join(argv)}: status {done.returncode}: {done.stderr[-500:]}")
    return done.stdout
