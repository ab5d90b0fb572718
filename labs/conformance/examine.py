"""All tests of one candidate, side by side on one network.

Each test has ports, payloads and connections of its own, so tests do not disturb each other. Those
that wait for a time-out begin at once; the others take turns, a few at a time, so that a busy
machine does not miss a pause of two seconds. Tests that would disturb all others come last.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from napt_lab.labs.conformance.exam import Exam
from napt_lab.labs.conformance.requirement import (
    AT_LAST,
    AT_ONCE,
    IN_TURN,
    Outcome,
    Requirement,
    judge,
)
from napt_lab.labs.conformance.testbed import Testbed
from napt_lab.labs.conformance.topology import Setup

AT_A_TIME = 6


def examine(
    setup: Setup,
    requirements: Sequence[Requirement],
    capture: Path,
    progress: Callable[[Outcome], None],
) -> None:
    """Build the network, try every requirement, and take the network down. In the sandbox.

    `progress` is told each outcome as it comes, by any thread. All packets go to `capture`.
    """
    with Testbed(setup) as testbed:

        def work(requirement: Requirement) -> None:
            progress(judge(requirement, Exam(testbed), setup, time.monotonic))

        at_once = [requirement for requirement in requirements if requirement.when is AT_ONCE]
        in_turn = [requirement for requirement in requirements if requirement.when is IN_TURN]
        with (
            ThreadPoolExecutor(max(1, len(at_once)), "patient") as patient,
            ThreadPoolExecutor(AT_A_TIME, "busy") as busy,
        ):
            futures = [patient.submit(work, requirement) for requirement in at_once]
            futures += [busy.submit(work, requirement) for requirement in in_turn]
            for future in futures:
                future.result()
        for requirement in requirements:
            if requirement.when is AT_LAST:
                work(requirement)
        testbed.wire.save(capture)
