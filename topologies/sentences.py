"""The sentences of `expect:`, from text to data.

    SOURCE reaches TARGET [by tcp|udp|ping|http] [at ENDPOINT] [as NODE-OR-ADDRESS] [via PATH]
    SOURCE cannot reach TARGET [by …] [at ENDPOINT] [because REASON [at NODE]]

TARGET is `node:port`, `address:port`, or either without a port for a ping. `at ENDPOINT` is what
is dialed where that is not the target's own address: its NAPT's, with an explicit rule. Clauses
come in any order, each once. What is wrong is raised as ValueError, in words for the writer.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from topologies.assertions import (
    DROP_REASONS,
    SEEN_REASONS,
    Assertion,
    CannotReach,
    Protocol,
    Reaches,
    Target,
    Via,
)
from topologies.errors import not_one_of, quoted
from topologies.roster import Roster
from topologies.scalars import one_of
from topologies.words import Words, address, endpoint, is_like_an_address

MAX_SENTENCE = 200  # characters
HTTP_PORT = 80
VERBS = ("reaches", "cannot reach")

_ENDPOINT = "the address and port that are dialed, as in 24.9.3.7:8080"
_WHO = "an address or a node"


def sentence(text: str, roster: Roster) -> Assertion:
    """What `text` says about the nodes of `roster`."""
    if len(text) > MAX_SENTENCE or not text.isprintable():
        raise ValueError(
            f"{quoted(text)} is not a sentence; allowed: one line of at most {MAX_SENTENCE} "
            "characters"
        )
    words = Words(text)
    source = roster.node(words.next("a node, and what it does"))
    match words.next(_any_of(VERBS)):
        case "reaches":
            return _reaches(source, words, roster)
        case "cannot":
            words.expect("reach")
            return _cannot_reach(source, words, roster)
        case verb:
            raise ValueError(not_one_of(f"{quoted(verb)} is not a verb", verb, VERBS))


def _reaches(source: str, words: Words, roster: Roster) -> Reaches:
    to = words.next("whom it reaches, as in stackoverflow:80")
    paths = [via for via in Via if via is not Via.RELAYED]
    clauses = words.clauses(
        {"by": _any_of(Protocol), "at": _ENDPOINT, "as": _WHO, "via": _any_of(paths)}
    )
    target, protocol = _target(source, to, clauses, roster)
    via = clauses.get("via")
    if via is not None and via not in paths:
        raise ValueError(not_one_of(f"{quoted(via)} is not a path", via, paths))
    seen_as = clauses.get("as")
    return Reaches(
        source,
        target,
        protocol,
        None if seen_as is None else address(seen_as, roster),
        None if via is None else Via(via),
    )


def _cannot_reach(source: str, words: Words, roster: Roster) -> CannotReach:
    to = words.next("whom it cannot reach, as in pc:80")
    clauses = words.clauses(
        {"by": _any_of(Protocol), "at": _ENDPOINT, "because": "a reason, as in no-rule"}
    )
    target, protocol = _target(source, to, clauses, roster)
    reason = clauses.get("because")
    reasons = (*SEEN_REASONS, *DROP_REASONS)
    if reason is not None and reason not in reasons:
        raise ValueError(not_one_of(f"{quoted(reason)} is not a reason", reason, reasons))
    at = clauses.get("because at")
    if at is not None and is_like_an_address(at):
        raise ValueError(
            f"{quoted(at)} is not a node; allowed: the name of the node where the packet ends "
            "(what is dialed stands before 'because')"
        )
    return CannotReach(source, target, protocol, reason, None if at is None else roster.node(at))


def _target(
    source: str, to: str, clauses: Mapping[str, str], roster: Roster
) -> tuple[Target, Protocol]:
    who, port = endpoint(to)
    usual = Protocol.PING if port is None else Protocol.TCP
    protocol = one_of(Protocol)(clauses["by"]) if "by" in clauses else usual
    if protocol is Protocol.HTTP and port is None:
        port = HTTP_PORT
    _fit(protocol, port, to)
    is_host = not is_like_an_address(who) and roster.site_behind(who) is None
    own = address(who, roster)
    if "at" not in clauses:
        if source == who:
            raise ValueError(f"{source} would only talk to itself; allowed: another node")
        return (Target(own, port, who, port) if is_host else Target(own, port)), protocol
    if not is_host:
        raise ValueError(
            f"{quoted(who)} is not a host, so nothing else can be dialed for it; "
            "allowed: HOST:PORT at ADDRESS:PORT"
        )
    dialed, dialed_port = endpoint(clauses["at"])
    if dialed_port is None and protocol is not Protocol.PING:
        dialed_port = port
    _fit(protocol, dialed_port, clauses["at"])
    return Target(address(dialed, roster), dialed_port, who, port), protocol


def _fit(protocol: Protocol, port: int | None, text: str) -> None:
    """Whether there is a port exactly where there must be one."""
    if protocol is Protocol.PING and port is not None:
        raise ValueError(f"a ping has no port; allowed: {text.partition(':')[0]}")
    if protocol is not Protocol.PING and port is None:
        raise ValueError(
            f"{quoted(text)} names no port, and {protocol.value} needs one; "
            "allowed: as in stackoverflow:80"
        )


def _any_of(words: Iterable[str]) -> str:
    return ", ".join(words)
