"""Programs on several nodes of one network: `run FILE --on server ./my-server --on pc ./my-client`.

Theory of operation. The programs start one after another, each in the folder and environment of
the user (run_in.py). One with a `--ready TEXT` must print a line with that text before the next is
started. The run is over when the last program has ended, or another one has failed; then the rest
are asked to end (SIGTERM), and killed if they do not. Signals are passed on to all of them.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from napt_lab.labs.capture.wire import Wire
from napt_lab.labs.prompt.labeled import labeled
from napt_lab.labs.running.run_in import BECOME, environment
from napt_lab.labs.running.wanted_programs import Wanted
from napt_lab.labs.verdict.exit_status import FAILED, PASSED
from napt_lab.topologies.network.builder import Network
from napt_lab.topologies.network.processes import Command, DeadlinePassed, ProgramEnded
from napt_lab.topologies.network.programs import READY_SECONDS
from napt_lab.topologies.spec.model import Topology

GRACE = 2.0  # seconds from SIGTERM to SIGKILL, for all together: less than sandbox.GRACE
POLL = 0.05  # seconds between two looks which programs have ended


def run_together(topology: Topology, wanted: Sequence[Wanted], capture: Path | None) -> int:
    """Run the programs. Returns the exit status: of the first that failed, else 0.

    128 + n if signal n ended it, or the run; FAILED if one ended or its time passed before it was
    ready. `capture`: as for run_in.
    """
    with Network(topology) as net, ExitStack() as stack:
        if capture is not None:
            wire = stack.enter_context(Wire(net))
            stack.callback(wire.save, capture)
        return _Run(net).run(wanted)


def _name(program: str) -> str:
    """The program's name without its folder; the whole of what is no program's name."""
    return program if " " in program else Path(program).name


class _Run:
    def __init__(self, net: Network) -> None:
        self._net = net
        self._programs: list[Command] = []
        self._signal = 0  # that is to end the run
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) != signal.SIG_IGN:
                signal.signal(number, self._pass_on)

    def run(self, wanted: Sequence[Wanted]) -> int:
        try:
            for each in wanted:
                if not self._signal:
                    self._start(each)
            status = self._await_end()
        except (ProgramEnded, DeadlinePassed) as error:
            status = FAILED
            if not self._signal:
                print(f"napt-lab: {error}", file=sys.stderr)
        finally:
            self._end()
        return 128 + self._signal if self._signal else status

    def _start(self, wanted: Wanted) -> None:
        node = self._net[wanted.node]
        program = node.start(
            [sys.executable, "-I", "-S", BECOME, *wanted.command],
            folder=Path.cwd(),
            environment={"PYTHONUNBUFFERED": "1", **environment(node, os.environ)},
            name=_name(wanted.command[0]),
            ready=wanted.ready,
            tell=labeled(node.name),
        )
        self._programs.append(program)
        program.await_ready(READY_SECONDS)

    def _await_end(self) -> int:
        """Wait until the last program has ended, or one has failed; the exit status."""
        while not self._signal:
            over = self._programs[-1].ends_within(POLL)
            for program in self._programs:
                if (status := program.status) and not self._signal:
                    if program is not self._programs[-1]:
                        how = f"by signal {-status}" if status < 0 else f"with status {status}"
                        words = f"{program.name} on {program.node} ended {how}"
                        print(f"napt-lab: {words}", file=sys.stderr)
                    return status if status > 0 else 128 - status
            if over:
                break
        return PASSED

    def _end(self) -> None:
        for program in self._programs:
            if program.running and not self._signal:
                program.terminate()
        end = time.monotonic() + GRACE
        for program in self._programs:
            if not program.ends_within(max(0.0, end - time.monotonic())):
                program.kill()
                program.await_end()

    def _pass_on(self, number: int, _frame: object) -> None:
        self._signal = number
        for program in self._programs:
            program.send_signal(number)
