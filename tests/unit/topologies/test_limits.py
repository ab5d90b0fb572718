"""A limit of the machine that was reached during a run is the machine's error."""

from __future__ import annotations

import errno
import time
from subprocess import CalledProcessError

import pytest

from napt_lab.labs.records.stream import Stream
from napt_lab.labs.stage.steps import Claim, ClaimFailed
from napt_lab.topologies.sandbox import limits, neighbor_table, process_limit
from napt_lab.topologies.sandbox.neighbor_table import NeighborTable


@pytest.fixture
def machine(monkeypatch, tmp_path):
    """A machine whose counters the test sets."""

    class Machine:
        overflows, killed, offset, tracked, forks, unqueued = 3, 1, 0.0, 0, 5, 700

    monkeypatch.setattr(neighbor_table, "read", lambda: NeighborTable(500, 1024, Machine.overflows))
    monkeypatch.setattr(limits, "_killed_for_memory", lambda: Machine.killed)
    monkeypatch.setattr(limits, "_packets_without_queue", lambda: Machine.unqueued)
    monkeypatch.setattr(limits, "_clock_offset", lambda: Machine.offset)
    monkeypatch.setattr(process_limit, "refused", lambda: Machine.forks)
    monkeypatch.setattr(limits, "_connections_refused", lambda pid: Machine.tracked)
    return Machine


def names(findings):
    return [finding.name for finding in findings]


def test_what_was_before_the_run_does_not_count(machine):
    watch = limits.Watch()
    watch.add(1)
    assert watch.reached(failed=True) == []


def test_packets_that_never_left_count_whether_anything_failed_or_not(machine):
    watch = limits.Watch()
    watch.add(1)
    machine.overflows += 2
    machine.tracked = 9
    found = watch.reached(failed=False)
    assert names(found) == ["neighbor table", "connection table"]
    assert found[0].found == "refused 2 entries during the run"
    assert "sysctl -w net.ipv4.neigh.default.gc_thresh3=8192" in found[0].fix
    assert found[1].found.startswith("9 packets dropped")
    assert "sysctl -w net.netfilter.nf_conntrack_max=" in found[1].fix


def test_a_process_that_was_refused_on_a_node_counts(machine):
    watch = limits.Watch()
    machine.forks += 3
    (found,) = watch.reached(failed=False)
    assert (found.name, found.found) == ("processes", "3 refused during the run")


def test_what_most_runs_survive_counts_where_something_failed(machine):
    watch = limits.Watch()
    machine.killed += 1
    machine.offset -= 1.5
    machine.unqueued += 40
    assert watch.reached(failed=False) == []
    causes = ["clock", "memory", "queue of packets"]
    assert names(found := watch.reached(failed=True)) == causes
    assert found[-1].found == "40 packets dropped during the run"
    assert "sysctl -w net.core.netdev_max_backlog=10000" in found[-1].fix
    # A failure was excused with it, so the run is no pass.
    assert names(watch.reached(failed=False)) == causes


def test_a_processor_that_was_taken_away_takes_its_counters_along(machine):
    watch = limits.Watch()
    machine.unqueued -= 60
    assert watch.reached(failed=True) == []


def test_a_clock_that_is_corrected_slowly_is_not_set(machine, monkeypatch):
    watch = limits.Watch()
    began = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: began + 3600)
    machine.offset += 1.8  # 500 ppm, for an hour
    assert watch.reached(failed=True) == []


@pytest.mark.parametrize(
    ("error", "found"),
    [
        (BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable"), ["processes"]),
        (OSError(errno.EMFILE, "Too many open files"), ["open files of one process"]),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), ["memory"]),
        (RuntimeError("can't start new thread"), ["processes"]),
        (FileNotFoundError(errno.ENOENT, "No such file", "nonsense"), []),
        (RuntimeError("something else"), []),
    ],
)
def test_a_call_that_the_machine_refuses(machine, error, found):
    watch = limits.Watch()
    with pytest.raises(type(error)), watch.calls():
        raise error
    assert names(watch.reached(failed=False)) == found


def test_without_files_it_is_known_why_nothing_can_be_read(machine, monkeypatch):
    def out_of_files():
        raise OSError(errno.EMFILE, "Too many open files", "/proc/vmstat")

    watch = limits.Watch()
    monkeypatch.setattr(limits, "_killed_for_memory", out_of_files)
    watch.ended_by(OSError(errno.EMFILE, "Too many open files", "/proc/416/ns/net"))
    (found,) = watch.reached(failed=True)
    assert found.name == "open files of one process"
    assert "--nofile=4096:4096" in found.fix


def test_what_else_ends_a_run_is_no_limit(machine):
    watch = limits.Watch()
    for error in (None, OSError(errno.EAGAIN, "nothing to read"), ValueError("a test's own")):
        watch.ended_by(error)
    assert watch.reached(failed=True) == []


@pytest.mark.parametrize(
    ("error", "noted"),
    [
        (BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable"), ["processes"]),
        (FileNotFoundError(errno.ENOENT, "No such file", "ip"), []),
        (CalledProcessError(1, "ip"), []),
    ],
)
def test_a_table_that_cannot_be_read_may_be_why_something_failed(
    machine, monkeypatch, error, noted
):
    watch = limits.Watch()

    def read():
        raise error

    monkeypatch.setattr(neighbor_table, "read", read)
    assert names(watch.reached(failed=False)) == noted
    found = watch.reached(failed=True)
    assert names(found) == [*noted, "neighbor table"]
    assert found[-1].found == f"cannot be read any more: {error}"


def test_the_real_counters_can_be_read():
    """None of them moves while nothing happens, and the table has room."""
    watch = limits.Watch()
    watch.add(1)
    table = neighbor_table.read()
    assert table.limit > 0
    assert names(watch.reached(failed=True)) == []


def outcome(fault, error):
    told = []
    stream = Stream()
    stream.listen(told.append)
    with Claim(stream, "9a.exchange", "the file arrives", lambda: fault) as claim:
        claim.require(True, "curl began")
        if error is not None:
            raise error
    (check,) = [record for record in told if record["event"] == "check"]
    return check["passed"], check["broken"], check["evidence"]


@pytest.mark.parametrize("error", [ClaimFailed("no file"), OSError("no process")])
def test_a_claim_that_fails_by_the_machines_fault_could_not_be_checked(error):
    passed, broken, evidence = outcome("neighbor table: refused 2 entries", error)
    assert (passed, broken) == (False, True)
    assert evidence[-1].endswith("error of this machine: neighbor table: refused 2 entries")


def test_a_claim_that_fails_on_a_healthy_machine_failed():
    assert outcome("", ClaimFailed("no file"))[:2] == (False, False)
    assert outcome("", None)[:2] == (True, False)


@pytest.mark.parametrize(("failed", "drop", "found"), [(1, 1, 0), (0, 10, 10), (1, 11, 10)])
def test_connections_that_clash_are_no_full_table(failed, drop, found):
    """The kernel counts them as dropped as well: seen where its NAT had eight ports."""
    head = "entries  clashres found insert_failed drop early_drop"
    rows = [f"0000000a  00000000 00000015 {failed:08x} {drop:08x} 00000000", "0000000a" + " 0" * 5]
    assert limits.without_room("\n".join([head, *rows])) == found
