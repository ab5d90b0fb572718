"""Tests on a network behind NAPTs: a pytest plugin, with the fixture `napt_lab`.

    def test_it_gets_through(napt_lab):
        net = napt_lab("two-sites.yaml")
        server = net["alice"].start(["python3", "/src/my_server.py"])
        assert net["bob"].run(["python3", "/src/my_client.py", "24.9.3.7"]).status == 0

Theory of operation. A test that asks for `napt_lab` runs in a sandbox of its own (topologies/
sandbox.py): pytest's process forks, the child enters the sandbox and there runs the test from
set-up to tear-down, fixtures included, so that a fixture may build a network too. What it has to
say (result, traceback, captured output) comes back through a pipe as pytest's own reports. So no
test notices another, and they may run in parallel (pytest-xdist). When a test passes its deadline
its sandbox is killed, and the report shows where every thread stood.

    @pytest.mark.napt_lab(timeout=10)  # seconds; 60 without it
"""

from __future__ import annotations

import faulthandler
import os
import pickle
import select
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from _pytest.runner import runtestprotocol

# Every project that has this plugin installed loads it, used or not: it imports late.
if TYPE_CHECKING:
    from napt_lab.topologies.network.builder import Network

DEADLINE = 60.0  # seconds
READ_SIZE = 65536


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers", "napt_lab(timeout=60): seconds that a test with the fixture napt_lab may take"
    )


@pytest.fixture
def napt_lab(request: pytest.FixtureRequest) -> Iterator[Callable[[str | Path], Network]]:
    """Build a topology and give the running network; it ends with the test.

    The file is looked for beside the test, then among those that come with NAPT Lab. A node is
    `net["alice"]`: `run(argv, timeout=…)` to its end, `start(argv)`, `address`, `home`.
    """
    from napt_lab.labs.course.topology_files import find
    from napt_lab.topologies.network.builder import Network
    from napt_lab.topologies.sandbox import preflight
    from napt_lab.topologies.sandbox.machine import Machine
    from napt_lab.topologies.spec.errors import TopologyError
    from napt_lab.topologies.spec.loader import load

    built: list[Path] = []
    with ExitStack() as stack:

        def build(topology: str | Path) -> Network:
            if built:
                pytest.fail(f"one network a test: {built[0].name} stands already", pytrace=False)
            bad = [each for each in preflight.examine_fast(Machine()) if not each.ok]
            if bad:
                pytest.fail(
                    "\n".join(f"{each.cause}\n  fix: {each.fix}" for each in bad),
                    pytrace=False,
                )
            path = find(topology, request.path.parent)
            built.append(path)
            try:
                plan = load(path)
            except TopologyError as error:
                problems = error.problems
            else:
                return stack.enter_context(Network(plan))
            pytest.fail("\n".join(map(str, problems)), pytrace=False)

        yield build


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> bool | None:
    if "napt_lab" not in getattr(item, "fixturenames", ()):
        return None
    return in_sandbox(item, nextitem, item.get_closest_marker("napt_lab"))


def in_sandbox(item: pytest.Item, nextitem: pytest.Item | None, marker: pytest.Mark | None) -> bool:
    """Run one test in a sandbox, for as long as its marker says; True, for the hook."""
    item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
    try:
        timeout = _seconds(marker)
    except ValueError as error:
        reports = [_broken(item, time.time(), str(error))]
    else:
        reports = _reports(item, timeout)
    for report in reports:
        item.ihook.pytest_runtest_logreport(report=report)
    # Set-up that was left standing for this item (its module's) was torn down in the child alone.
    item.session._setupstate.teardown_exact(nextitem)
    item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
    return True


def _seconds(marker: pytest.Mark | None) -> float:
    """How long a test may take. Raises ValueError for a marker that says anything else."""
    if marker is None:
        return DEADLINE
    words = [*map(repr, marker.args), *(f"{key}={value!r}" for key, value in marker.kwargs.items())]
    timeout = marker.kwargs.get("timeout", DEADLINE)
    if len(words) != ("timeout" in marker.kwargs) or not isinstance(timeout, int | float):
        said = f"{marker.name}({', '.join(words)})"
        raise ValueError(f"{said}: it takes timeout=SECONDS and nothing else")
    return timeout


def _reports(item: pytest.Item, timeout: float) -> list[pytest.TestReport]:
    from napt_lab.topologies.sandbox import sandbox

    # Made here once, for otherwise each child would make its own and tidy away the others'.
    item.config._tmp_path_factory.getbasetemp()  # type: ignore[attr-defined]
    stacks = os.memfd_create("stacks")
    results, results_in = os.pipe()
    started, deadline = time.time(), time.monotonic() + timeout

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
        pickled = _read_until_end(results, deadline + 0.5)
    except TimeoutError:
        os.kill(child, signal.SIGKILL)
        where = os.pread(stacks, READ_SIZE, 0).decode(errors="replace")
        where = where.partition("_pytest/python.py")[0]  # below it there is only pytest
        return [_broken(item, started, f"not done after {timeout:g} s; it stood here:\n{where}")]
    except BaseException:  # Ctrl-C: the sandbox goes with us
        os.kill(child, signal.SIGKILL)
        raise
    finally:
        os.close(results)
        os.close(stacks)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if not pickled:
        return [_broken(item, started, f"the test's process ended early, with status {status}")]
    return [pytest.TestReport._from_json(data) for data in pickle.loads(pickled)]


def _read_until_end(descriptor: int, until: float) -> bytes:
    chunks: list[bytes] = []
    while select.select([descriptor], [], [], max(0.0, until - time.monotonic()))[0]:
        chunk = os.read(descriptor, READ_SIZE)
        if not chunk:
            return b"".join(chunks)
        chunks.append(chunk)
    raise TimeoutError


def _broken(item: pytest.Item, started: float, why: str) -> pytest.TestReport:
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
