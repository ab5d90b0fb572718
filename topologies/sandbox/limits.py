"""Limits that everything on this machine shares, and whether one was reached during a run.

Theory of operation. The kernel has one table of neighbors (ARP) and one size for tables of
connections, for all network namespaces together. When one is full, the kernel drops a packet
before it leaves its host, and no program hears of it: a lab would blame its student. So a `Watch`
notes the kernel's counters when a network is built, and compares them when something fails and
when the network ends. A limit that was reached is an error of the machine, never a verdict.
"""

from __future__ import annotations

import contextlib
import errno
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from napt_lab.topologies.sandbox import neighbor_table
from napt_lab.topologies.sandbox.finding import Finding

CLOCK_STEP = 1.0  # seconds by which the clock may be corrected during a run
CLOCK_SLEW = 0.001  # … and the part of a run's time: NTP corrects by 500 ppm at most

_OUT_OF = {
    errno.EAGAIN: "processes",
    errno.ENOMEM: "memory",
    errno.EMFILE: "open files of one process",
    errno.ENFILE: "open files",
    errno.ENOSPC: "space on a disk, or inotify watches",
    errno.EDQUOT: "space within a quota",
}
_ON_THE_MACHINE = "as root, on the machine itself if this is a container"


class Watch:
    """Which limits of the machine were reached since `Watch()` was made.

    `pids` of processes in the network namespaces to watch are added by `add`.
    """

    def __init__(self) -> None:
        self._pids: list[int] = []
        self._found: dict[str, Finding] = {}
        self._overflows = neighbor_table.read().overflows
        self._killed = _killed_for_memory()
        self._began, self._offset = time.monotonic(), _clock_offset()

    def add(self, pid: int) -> None:
        """Watch the network namespace of this process as well."""
        self._pids.append(pid)

    @contextlib.contextmanager
    def calls(self) -> Iterator[None]:
        """Note it if a call in this block fails because the machine has run out of something."""
        try:
            yield
        except OSError as error:
            if error.errno in _OUT_OF:
                self._note(_exhausted(_OUT_OF[error.errno], str(error)))
            raise
        except RuntimeError as error:
            if "can't start new thread" in str(error):  # Python drops the errno
                self._note(_exhausted(_OUT_OF[errno.EAGAIN], str(error)))
            raise

    def reached(self, *, failed: bool) -> list[Finding]:
        """The limits that were reached.

        `failed`: something did not hold or broke. Then causes count as well that do no harm to
        most runs: the clock was set, or the kernel ended a process for want of memory.
        """
        table = neighbor_table.read()
        if more := table.overflows - self._overflows:
            self._note(table.full(f"refused {more} entries during the run"))
        if dropped := sum(_connections_refused(pid) for pid in self._pids):
            self._note(_full_connection_table(dropped))
        if failed:
            self._note_doubts()
        return list(self._found.values())

    def _note_doubts(self) -> None:
        step = abs(_clock_offset() - self._offset)
        if step > CLOCK_STEP + CLOCK_SLEW * (time.monotonic() - self._began):
            self._note(
                Finding(
                    "clock",
                    f"set by {step:.1f} s during the run",
                    "packets and events are put in order by the machine's clock",
                    "run it again; if it happens again, look at the machine's time service",
                )
            )
        if more := _killed_for_memory() - self._killed:
            self._note(_exhausted("memory", f"the kernel ended {more} processes during the run"))

    def _note(self, finding: Finding) -> None:
        self._found[finding.name] = finding


def _exhausted(what: str, found: str) -> Finding:
    return Finding(
        what,
        found,
        f"this machine, or the container or user account that this runs in, has run out of {what}",
        "end other programs, or raise the limit; then run it again",
    )


def _full_connection_table(dropped: int) -> Finding:
    setting = Path("/proc/sys/net/netfilter/nf_conntrack_max")
    limit = int(setting.read_text()) if setting.exists() else 0
    return Finding(
        "connection table",
        f"{dropped} packets dropped: a NAPT may track {limit} connections",
        "the kernel's NAT (engine: nftables) keeps at most so many, and the machine says how many",
        f"{_ON_THE_MACHINE}: sysctl -w net.netfilter.nf_conntrack_max={max(262_144, 2 * limit)}",
    )


def _connections_refused(pid: int) -> int:
    """How many packets connection tracking dropped in the network namespace of `pid`."""
    try:
        head, *processors = Path(f"/proc/{pid}/net/stat/nf_conntrack").read_text().splitlines()
    except OSError:  # no connection tracking, or the process is gone
        return 0
    column = head.split().index("drop")
    return sum(int(line.split()[column], 16) for line in processors)


def _killed_for_memory() -> int:
    """How many processes the kernel has ended because memory ran out, since the start."""
    counters: Iterable[str] = Path("/proc/vmstat").read_text().splitlines()
    return sum(int(line.split()[1]) for line in counters if line.startswith("oom_kill "))


def _clock_offset() -> float:
    """How far the wall clock is ahead of one that nobody can set, in seconds.

    That clock also runs while the machine sleeps.
    """
    return time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)


def describe(findings: Iterable[Finding]) -> str:
    """The findings, in one line."""
    return "; ".join(f"{each.name}: {each.found} ({each.cause})" for each in findings)
