"""One test in a sandbox: pytest's process waits, a child of it runs the test and reports.

Theory of operation. The child is a fork of pytest's process, so it has all plugins and all that
was set up. In it the sender (sender.py) sends what pytest says of the test, message by message.
Here each message becomes again what it was: a report, a warning, a property of the JUnit file, an
end of the session. What was reported before the child died counts, and its death is an error of
the test. So is a message that cannot be sent or read, and a child that ends without having reported
the whole test.

The test's time runs in the child. When it is over, faulthandler writes where every thread is and
ends the child, also if the test hangs in C code. This process ends it only if that fails.
"""

from __future__ import annotations

import math
import os
import pickle
import re
import signal
import time
import warnings
from collections.abc import Iterable
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest

from napt_lab.labs.pytest_plugin import one_network  # noqa: F401  once here, not in each child
from napt_lab.labs.pytest_plugin.sender import Sender, coverage_data, junit_file
from napt_lab.topologies.sandbox import sandbox

DEADLINE = 60.0  # seconds
PATIENCE = 3.0  # seconds after a test's time until this process ends it
MOST_STACKS = 1 << 20  # bytes
FRAME = re.compile(r'  File "(.*)", line (\d+) in (.*)')


class Receiver:
    """What the child reports of one test, told to pytest's plugins."""

    def __init__(self, item: pytest.Item, timeout: float) -> None:
        self.item = item
        self.phases: dict[str, str] = {}  # what was reported of the test: outcome by phase
        self.lost: str | None = None
        self.stop: BaseException | None = None
        self.ended = False
        self.terminal_taken = False
        self._until: float | None = None
        self._timeout = timeout
        self._junit = junit_file(item.config)

    def until_end(self, channel: Connection) -> None:
        """Pass on all messages. EOFError if the child dies, TimeoutError if it does not end."""
        self._start_time()
        while not self.ended:
            left = None if self._until is None else max(0.0, self._until - time.monotonic())
            if not channel.poll(left):
                raise TimeoutError
            message = channel.recv_bytes()
            try:
                kind, content = pickle.loads(message)
            except Exception as error:  # noqa: BLE001  # pickle raises anything; reported
                self.lost = f"a message of the test cannot be read: {error!r}"
            else:
                self._pass_on(kind, content)

    def missing(self) -> str | None:
        """The phase of the test of which there is no report, though the test has ended."""
        if self.stop is not None:
            return None
        if self.phases.get("setup") == "passed" and not self.item.config.getoption(
            "setuponly", False
        ):
            return next((each for each in ("call", "teardown") if each not in self.phases), None)
        return next((each for each in ("setup", "teardown") if each not in self.phases), None)

    def _pass_on(self, kind: str, content: Any) -> None:
        config, session = self.item.config, self.item.session
        if kind == "report":
            data, attributes = content
            report = config.hook.pytest_report_from_serializable(config=config, data=data)
            self.phases[report.when] = report.outcome
            for name, value in attributes.items():
                self._junit.node_reporter(report).add_attribute(name, value)
            self.item.ihook.pytest_runtest_logreport(report=report)
        elif kind == "warning":
            category, text, file, number, line = content
            message = warnings.WarningMessage(text, category, file, number, line=line)
            config.hook.pytest_warning_recorded.call_historic(
                kwargs={
                    "warning_message": message,
                    "nodeid": self.item.nodeid,
                    "when": "runtest",
                    "location": None,
                }
            )
        elif kind == "attempt":
            self._start_time()
        elif kind == "debugger":
            self._until = None
        elif kind == "terminal":
            self.terminal_taken = True
        elif kind == "lines":
            known = coverage_data()
            new = type(known)(no_disk=True)
            new.loads(content)
            known.update(new)
        elif kind == "properties":
            for name, value in content:
                self._junit.add_global_property(name, value)
        elif kind == "lost":
            self.lost = content
        elif kind == "exit":
            self.stop = pytest.exit.Exception(*content)
        elif kind == "interrupt":
            self.stop = KeyboardInterrupt()
        elif kind == "end":
            attributes, ends = content
            vars(self.item).update(attributes)
            for name, reason in ends.items():
                setattr(session, name, reason)
            self.ended = True

    def _start_time(self) -> None:
        self._until = time.monotonic() + self._timeout + PATIENCE


def run(item: pytest.Item, marker: pytest.Mark | None, set_up: Iterable[Any]) -> None:
    """Run one test in a sandbox, for as long as its marker says, and report what happens there.

    `set_up`: the fixtures that were set up in this process, which tears them down. Raises what
    ends the session: pytest.exit, KeyboardInterrupt.
    """
    started = time.time()
    try:
        timeout = _seconds(marker)
    except ValueError as error:
        _report_error(item, "call", str(error), started)
        return
    receiver = Receiver(item, timeout)
    trouble = _run_child(receiver, timeout, set_up)
    if trouble is not None:
        phase = "teardown" if "call" in receiver.phases else "call"
        _report_error(item, phase, trouble, started)
    if receiver.stop is not None:
        raise receiver.stop


def _seconds(marker: pytest.Mark | None) -> float:
    """How long a test may take. Raises ValueError for a marker that says anything else."""
    if marker is None:
        return DEADLINE
    timeout = marker.kwargs.get("timeout", DEADLINE)
    understood = not marker.args and marker.kwargs.keys() <= {"timeout"}
    if understood and isinstance(timeout, int | float) and 0 < timeout < math.inf:
        return timeout
    words = [*map(repr, marker.args), *(f"{key}={value!r}" for key, value in marker.kwargs.items())]
    raise ValueError(
        f"{marker.name}({', '.join(words)}) is not valid: write {marker.name}(timeout=SECONDS)"
    )


def _run_child(receiver: Receiver, timeout: float, set_up: Iterable[Any]) -> str | None:
    """Fork the child and pass on what it reports; what went wrong with the child, if anything."""
    item = receiver.item
    # Made here once: otherwise each child would make its own and remove the others'.
    if (temporary := getattr(item.config, "_tmp_path_factory", None)) is not None:
        temporary.getbasetemp()
    terminal = sandbox.foreground_terminal()
    stacks = os.memfd_create("stacks")
    here, there = Pipe(duplex=False)
    child = sandbox.fork_into(Sender(item, set_up, there, timeout, stacks, terminal).run)
    there.close()
    late = False
    try:
        receiver.until_end(here)
    except EOFError:
        pass  # said below, with the child's exit status
    except TimeoutError:
        late = True
        os.kill(child, signal.SIGKILL)
    except BaseException:  # Ctrl-C, for one: the sandbox ends with the test
        os.kill(child, signal.SIGKILL)
        raise
    finally:
        here.close()
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        where = os.pread(stacks, MOST_STACKS, 0).decode(errors="replace")
        os.close(stacks)
        if terminal is not None:
            if receiver.terminal_taken:
                sandbox.take_terminal(terminal)
            os.close(terminal)
    if receiver.lost is not None:
        return receiver.lost
    how = f"signal {status - 128}" if status > 128 else f"status {status}"
    if receiver.ended and status:
        return f"the test's process ended with {how} after its last report"
    if receiver.ended:
        missing = receiver.missing()
        return missing and f"the test ended without a report of its {missing}"
    if where or late:
        return _hang(item, timeout, where)
    return f"the test's process ended early, with {how}"


def _hang(item: pytest.Item, timeout: float, stacks: str) -> str:
    """The report of a test whose time is over: the test's own line, then the threads' stacks."""
    threads = [thread.splitlines() for thread in re.split(r"\n(?=Thread )", stacks)]
    # Pytest's thread: above pytest's own frames are the test's, the newest first.
    main = next((each for each in threads if "/_pytest/" in "".join(each)), [])
    below = next((n for n, line in enumerate(main) if "/_pytest/" in line), 0)
    frames = [match for line in main[:below] if (match := FRAME.match(line))]
    own = [each for each in frames if each[1] == str(item.path)] or [
        each
        for each in frames
        if Path(each[1]).is_relative_to(item.config.rootpath) and "site-packages" not in each[1]
    ]
    file, line, name = own[-1].groups() if own else (item.path, (item.location[1] or 0) + 1, "")
    place = os.path.relpath(file, item.config.invocation_params.dir)
    others = [line for each in threads[1:] if each is not main for line in each]
    return "\n".join(
        [
            f"{place}:{line}: in {name or item.name}: not done after {timeout:g} s",
            "It stood here (most recent call first):",
            *(each[0] for each in frames),
            *others,
        ]
    )


def _report_error(item: pytest.Item, phase: Any, text: str, started: float) -> None:
    """Report an error of the test that the test itself could not report."""
    sections: list[tuple[str, str]] = []
    capture: Any = item.config.pluginmanager.getplugin("capturemanager")
    if capture is not None:
        for name, output in zip(("stdout", "stderr"), capture.read_global_capture(), strict=True):
            if output:
                sections.append((f"Captured {name} {phase}", output))
    report = pytest.TestReport(
        item.nodeid,
        item.location,
        dict.fromkeys(item.keywords, 1),
        "failed",
        text,
        phase,
        sections,
        duration=time.time() - started,
        start=started,
        stop=time.time(),
    )
    item.ihook.pytest_runtest_logreport(report=report)
