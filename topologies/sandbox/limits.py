"""Limits of the machine, and whether one was reached while a network ran.

Theory of operation. The kernel has one table of neighbors (ARP) for all network namespaces, and one
size for their connection tables. When a table is full, the kernel drops a packet before it leaves
its host, and reports it to no program: a lab would blame its student. So a `Watch` reads the
kernel's counters when a network is built, and again when something fails and when the network ends.
A limit that was reached is an error of the machine, never a verdict.

Some limits always count: full tables, a process that was refused. Others (the clock was set, the
kernel killed a process because memory ran out, a processor's queue of packets was full) do not harm
most runs. They count only if something failed, because they may be the cause.
"""

from __future__ import annotations

import contextlib
import errno
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from subprocess import CalledProcessError

from napt_lab.topologies.sandbox import neighbor_table, process_limit
from napt_lab.topologies.sandbox.finding import Finding
from napt_lab.topologies.sandbox.sandbox import MOST_OPEN_FILES

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
    """Tells which limits of the machine were reached since `Watch()` was called."""

    def __init__(self) -> None:
        self._pids: list[int] = []
        self._found: dict[str, Finding] = {}
        self._overflows = neighbor_table.read().overflows
        self._refused = process_limit.refused()
        self._killed = _killed_for_memory()
        self._unqueued = _packets_without_queue()
        self._began, self._offset = time.monotonic(), _clock_offset()

    def add(self, pid: int) -> None:
        """Also watch the network namespace of this process."""
        self._pids.append(pid)

    @contextlib.contextmanager
    def calls(self) -> Iterator[None]:
        """Note an error in this block that means that the machine has run out of something."""
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

    def ended_by(self, error: BaseException | None) -> None:
        """Note an error that has ended the use of a network, if it was for want of open files."""
        if isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE):
            self._note(_exhausted(_OUT_OF[error.errno], str(error)))

    def reached(self, *, failed: bool) -> list[Finding]:
        """The limits that were reached; `failed`: something did not hold, or broke."""
        try:
            with self.calls():
                table = neighbor_table.read()
        except (OSError, CalledProcessError) as error:
            if failed:  # a full table may be the cause
                self._note(_unreadable_neighbor_table(error))
        else:
            if more := table.overflows - self._overflows:
                self._note(table.full(f"refused {more} entries during the run"))
        if dropped := sum(_connections_refused(pid) for pid in self._pids):
            self._note(_full_connection_table(dropped))
        try:
            with self.calls():
                if more := process_limit.refused() - self._refused:
                    self._note(_exhausted(_OUT_OF[errno.EAGAIN], f"{more} refused during the run"))
                if failed:
                    self._note_possible_causes()
        except OSError:
            if not self._found:  # else it is known already why nothing can be read any more
                raise
        return list(self._found.values())

    def _note_possible_causes(self) -> None:
        step = abs(_clock_offset() - self._offset)
        if step > CLOCK_STEP + CLOCK_SLEW * (time.monotonic() - self._began):
            self._note(
                Finding(
                    "clock",
                    f"set by {step:.1f} s during the run",
                    "checks compare the times of packets and events by this clock",
                    "run it again; if it happens again, check the machine's time service",
                )
            )
        if more := _killed_for_memory() - self._killed:
            self._note(_exhausted("memory", f"the kernel killed {more} processes during the run"))
        # Less than before: a processor was taken away, with its counter.
        if (more := _packets_without_queue() - self._unqueued) > 0:
            self._note(_full_queue(more))

    def _note(self, finding: Finding) -> None:
        self._found[finding.name] = finding


def _exhausted(what: str, found: str) -> Finding:
    fix = "end other programs or raise the limit, then run it again"
    if what == _OUT_OF[errno.EMFILE]:
        fix = (
            f"sudo prlimit --pid $$ --nofile={MOST_OPEN_FILES}:{MOST_OPEN_FILES}, and run it again"
        )
    cause = f"this machine has run out of {what}, or this container or user has"
    return Finding(what, found, cause, fix)


def _unreadable_neighbor_table(error: Exception) -> Finding:
    return Finding(
        neighbor_table.NAME,
        f"cannot be read any more: {error}",
        "it may have been full: then packets were dropped before they left their hosts",
        "end other programs, then run it again",
    )


def _full_connection_table(dropped: int) -> Finding:
    setting = Path("/proc/sys/net/netfilter/nf_conntrack_max")
    limit = int(setting.read_text()) if setting.exists() else 0
    return Finding(
        "connection table",
        f"{dropped} packets dropped; a namespace may have {limit} connections",
        "the kernel's NAT (engine: nftables) has no room for more connections",
        f"{_ON_THE_MACHINE}: sysctl -w net.netfilter.nf_conntrack_max={max(262_144, 2 * limit)}",
    )


def _full_queue(dropped: int) -> Finding:
    setting = Path("/proc/sys/net/core/netdev_max_backlog")  # not there in a container's namespace
    limit = int(setting.read_text()) if setting.exists() else 1000
    return Finding(
        "queue of packets",
        f"{dropped} packets dropped during the run",
        "each processor has one queue for the packets of all networks, and one was full",
        f"end what sends so much, or {_ON_THE_MACHINE}: sysctl -w "
        f"net.core.netdev_max_backlog={max(10_000, 2 * limit)}; then run it again",
    )


def _connections_refused(pid: int) -> int:
    """How many packets found no room in the connection table of the namespace of `pid`."""
    try:
        return without_room(Path(f"/proc/{pid}/net/stat/nf_conntrack").read_text())
    except OSError:  # no connection tracking, or the process is gone
        return 0


def without_room(statistics: str) -> int:
    """The packets dropped for lack of room, from a table of /proc/net/stat/nf_conntrack.

    `drop` also counts what two connections with the same endpoints cost, with `insert_failed`.
    """
    head, *processors = statistics.splitlines()
    drop, failed = (head.split().index(name) for name in ("drop", "insert_failed"))
    rows = [line.split() for line in processors]
    return max(0, sum(int(row[drop], 16) - int(row[failed], 16) for row in rows))


def _killed_for_memory() -> int:
    """How many processes the kernel has killed because memory ran out, since its start."""
    counters: Iterable[str] = Path("/proc/vmstat").read_text().splitlines()
    return sum(int(line.split()[1]) for line in counters if line.startswith("oom_kill "))


def _packets_without_queue() -> int:
    """How many packets of any network found their processor's queue full, since the start."""
    rows = Path("/proc/net/softnet_stat").read_text().splitlines()
    return sum(int(row.split()[1], 16) for row in rows)


def _clock_offset() -> float:
    """Seconds from a clock that cannot be set to the wall clock.

    That clock also runs while the machine sleeps.
    """
    return time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)


def describe(findings: Iterable[Finding]) -> str:
    """The findings in one line."""
    return "; ".join(f"{each.name}: {each.found} ({each.cause})" for each in findings)
