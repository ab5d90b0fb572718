"""What a child reports of one test, told to pytest's plugins as if the test had run here.

Each message of the sender (sender.py) becomes again what it was: a report, a warning, a property
of the JUnit file, an end of the session.
"""

from __future__ import annotations

import pickle
import time
import warnings
from multiprocessing.connection import Connection
from typing import Any

import pytest

from napt_lab.labs.pytest_plugin.sender import coverage_data, junit_file

PATIENCE = 3.0  # seconds after a test's time until this process ends it


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
        self.timeout = timeout
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
            # What is torn down at the end of the session counts for the last test, as everywhere.
            report.nodeid, report.location = self.item.nodeid, self.item.location
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
        self._until = time.monotonic() + self.timeout + PATIENCE
