"""The "host" of sandboxes in tests: what can be seen there, and a sandbox that builds something.

Each test runs in a sandbox of its own, which is "the host" here: a quiet one, in which every
process, interface and mount can be counted. In it, further sandboxes are started and killed.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.waiting import wait_until

ROOT = Path(__file__).parents[2]
BUILDING = """
import subprocess, sys
from napt_lab.topologies.sandbox import sandbox
sandbox.enter()
subprocess.run(["ip", "link", "add", "pc-eth0", "type", "veth", "peer", "gw-eth0"], check=True)
subprocess.run(["ip", "address", "add", "10.0.0.7/24", "dev", "pc-eth0"], check=True)
subprocess.run(["nft", "add", "table", "ip", "lab"], check=True)
subprocess.run(["mount", "-t", "tmpfs", "tmpfs", "/sys"], check=True)
(sandbox.RUN_DIRECTORY / "file").touch()
for _ in range(3):  # in sessions of their own, as daemons are
    subprocess.Popen(["sleep", "1000"], start_new_session=True)
"""
BUILT = "print('built', flush=True)\n"
WAITING = BUILDING + BUILT + "sys.stdin.read()\n"


def start(program: str, **options) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", program],
        cwd=ROOT,
        stdin=options.pop("stdin", subprocess.PIPE),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


def output(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def host() -> dict[str, object]:
    """Everything a sandbox could leave behind or change, as this test's own "host" shows it."""
    return {
        "processes": processes(),
        "links": output("ip", "-o", "link"),
        "addresses": output("ip", "-o", "address"),
        "rules": output("ip", "rule"),
        "nftables": output("nft", "list", "ruleset"),
        "mounts": Path("/proc/self/mountinfo").read_text(),
        "run": sorted(str(path) for path in Path("/run").rglob("*")),
        "hostname": os.uname().nodename,
        "forwarding": Path("/proc/sys/net/ipv4/ip_forward").read_text(),
        "files": Path("/proc/sys/fs/file-max").read_text(),
    }


def processes() -> set[str]:
    return {p.name for p in Path("/proc").iterdir() if p.name.isdigit() and not ended(p)}


def ended(process: Path) -> bool:
    try:
        return (process / "stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except OSError:
        return True


def await_same(before: dict[str, object], seconds: float = 20.0) -> None:
    # A whole look starts processes itself: only when those of the sandbox have gone.
    wait_until(lambda: processes() == before["processes"], "the end of its processes", seconds)
    wait_until(lambda: host() == before, lambda: f"{before}, not {host()}", seconds)


def processes_of(outer: int) -> list[int]:
    """The outer process and all its descendants, in the order of their making."""
    family = [outer]
    for parent in family:
        tasks = Path(f"/proc/{parent}/task/{parent}/children")
        family += [int(child) for child in tasks.read_text().split()]
    return family
