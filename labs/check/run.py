"""All expectations of a running topology: side by side where they do not disturb each other.

Theory of operation. Each check has sockets and tokens of its own, so most can run at the same
time. Two kinds cannot. A check that expects a closed port (`because refused`) must not find the
listener of another check there: it waits for a second round. What is measured (`loses`, `within`)
must not share a slow link with others: these checks come last, one at a time.
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
CHANCES = 10  # tries, where links lose packets by chance …
CHANCE_SECONDS = 30.0  # … unless they take longer

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
            outcomes += run_checks(net, wire, then.expect, listen, kept, listeners)
    return outcomes


def run_checks(
    net: Network,
    wire: Wire,
    expectations: Sequence[Expectation],
    listen: Listener = lambda _outcome: None,
    kept: Connections = MappingProxyType({}),
    theirs: Listeners | None = None,
) -> list[Outcome]:
    """The outcome of each expectation, in their order. `wire` must watch all nodes of `net`.

    `kept` are connections that lead to listeners of `theirs`; then other checks share these.
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

    with ExitStack() as stack:
        listeners = theirs or stack.enter_context(Listeners())
        pool = stack.enter_context(ThreadPoolExecutor(AT_ONCE))
        try:
            for numbers in _rounds(ground, expectations):
                list(pool.map(check, numbers))
        except BaseException:
            ground.stopped.set()
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return [outcomes[number] for number in range(len(expectations))]


def _rounds(ground: Ground, expectations: Sequence[Expectation]) -> list[list[int]]:
    """Which to check first, which only when no listener of the first is left, and which alone."""
    silent, listened = {}, set()
    measuring = [
        [number]
        for number, expectation in enumerate(expectations)
        if isinstance(claim := expectation.assertion, Loses)
        or (isinstance(claim, Reaches) and claim.within is not None)
    ]
    for number, expectation in enumerate(expectations):
        match expectation.assertion:
            case CannotReach(source, target, protocol, reason="refused"):
                silent[number] = _place(ground, source, target, protocol)
            case Reaches(source, target, protocol) | CannotReach(source, target, protocol):
                listened.add(_place(ground, source, target, protocol))
            case Loses(source, _, _, target):
                listened.add(_place(ground, source, target, Protocol.UDP))
            case KeepsConnection(source, target):
                listened.add(_place(ground, source, target, Protocol.TCP))
            case GetsFile(receiver, target):
                listened.add(_place(ground, receiver, target, Protocol.HTTP))
    second = [number for number, place in silent.items() if place in listened]
    later = {*second, *(number for (number,) in measuring)}
    return [[n for n in range(len(expectations)) if n not in later], second, *measuring]


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
    """Try until it holds, or its time is over; the last try counts.

    A try in which a link lost something by chance has shown nothing, and is made again.
    """
    began = time.monotonic()
    losses = 0  # tries that were lost by chance
    while True:
        verdict, evidence, by_chance = _try(ground, listeners, expectation.assertion, kept)
        seconds = time.monotonic() - began
        losses += by_chance
        again = by_chance and losses < CHANCES and seconds < CHANCE_SECONDS
        if verdict is Verdict.PASSED or not (again or seconds < expectation.wait):
            if by_chance:
                evidence[-1] += f" (so in {losses} tries)" if losses > 1 else ""
            return Outcome(expectation, verdict, tuple(evidence), seconds)
        if ground.stopped.wait(0 if again else PAUSE):
            return Outcome(expectation, Verdict.ERROR, (STOPPED,), seconds)


def _try(
    ground: Ground, listeners: Listeners, assertion: Assertion, kept: Connections
) -> tuple[Verdict, list[str], bool]:
    """The verdict, its evidence, and whether it is so by chance."""
    evidence = Evidence()
    try:
        _test(ground, listeners, assertion, kept, evidence)
    except Unmet as unmet:
        if fault := ground.net.machine_fault():
            lines = [*evidence.lines, str(unmet), f"cannot tell: error of this machine: {fault}"]
            return Verdict.ERROR, lines, False
        return Verdict.FAILED, [*evidence.lines, str(unmet)], unmet.by_chance
    except CannotTell as error:
        return Verdict.ERROR, [*evidence.lines, f"cannot tell: {error}"], error.by_chance
    except ControlError as error:
        return Verdict.ERROR, [*evidence.lines, f"cannot tell: {error}"], False
    except Exception as error:  # noqa: BLE001  # shown as an error, not as a verdict
        return Verdict.ERROR, [*evidence.lines, f"{type(error).__name__}: {error}"], False
    return Verdict.PASSED, evidence.lines, False


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
