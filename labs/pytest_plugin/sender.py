"""What runs in a sandbox beside the tests: it sends all that pytest reports there.

Theory of operation. The child runs the whole protocol of each test, with every plugin. Where pytest
would tell its plugins of a report, the sender sends it and cuts the call short: those who show and
count reports (terminal, JUnit file, xdist) are in pytest's process, and hear of it there. Reports
are serialized by the hooks that pytest has for xdist's workers. A message is a pair of its kind
and its content, pickled; receiver.py reads them.

Only this process sends. A test may fork, and its child may return into pytest: the child ends
there, with the exit status that it would have as a program of its own (_OneProcess).
"""

from __future__ import annotations

import faulthandler
import gc
import os
import pickle
import sys
import threading
import traceback
import warnings
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures.thread import _threads_queues
from contextlib import nullcontext
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING, Any, NoReturn

import pytest

from napt_lab.labs.pytest_plugin import SENDER
from napt_lab.topologies.sandbox import sandbox

if TYPE_CHECKING:
    from napt_lab.labs.pytest_plugin.one_network import OneNetwork

STOPS = (pytest.exit.Exception, KeyboardInterrupt)  # these end the session, not only a test
# The plugins of pytest that take part when a process tears down by itself.
ONE_PROCESS = "napt_lab_one_process"
TEAR_DOWN = (
    "runner",
    "capturemanager",
    "threadexception",
    "unraisableexception",
    SENDER,
    ONE_PROCESS,
)


Following = pytest.Item | str | None
"""The next test in this process; if it is not known yet, the scope that it is in."""


@dataclass(frozen=True, slots=True)
class Request:
    """Which test to run, and for how many seconds at most. Items by their place in the session."""

    place: int
    following: int | str | None
    timeout: float

    @classmethod
    def of(cls, item: pytest.Item, following: Following, timeout: float) -> Request:
        items = item.session.items
        after = items.index(following) if isinstance(following, pytest.Item) else following
        return cls(items.index(item), after, timeout)

    def item(self, session: pytest.Session) -> pytest.Item:
        """The test."""
        return session.items[self.place]

    def keeps(self, session: pytest.Session) -> Any:
        """What of pytest's tree is needed after the test: a test, a module, the session or None."""
        if self.following == "module":
            return self.item(session).getparent(pytest.Module)
        if isinstance(self.following, int):
            return session.items[self.following]
        return session if self.following == "session" else None


class Sent(Exception):
    """Ends the call of a hook: what it was to tell has been sent."""


class Sender:
    """The plugin that sends reports and warnings."""

    def __init__(
        self,
        item: pytest.Item,
        set_up: Iterable[Any],
        channel: Connection,
        stacks: int,
        tty: int | None,
    ) -> None:
        """When a test's time is over, the threads' stacks are written to the file `stacks`.

        `set_up`: the fixtures that pytest's process has set up; `tty`: the terminal at which it
        was started, if it may read from there.
        """
        self._item = item  # the test that is run
        self._next: Any = None  # what of pytest's tree is needed after it
        self.network: OneNetwork | None = None
        self._set_up = set_up
        self._channel = channel
        self._process = 0  # that sends
        self._timeout: float | None = None
        self._stacks = stacks
        self._tty = tty
        self._modules = frozenset(sys.modules)
        self._junit = junit_file(item.config)
        self._lines = coverage_data()

    def run(self) -> int:
        """Run the tests that are asked for; the child's exit status."""
        session, config = self._item.session, self._item.config
        self._process = os.getpid()
        # What pytest's process has made is no garbage of the test's: looking at it would copy it.
        gc.freeze()
        # Pytest's process tears down what it has set up (a fixture of the session, for instance).
        # What would do that is kept: a generator that nothing refers to runs its `finally` blocks.
        finalizers = [found for found, _ in session._setupstate.stack.values()]
        finalizers += [fixture._finalizers for fixture in self._set_up]
        self._not_ours = [list(each) for each in finalizers]
        for each in finalizers:
            each.clear()
        if self._lines is not None:
            self._lines._no_disk = True  # otherwise it would delete the file of pytest's process
        config.pluginmanager.register(self, SENDER)
        config.pluginmanager.register(_CutShort())
        config.pluginmanager.register(_OneProcess(), ONE_PROCESS)
        while (request := self._channel.recv()) is not None:
            self._item, self._next = request.item(session), request.keeps(session)
            self._timeout = request.timeout
            self._run_one(self._item)
        tear_down(self._item, None)
        self._send("end", ({}, {}))
        return 0 if os.getpid() == self._process else 1

    def _run_one(self, item: pytest.Item) -> None:
        """Run a test, and send all that pytest says of it."""
        config = item.config
        before = _plain(item), _ends(item.session)
        properties = len(self._junit.global_properties) if self._junit else 0
        if config.getoption("capture", "no") == "no":  # the test itself may ask at the terminal
            self._take_terminal()
        try:
            config.hook.pytest_runtest_protocol(item=item, nextitem=self._next)
        except pytest.exit.Exception as stop:
            self._send("exit", (stop.msg, stop.returncode))
        except KeyboardInterrupt:
            self._send("interrupt")
        except BaseException:  # noqa: BLE001  # reported to pytest's process
            self._send("lost", f"pytest failed in the sandbox:\n{traceback.format_exc()}")
        if self._lines is not None:
            self._send("lines", coverage_data().dumps())
        if self._junit:
            self._send("properties", self._junit.global_properties[properties:])
        after = _plain(item), _ends(item.session)
        changes = [dict(new.items() - old.items()) for old, new in zip(before, after, strict=True)]
        faulthandler.cancel_dump_traceback_later()
        self._send("end", changes)

    @pytest.hookimpl(hookwrapper=True)
    def pytest_runtest_protocol(self) -> Iterator[None]:
        with_warnings = self._item.config.pluginmanager.hasplugin("warnings")
        with warnings.catch_warnings(record=True) if with_warnings else nullcontext([]) as issued:
            yield
            # An end of the session leaves fixtures standing, and garbage may have something to say.
            ends = any(_ends(self._item.session).values())
            tear_down(self._item, None if ends else self._next)
        for each in issued or ():
            place = each.filename, each.lineno, each.line
            self._send("warning", (self._known(each.category), str(each.message), *place))

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_setup(self) -> None:
        """Start the time of an attempt (pytest-rerunfailures makes several)."""
        self._send("attempt")
        self._start_time()

    @pytest.hookimpl(hookwrapper=True, trylast=True)
    def pytest_runtest_teardown(self) -> Iterator[None]:
        # Pytest shows exceptions in __del__ and in threads as warnings, if they come in time.
        gc.collect()
        yield
        for thread in threading.enumerate():
            # Threads of an executor wait for work without end; their exceptions go elsewhere.
            own = thread is threading.current_thread() or thread in _threads_queues
            if not (own or thread.daemon):
                thread.join()

    @pytest.hookimpl(hookwrapper=True)
    def pytest_runtest_makereport(self, item: pytest.Item) -> Iterator[None]:
        outcome: Any = yield
        report = outcome.get_result()
        if report.failed and self.network is not None:
            report.sections += self.network.sections(item)

    @pytest.hookimpl(trylast=True)
    def pytest_exception_interact(self) -> None:
        self._start_time()  # pytest has stopped it

    def pytest_enter_pdb(self) -> None:
        self._timeout = None
        faulthandler.cancel_dump_traceback_later()
        self._send("debugger")
        self._take_terminal()

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        config = self._item.config
        # The session counts failures here, too: with --maxfail a failed subtest ends the test.
        only(config, "pytest_runtest_logreport", [self._item.session])(report=report)
        # With this hook pytest makes a test fail whose subtests have failed.
        config.hook.pytest_report_teststatus(report=report, config=config)
        data = config.hook.pytest_report_to_serializable(config=config, report=report)
        attributes = dict(self._junit.node_reporter(report).attrs) if self._junit else {}
        self._send("report", (data, attributes))
        raise Sent

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_logstart(self) -> None:
        raise Sent  # pytest's process has told it

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_logfinish(self) -> None:
        raise Sent  # pytest's process will tell it

    def _send(self, kind: str, content: object = None) -> None:
        if os.getpid() != self._process:
            return
        try:
            message = pickle.dumps((kind, content))
        except Exception as error:  # noqa: BLE001  # pickle raises anything; reported
            message = pickle.dumps(("lost", f"a {kind} of the test cannot be pickled: {error!r}"))
        self._channel.send_bytes(message)

    def _start_time(self) -> None:
        if self._timeout is not None:
            faulthandler.dump_traceback_later(self._timeout, file=self._stacks, exit=True)

    def _take_terminal(self) -> None:
        """Read from the terminal in the place of pytest's process, which only waits."""
        if self._tty is not None and os.isatty(0):
            sandbox.take_terminal(self._tty)
            self._send("terminal")

    def _known(self, category: type) -> type:
        """The class of a warning, or the nearest above it that pytest's process has as well."""
        module = sys.modules[category.__module__] if category.__module__ in self._modules else None
        known: bool = getattr(module, category.__name__, None) is category
        return category if known else self._known(category.__mro__[1])


class _CutShort:
    """Ends the calls of hooks that the sender has cut short."""

    @pytest.hookimpl(hookwrapper=True, tryfirst=True)
    def pytest_runtest_logreport(self) -> Iterator[None]:
        outcome: Any = yield
        if outcome.excinfo is not None and outcome.excinfo[0] is Sent:
            outcome.force_result([])

    pytest_runtest_logstart = pytest_runtest_logfinish = pytest_runtest_logreport


class _OneProcess:
    """Ends a process that the test has forked when it returns into pytest."""

    def __init__(self) -> None:
        self._process = os.getpid()

    @pytest.hookimpl(hookwrapper=True, trylast=True)
    def pytest_runtest_call(self) -> Iterator[None]:
        outcome: Any = yield
        if os.getpid() != self._process:
            end_as_program(outcome.excinfo and outcome.excinfo[1])

    pytest_runtest_setup = pytest_runtest_teardown = pytest_runtest_call


def end_as_program(error: BaseException | None) -> NoReturn:
    """End this process as Python ends a program that this exception, or none, has left."""
    status: object = 0
    if isinstance(error, SystemExit):
        status = error.code or 0
    elif error is not None:
        traceback.print_exception(error)
        status = 1
    if not isinstance(status, int):
        print(status, file=sys.stderr)
        status = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status & 0xFF)


def tear_down(item: pytest.Item, nextitem: Any) -> None:
    """Tear down what this process has set up and `nextitem` does not need; report a failure.

    Only pytest's own plugins take part: the others have had their part where the test ran.
    """
    plugins = [item.config.pluginmanager.get_plugin(name) for name in TEAR_DOWN]
    hook = only(item.config, "pytest_runtest_teardown", plugins)
    call = pytest.CallInfo.from_call(
        lambda: hook(item=item, nextitem=nextitem), when="teardown", reraise=STOPS
    )
    if call.excinfo is not None:
        report = pytest.TestReport.from_item_and_call(item, call)
        item.ihook.pytest_runtest_logreport(report=report)


def only(config: pytest.Config, hook: str, plugins: Sequence[object]) -> Any:
    """The hook as these plugins alone implement it."""
    others = [each for each in config.pluginmanager.get_plugins() if each not in plugins]
    return config.pluginmanager.subset_hook_caller(hook, others)


def junit_file(config: pytest.Config) -> Any:
    """The plugin that writes the JUnit file, if one is asked for."""
    plugins = config.pluginmanager.get_plugins()
    return next((each for each in plugins if hasattr(each, "add_global_property")), None)


def _plain(item: pytest.Item) -> dict[str, object]:
    """What plugins keep at the test for its end (pytest-rerunfailures: how often it ran)."""
    kinds = bool | int | float | str | None
    return {
        name: value
        for name, value in vars(item).items()
        if isinstance(value, kinds) and not name.startswith("_")
    }


def _ends(session: pytest.Session) -> dict[str, object]:
    """Why the session is to end, if it is."""
    return {name: getattr(session, name) for name in ("shouldstop", "shouldfail")}


def coverage_data() -> Any:
    """Which lines were run in this process, if coverage.py (pytest-cov) measures it."""
    coverage = sys.modules.get("coverage")
    running = coverage.Coverage.current() if coverage else None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that nothing was run yet, for instance
        return running and running.get_data()
