"""A process in a sandbox that runs tests: pytest's process waits, this child of it reports.

Theory of operation. The child is a fork of pytest's process, so it has all plugins and all that
was set up. It runs one test; or one after another those of a module or session that share a
network. In it the sender (sender.py) does what is asked of it, and sends what pytest says of the
test, message by message; the receiver (receiver.py) passes the messages on. What was reported
before the child died counts, and its death is an error of the test. So is a message that cannot be
sent or read, and a child that ends without having reported the whole test.

The test's time runs in the child. When it is over, faulthandler writes where every thread is and
ends the child, also if the test hangs in C code. This process ends it only if that fails.
"""

from __future__ import annotations

import math
import os
import re
import signal
import time
from collections.abc import Iterable
from multiprocessing import Pipe
from pathlib import Path
from typing import Any

import pytest

from napt_lab.labs.pytest_plugin import one_network  # noqa: F401  once here, not in each child
from napt_lab.labs.pytest_plugin.receiver import Receiver
from napt_lab.labs.pytest_plugin.sender import Following, Request, Sender
from napt_lab.topologies.sandbox import sandbox

DEADLINE = 60.0  # seconds
MOST_STACKS = 1 << 20  # bytes
FRAME = re.compile(r'  File "(.*)", line (\d+) in (.*)')
KEYS = {"timeout", "capture"}  # of the marker
OURS = str(Path(sandbox.__file__).parents[2])  # the threads of a network stand in files there


class Child:
    """The child of this process: `run` each test in it, then `end` it."""

    def __init__(self, item: pytest.Item, set_up: Iterable[Any]) -> None:
        """Fork. `set_up`: the fixtures that were set up in this process, which tears them down."""
        # Made here once: otherwise each child would make its own and remove the others'.
        if (temporary := getattr(item.config, "_tmp_path_factory", None)) is not None:
            temporary.getbasetemp()
        self._terminal = sandbox.foreground_terminal()
        self._stacks = os.memfd_create("stacks")
        self._channel, there = Pipe()
        sender = Sender(item, set_up, there, self._stacks, self._terminal)
        self._pid = sandbox.fork_into(sender.run)
        there.close()
        self.lives = True

    def run(self, item: pytest.Item, marker: pytest.Mark | None, following: Following) -> None:
        """Run one test, for as long as its marker says, and report what happens there.

        If nothing is `following`, the child ends. Raises what ends the session: pytest.exit,
        KeyboardInterrupt.
        """
        started = time.time()
        trouble: str | None
        receiver = None
        try:
            receiver = Receiver(item, _seconds(marker))
        except ValueError as error:
            trouble = str(error)
        else:
            trouble = self._ask(receiver, Request.of(item, following, receiver.timeout))
            if trouble is None and (missing := receiver.missing()):
                trouble = f"the test ended without a report of its {missing}"
        if self.lives and following is None:
            trouble = trouble or self.end(item)
        if trouble is not None:
            phase = "teardown" if receiver and "call" in receiver.phases else "call"
            report_error(item, phase, trouble, started)
        if receiver and receiver.stop is not None:
            raise receiver.stop

    def end(self, item: pytest.Item) -> str | None:
        """Have the child tear down and end; what went wrong. What it reports is of `item`."""
        trouble = self._ask(Receiver(item, DEADLINE), None)
        status = self._reap() if self.lives else 0
        if trouble is None and status:
            trouble = f"the test's process ended with {_how(status)} after its last report"
        return trouble

    def _ask(self, receiver: Receiver, request: Request | None) -> str | None:
        """Pass on what the child reports until it has done this; what went wrong."""
        late = False
        try:
            self._channel.send(request)
            receiver.until_end(self._channel)
        except (EOFError, ConnectionError):
            pass  # said below, with the child's exit status
        except TimeoutError:
            late = True
            os.kill(self._pid, signal.SIGKILL)
        except BaseException:  # Ctrl-C, for one: the sandbox ends with the test
            self.kill()
            raise
        finally:
            if self._terminal is not None and receiver.terminal_taken:
                sandbox.take_terminal(self._terminal)
        if receiver.ended:
            return receiver.lost
        where = os.pread(self._stacks, MOST_STACKS, 0).decode(errors="replace")
        status = self._reap()
        if receiver.lost is not None:
            return receiver.lost
        if where or late:
            return _hang(receiver.item, receiver.timeout, where)
        return f"the test's process ended early, with {_how(status)}"

    def kill(self) -> None:
        """End the child now, and its sandbox with it."""
        os.kill(self._pid, signal.SIGKILL)
        self._reap()

    def _reap(self) -> int:
        """Wait for the child's end; its exit status."""
        self.lives = False
        self._channel.close()
        status = os.waitstatus_to_exitcode(os.waitpid(self._pid, 0)[1])
        os.close(self._stacks)
        if self._terminal is not None:
            os.close(self._terminal)
        return status


def _how(status: int) -> str:
    return f"signal {status - 128}" if status > 128 else f"status {status}"


def _seconds(marker: pytest.Mark | None) -> float:
    """How long a test may take. Raises ValueError for a marker that says anything else."""
    if marker is None:
        return DEADLINE
    timeout = marker.kwargs.get("timeout", DEADLINE)
    understood = (
        not marker.args
        and marker.kwargs.keys() <= KEYS
        and isinstance(marker.kwargs.get("capture", True), bool)
    )
    if understood and isinstance(timeout, int | float) and 0 < timeout < math.inf:
        return timeout
    words = [*map(repr, marker.args), *(f"{key}={value!r}" for key, value in marker.kwargs.items())]
    raise ValueError(
        f"{marker.name}({', '.join(words)}) is not valid: write "
        f"{marker.name}(timeout=SECONDS, capture=True or False)"
    )


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
    theirs = [t for t in threads[1:] if t is not main and OURS not in "".join(t)]
    others = [line for each in theirs for line in each]
    return "\n".join(
        [
            f"{place}:{line}: in {name or item.name}: not done after {timeout:g} s",
            "It stood here (most recent call first):",
            *(each[0] for each in frames),
            *others,
        ]
    )


def report_error(item: pytest.Item, phase: Any, text: str, started: float | None = None) -> None:
    """Report an error of the test that the test itself could not report."""
    started = started or time.time()
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
