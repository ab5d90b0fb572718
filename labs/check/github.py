"""Annotations: lines in a job's output that GitHub Actions shows beside the file.

`::error file=…,line=…::message` is shown at that line.

Such a line is a command, and a topology may come from a stranger. So values are escaped as
GitHub's toolkit does, and while other text is printed, commands are switched off
(`::stop-commands::`), with a random word that switches them on again.
"""

from __future__ import annotations

import os
import secrets
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from napt_lab.labs.check.outcome import Outcome
from napt_lab.labs.verdict.verdicts import Verdict
from napt_lab.topologies.spec.errors import placed


class Annotations:
    """Prints annotations where `environment` says that this is a job of GitHub Actions.

    GitHub reads stdout and stderr alike; `on_stderr` keeps stdout free for a report.
    """

    def __init__(
        self, environment: Mapping[str, str] = os.environ, *, on_stderr: bool = False
    ) -> None:
        self._file = sys.stderr if on_stderr else sys.stdout
        self._active = environment.get("GITHUB_ACTIONS") == "true"
        self._root = Path(environment.get("GITHUB_WORKSPACE") or ".").resolve()

    @contextmanager
    def silenced(self) -> Iterator[None]:
        """Switch commands off until the end of the block."""
        if not self._active:
            yield
            return
        word = secrets.token_hex(16)
        print(f"::stop-commands::{word}", file=self._file, flush=True)
        try:
            yield
        finally:
            print(f"\n::{word}::", file=self._file, flush=True)

    def problem(self, file: Path, problem: str) -> None:
        """One line of the loader's, `FILE:LINE: …`."""
        line, message = placed(file, problem)
        self._error(file, line, "wrong topology", message)

    def outcome(self, file: Path, outcome: Outcome) -> None:
        """An expectation that was not met, or was not checked."""
        if outcome.verdict is Verdict.PASSED:
            return
        expectation = outcome.expectation
        failed = outcome.verdict is Verdict.FAILED
        title = "does not hold" if failed else "was not checked"
        words = [expectation.text, outcome.evidence[-1], expectation.message]
        self._error(file, expectation.line, title, "\n".join(filter(None, words)))

    def _error(self, file: Path, line: int, title: str, message: str) -> None:
        if not self._active:
            return
        shown = os.path.relpath(file.resolve(), self._root)
        properties = {"file": shown, "line": str(line), "title": title}
        listed = ",".join(f"{key}={_property(value)}" for key, value in properties.items())
        print(f"::error {listed}::{_data(message)}", file=self._file, flush=True)


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
