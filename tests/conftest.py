"""Each test marked `network` runs in a sandbox of its own; tests run in parallel.

The worker process forks; the child enters a sandbox and there runs the test from set-up to
tear-down, fixtures included, so that a fixture may build a network. What it has to say (result,
traceback, captured output) comes back as pytest's own reports through a pipe. When a test
passes its deadline its sandbox is killed, and the report shows where every thread stood.

    @pytest.mark.network              # 60 seconds
    @pytest.mark.network(timeout=10)  # seconds
"""

from __future__ import annotations

import faulthandler
import os
import pickle
import select
import signal
import time
from typing import Any

import pytest
from _pytest.runner import runtestprotocol
from hypothesis import settings

from topologies import sandbox

# How long an example takes depends on what else the machine does. What it finds does not go into
# the checkout.
settings.register_profile("lab", deadline=None, database=None)
settings.load_profile("lab")

DEADLINE = 60.0  # seconds
READ_SIZE = 65536
LONGEST_NAME = 16  # bytes of a parameter that may stand in a test's name


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> bool | None:
    marker = item.get_closest_marker("network")
    if marker is None:
        return None
    item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
    for report in run_in_sandbox(item, marker.kwargs.get("timeout", DEADLINE)):
        item.ihook.pytest_runtest_logreport(report=report)
    # Set-up that was left standing for this item (its module's) was torn down in the child alone.
    item.session._setupstate.teardown_exact(nextitem)
    item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
    return True


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Packets as names are hard to read, and differ between workers if one holds the time."""
    return argname if isinstance(val, bytes) and len(val) > LONGEST_NAME else None


def run_in_sandbox(item: pytest.Item, timeout: float) -> list[pytest.TestReport]:
    # Made here once, for otherwise each child would make its own and tidy away the others'.
    item.config._tmp_path_factory.getbasetemp()  # type: ignore[attr-defined]
    stacks = os.memfd_create("stacks")
    results, results_in = os.pipe()
    started = time.time()

    def work() -> int:
        os.close(results)
        faulthandler.dump_traceback_later(timeout, file=stacks)
        reports = runtestprotocol(item, nextitem=None, log=False)
        with os.fdopen(results_in, "wb") as stream:
            pickle.dump([report._to_json() for report in reports], stream)
        return 0

    child = sandbox.fork_into(work)
    os.close(results_in)
    try:
        # The stacks are written at the deadline, and the kill must come after them.
        pickled = read_until_end(results, started + timeout + 0.5)
    except TimeoutError:
        os.kill(child, signal.SIGKILL)
        where = os.pread(stacks, READ_SIZE, 0).decode(errors="replace")
        where = where.partition("_pytest/python.py")[0]  # below it there is only pytest
        return [broken(item, started, f"not done after {timeout:g} s; it stood here:\n{where}")]
    except BaseException:  # Ctrl-C: the sandbox goes with us
        os.kill(child, signal.SIGKILL)
        raise
    finally:
        os.close(results)
        os.close(stacks)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if not pickled:
        return [broken(item, started, f"the test's process ended early, with status {status}")]
    return [pytest.TestReport._from_json(data) for data in pickle.loads(pickled)]


def read_until_end(descriptor: int, until: float) -> bytes:
    chunks: list[bytes] = []
    while select.select([descriptor], [], [], max(0.0, until - time.time()))[0]:
        chunk = os.read(descriptor, READ_SIZE)
        if not chunk:
            return b"".join(chunks)
        chunks.append(chunk)
    raise TimeoutError


def broken(item: pytest.Item, started: float, why: str) -> pytest.TestReport:
    sections: list[tuple[str, str]] = []
    capture: Any = item.config.pluginmanager.getplugin("capturemanager")
    if capture is not None:
        for name, text in zip(("stdout", "stderr"), capture.read_global_capture(), strict=True):
            if text:
                sections.append((f"Captured {name} call", text))
    return pytest.TestReport(
        item.nodeid,
        item.location,
        dict.fromkeys(item.keywords, 1),
        "failed",
        f"{item.nodeid}: {why}",
        "call",
        sections,
        duration=time.time() - started,
        start=started,
        stop=time.time(),
    )
