"""Runs many commands of `ip` or `bridge` in one process."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Sequence

from napt_lab.topologies.network.build_error import BuildError

BATCH_SECONDS = 20.0  # how long one batch of commands may take


class Batch:
    """One `ip -batch` or `bridge -batch` that has been started."""

    def __init__(self, program: str, entry: Sequence[str], commands: Sequence[str]) -> None:
        self._program = program
        self._popen = subprocess.Popen(
            [*entry, program, "-batch", "-"],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            process_group=0,  # Ctrl-C must not end it: its caller decides
        )
        assert self._popen.stdin is not None
        # If it has ended already, `finish` raises the reason.
        with contextlib.suppress(BrokenPipeError), self._popen.stdin as lines:
            lines.write("\n".join(commands) + "\n")
        self._popen.stdin = None

    def finish(self, where: str) -> None:
        """Wait for the end; BuildError if a command failed or took too long."""
        try:
            _, stderr = self._popen.communicate(timeout=BATCH_SECONDS)
        except subprocess.TimeoutExpired as error:
            self._popen.kill()
            raise BuildError(
                f"{where}: {self._program} timed out after {BATCH_SECONDS:g} s"
            ) from error
        if self._popen.returncode != 0:
            raise BuildError(f"{where}: {self._program}: {stderr.strip()}")
