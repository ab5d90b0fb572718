"""`napt-lab check`: build each topology in turn, and check what it expects.

Every assertion is in the reports, also if the run was stopped or a network did not come up: then
as one that was not checked.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from napt_lab.labs.capture.wire import Wire
from napt_lab.labs.check.github import Annotations
from napt_lab.labs.check.outcome import Outcome
from napt_lab.labs.check.reports import Checked, Reports
from napt_lab.labs.check.run import STOPPED, run_all
from napt_lab.labs.check.telling import Telling
from napt_lab.labs.verdict.exit_status import exit_status
from napt_lab.labs.verdict.run_errors import NETWORK_ERRORS, tell_network_error
from napt_lab.topologies.network.build_error import BuildError
from napt_lab.topologies.network.builder import Network
from napt_lab.topologies.spec.model import Topology


def check_topologies(topologies: Sequence[Topology], reports: Reports) -> int:
    """Check them all and write the reports; the exit status. In the sandbox.

    People are told on stdout, or on stderr where stdout is for a report. BuildError if this
    machine is at fault for one of them; the reports are written before it is raised.
    """
    on_stderr = reports.on_stdout
    checked = [Checked(topology) for topology in topologies]
    annotations, telling = Annotations(on_stderr=on_stderr), Telling(on_stderr=on_stderr)
    try:
        for one in checked:
            if one.topology.expectations():
                with annotations.silenced():
                    _check(one, telling)
                for outcome in one.outcomes:
                    annotations.outcome(one.topology.path, outcome)
    except KeyboardInterrupt:
        telling.stop(checked)
        raise
    finally:
        telling.progress.end()
        for one in checked:
            one.give_up(STOPPED)
        reports.write(checked)
    passed, error = all(one.passed for one in checked), any(one.broken for one in checked)
    return exit_status(passed=passed, error=error)


def _check(checked: Checked, telling: Telling) -> None:
    topology = checked.topology
    began = time.monotonic()
    telling.begin(topology)
    known: list[Outcome] = []

    def listen(outcome: Outcome) -> None:
        known.append(outcome)
        telling(outcome)

    try:
        with Network(topology) as net, Wire(net) as wire:
            checked.outcomes = run_all(net, wire, listen)
    except BuildError as error:  # told by the caller: no other topology is tried
        checked.lose(f"error of this machine: {error}")
        raise
    except NETWORK_ERRORS as error:
        checked.lose(f"error of the network: {error}")
        for outcome in checked.outcomes:
            telling(outcome)
        tell_network_error(error)
    except BaseException:  # Ctrl-C, or a signal
        order = {id(expectation): n for n, expectation in enumerate(topology.expectations())}
        checked.outcomes = sorted(known, key=lambda outcome: order[id(outcome.expectation)])
        raise
    finally:
        checked.seconds = time.monotonic() - began
    telling.end(checked)
