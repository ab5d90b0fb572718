"""Several candidates at the same time, each on a network in a sandbox of its own.

An examination mostly waits for time-outs, so three take as long as one. Each runs in a child
process, which writes one JSON line for every outcome. Requirements without an outcome, because the
child has ended early, are errors.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from napt_lab.labs.conformance.requirement import WORDS, Outcome, Requirement
from napt_lab.labs.conformance.topology import Setup
from napt_lab.labs.verdict.run_errors import NETWORK_ERRORS
from napt_lab.labs.verdict.verdicts import Verdict
from napt_lab.topologies.sandbox import sandbox

LONGEST = 120.0  # seconds; an examination takes about 12


@dataclass(frozen=True, slots=True)
class Examination:
    """The result of one candidate: an outcome for each requirement, in the RFCs' order."""

    setup: Setup
    outcomes: tuple[Outcome, ...]
    seconds: float
    status: int
    """The exit status of the child: 3 if this machine cannot run it."""
    trouble: str = ""
    """Why it ended early, or why its observations prove nothing."""

    @property
    def name(self) -> str:
        return self.setup.candidate.name

    @property
    def passed(self) -> bool:
        """Whether nothing failed and everything was tried."""
        return not any(outcome.verdict.is_bad for outcome in self.outcomes)

    def count(self, verdict: Verdict) -> int:
        return sum(outcome.verdict is verdict for outcome in self.outcomes)


@dataclass(slots=True)
class _Child:
    """One candidate's process, and the lines that it has written so far."""

    setup: Setup
    pid: int
    begun: float
    received: bytes = b""
    told: dict[str, dict[str, Any]] = field(default_factory=dict)
    seconds: float = 0.0
    trouble: str = ""


def examine_all(
    setups: Sequence[Setup],
    requirements: Sequence[Requirement],
    folder: Path,
    started: Callable[[], None] = lambda: None,
    progress: Callable[[], None] = lambda: None,
) -> list[Examination]:
    """Examine each candidate. Outside the sandbox, and with no thread running.

    What passed the wires of each goes to `folder`, as capture-1.pcapng and so on. `started` is
    called when all of them run, `progress` for every outcome.
    """
    with selectors.DefaultSelector() as selector, contextlib.ExitStack() as cleanup:
        children = [
            _start(setup, requirements, folder / f"capture-{number}.pcapng", selector, cleanup)
            for number, setup in enumerate(setups, start=1)
        ]
        started()
        end = time.monotonic() + LONGEST
        while selector.get_map() and (left := end - time.monotonic()) > 0:
            for key, _ in selector.select(left):
                data = os.read(key.fd, 1 << 16)
                if not data:
                    selector.unregister(key.fd)
                for _ in range(_take(key.data, data)):
                    progress()
        return [_finish(child, requirements) for child in children]


def _start(
    setup: Setup,
    requirements: Sequence[Requirement],
    capture: Path,
    selector: selectors.BaseSelector,
    cleanup: contextlib.ExitStack,
) -> _Child:
    told, telling = os.pipe()

    def work() -> int:
        from napt_lab.labs.conformance.examine import examine  # which imports Mininet
        from napt_lab.topologies.network.build_error import BuildError

        def tell(line: dict[str, Any]) -> None:
            os.write(telling, json.dumps(line).encode() + b"\n")

        try:
            examine(setup, requirements, capture, lambda outcome: tell(as_json(outcome)))
        except BuildError as error:
            print(f"napt-lab: {error.explain()}", file=sys.stderr)
            return sandbox.CANNOT_RUN
        except NETWORK_ERRORS as error:
            tell({"trouble": str(error)})
            return 1
        except Exception as error:  # noqa: BLE001  # told to the parent process
            tell({"trouble": f"{type(error).__name__}: {error}"})
            return 1
        return 0

    begun = time.monotonic()
    pid = sandbox.fork_into(work)
    os.close(telling)
    cleanup.callback(os.close, told)
    child = _Child(setup, pid, begun)
    cleanup.callback(_end, pid)
    selector.register(told, selectors.EVENT_READ, child)
    return child


def _end(pid: int) -> None:
    """Kill a child that still runs."""
    with contextlib.suppress(ProcessLookupError, ChildProcessError):
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def _take(child: _Child, data: bytes) -> int:
    """Take in the lines of a child; how many outcomes they were."""
    if not data:
        child.seconds = time.monotonic() - child.begun
        return 0
    *lines, child.received = (child.received + data).split(b"\n")
    for line in lines:
        told = json.loads(line)
        if "trouble" in told:
            child.trouble = told["trouble"]
        else:
            child.told[told["id"]] = told
    return len(lines)


def _finish(child: _Child, requirements: Sequence[Requirement]) -> Examination:
    late = not child.seconds
    if late:
        os.kill(child.pid, signal.SIGKILL)
    status = os.waitstatus_to_exitcode(os.waitpid(child.pid, 0)[1])
    trouble = child.trouble or (f"not done after {LONGEST:g} s" if late else "")
    if not trouble and status:
        trouble = f"the examination ended early, status {status}"

    def outcome(requirement: Requirement) -> Outcome:
        told = child.told.get(requirement.id)
        known = from_json(requirement, told) if told else None
        if known is not None and not child.trouble:
            return known
        evidence, seconds = (known.evidence, known.seconds) if known else ((), 0.0)
        return Outcome(requirement, Verdict.ERROR, trouble, evidence, seconds)

    outcomes = tuple(map(outcome, requirements))
    return Examination(child.setup, outcomes, child.seconds or LONGEST, status, trouble)


def as_json(outcome: Outcome) -> dict[str, Any]:
    """One row of results.json."""
    requirement = outcome.requirement
    return {
        "id": requirement.id,
        "rfc": requirement.rfc,
        "name": requirement.name,
        "level": requirement.level,
        "requirement": requirement.words,
        "verdict": WORDS[outcome.verdict],
        "why": outcome.why,
        "removed_by": outcome.removed_by,
        "evidence": list(outcome.evidence),
        "seconds": round(outcome.seconds, 3),
    }


def from_json(requirement: Requirement, row: dict[str, Any]) -> Outcome:
    """An outcome from a row of results.json."""
    verdict = next(verdict for verdict, word in WORDS.items() if word == row["verdict"])
    evidence = tuple(row["evidence"])
    return Outcome(requirement, verdict, row["why"], evidence, row["seconds"], row["removed_by"])
