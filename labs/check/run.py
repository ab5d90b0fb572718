"""All expectations of a running topology: side by side where they do not disturb each other.

Theory of operation. Each check has sockets and tokens of its own, so most can run at the same
time. One kind cannot: a check that expects a closed port (`because refused`) must not find the
listener of another check there. It waits for a second round.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from types import MappingProxyType
from typing import TYPE_CHECKING

from napt_lab.labs.capture.wire import Wire
from napt_lab.labs.check.ground import Ground
from napt_lab.labs.check.hairpin import check_hairpins
from napt_lab.labs.check.ice import check_connects_by_ice
from napt_lab.labs.check.keeping import KeptConnection
from napt_lab.labs.check.listeners import Listeners
from napt_lab.labs.check.losing import check_loses
from napt_lab.labs.check.mapping_filtering import check_behavior
from napt_lab.labs.check.outcome import CannotTell, Evidence, Outcome, Unmet
from napt_lab.labs.check.punching import check_cannot_punch, check_punches
from napt_lab.labs.check.reaching import check_cannot_reach, check_reaches
from napt_lab.labs.check.relayed import check_relayed
from napt_lab.labs.check.transfer import check_gets_file, check_through_file_server
from napt_lab.labs.verdict.run_errors import NETWORK_ERRORS
from napt_lab.labs.verdict.verdicts import Verdict
from napt_lab.topologies.network.napt_control import ControlError
from napt_lab.topologies.spec.assertions import (
    Assertion,
    CannotPunch,
    CannotReach,
    ConnectsByIce,
    Expectation,
    Filters,
    GetsFile,
    GetsFileThrough,
    Hairpins,
    Is,
    KeepsConnection,
    Loses,
    Maps,
    Protocol,
    Punches,
    Reaches,
    Target,
)

if TYPE_CHECKING:  # the builder brings all of Mininet
    from napt_lab.topologies.network.builder import Network

AT_ONCE = 8  # checks
STOPPED = "the run was stopped before this was known"
PAUSE = 0.2  # seconds between two tries, where an assertion may take its time to hold

Listener = Callable[[Outcome], None]
Connections = Mapping[KeepsConnection, KeptConnection]


def run_all(net: Network, wire: Wire, listen: Listener = lambda _outcome: None) -> list[Outcome]:
    """Check what the topology expects; then let happen what it says, and check what follows.

    The outcomes are in the order of `topology.expectations()`.
    """
    topology = net.topology
    outcomes = run_checks(net, wire, topology.expect, listen)
    for then in topology.then:
        ground = Ground(net, wire)
        claims = {
            each.assertion for each in then.expect if isinstance(each.assertion, KeepsConnection)
        }
        with Listeners() as listeners, ExitStack() as stack:
            kept = {claim: KeptConnection(ground, listeners, claim) for claim in claims}
            for each in kept.values():
                stack.callback(each.close)
            try:
                for line in then.do:
                    net.happen(line)
            except (*NETWORK_ERRORS, ValueError) as error:
                told = f"cannot tell: it did not happen: {error}"
                lost = [Outcome(each, Verdict.ERROR, (told,), 0.0) for each in then.expect]
                for outcome in lost:
                    listen(outcome)
                outcomes += lost
                continue
            outcomes += run_checks(net, wire, then.expect, listen, kept)
    return outcomes


def run_checks(
    net: Network,
    wire: Wire,
    expectations: Sequence[Expectation],
    listen: Listener = lambda _outcome: None,
    kept: Connections = MappingProxyType({}),
) -> list[Outcome]:
    """The outcome of each expectation, in their order. `wire` must watch all nodes of `net`.

    `listen` gets each as soon as it is known, one at a time, from any thread. Ctrl-C in the
    caller ends the checks as well.
    """
    ground = Ground(net, wire)
    outcomes: dict[int, Outcome] = {}
    one_at_a_time = threading.Lock()

    def check(number: int) -> None:
        outcome = _check(ground, listeners, expectations[number], kept)
        with one_at_a_time:
            outcomes[number] = outcome
            listen(outcome)

    with Listeners() as listeners, ThreadPoolExecutor(AT_ONCE) as pool:
        try:
            for numbers in _rounds(ground, expectations):
                list(pool.map(check, numbers))
        except BaseException:
            ground.stopped.set()
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return [outcomes[number] for number in range(len(expectations))]


def _rounds(ground: Ground, expectations: Sequence[Expectation]) -> tuple[list[int], list[int]]:
    """Which to check first, and which only when no listener of the first is left."""
    silent, listened = {}, set()
    for number, expectation in enumerate(expectations):
        match expectation.assertion:
            case CannotReach(source, target, protocol, reason="refused"):
                silent[number] = _place(ground, source, target, protocol)
            case Reaches(source, target, protocol) | CannotReach(source, target, protocol):
                listened.add(_place(ground, source, target, protocol))
            case Loses(source, _, _, target):
                listened.add(_place(ground, source, target, Protocol.UDP))
            case GetsFile(receiver, target):
                listened.add(_place(ground, receiver, target, Protocol.HTTP))
    second = [number for number, place in silent.items() if place in listened]
    return [n for n in range(len(expectations)) if n not in second], second


def _place(
    ground: Ground, source: str, target: Target, protocol: Protocol
) -> tuple[bool, tuple[str, int] | None]:
    """The port that a check needs, open or closed: whether it is UDP's, the node and the port."""
    try:
        return protocol is Protocol.UDP, ground.behind(target, protocol, source)
    except ControlError:  # the check itself will say so
        return False, None


def _check(
    ground: Ground, listeners: Listeners, expectation: Expectation, kept: Connections
) -> Outcome:
    """Try until it holds, or its time is over; the last try counts."""
    began = time.monotonic()
    while True:
        verdict, evidence = _try(ground, listeners, expectation.assertion, kept)
        seconds = time.monotonic() - began
        if verdict is Verdict.PASSED or seconds >= expectation.wait:
            return Outcome(expectation, verdict, tuple(evidence), seconds)
        if ground.stopped.wait(PAUSE):
            return Outcome(expectation, Verdict.ERROR, (STOPPED,), seconds)


def _try(
    ground: Ground, listeners: Listeners, assertion: Assertion, kept: Connections
) -> tuple[Verdict, list[str]]:
    evidence = Evidence()
    try:
        _test(ground, listeners, assertion, kept, evidence)
    except Unmet as unmet:
        if fault := ground.net.machine_fault():
            lines = [*evidence.lines, str(unmet), f"cannot tell: error of this machine: {fault}"]
            return Verdict.ERROR, lines
        return Verdict.FAILED, [*evidence.lines, str(unmet)]
    except (CannotTell, ControlError) as error:
        return Verdict.ERROR, [*evidence.lines, f"cannot tell: {error}"]
    except Exception as error:  # noqa: BLE001  # shown as an error, not as a verdict
        return Verdict.ERROR, [*evidence.lines, f"{type(error).__name__}: {error}"]
    return Verdict.PASSED, evidence.lines


def _test(
    ground: Ground,
    listeners: Listeners,
    assertion: Assertion,
    kept: Connections,
    evidence: Evidence,
) -> None:
    """Test one assertion by its own file. Raises Unmet, CannotTell, or what went wrong."""
    match assertion:
        case Reaches():
            check_reaches(ground, listeners, assertion, evidence)
        case Loses():
            check_loses(ground, listeners, assertion, evidence)
        case CannotReach():
            check_cannot_reach(ground, listeners, assertion, evidence)
        case GetsFile():
            check_gets_file(ground, listeners, assertion, evidence)
        case GetsFileThrough() if assertion.service.name == "file-server":
            check_through_file_server(ground, assertion, evidence)
        case GetsFileThrough():
            check_relayed(ground, assertion, evidence)
        case Maps() | Filters() | Is():
            check_behavior(ground, assertion, evidence)
        case Punches():
            check_punches(ground, assertion, evidence)
        case CannotPunch():
            check_cannot_punch(ground, listeners, assertion, evidence)
        case KeepsConnection():
            kept[assertion].check(evidence)
        case Hairpins():
            check_hairpins(ground, assertion, evidence)
        case ConnectsByIce():
            check_connects_by_ice(ground, assertion, evidence)
