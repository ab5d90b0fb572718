"""What a topology expects, as a script for the engine that runs it: `sh expect.sh`.

Carried over are `reaches` and `cannot reach` by ping, TCP and HTTP, with the two controls of a
negative. What only the sandbox's captures show is not: the path (`via`), the reason (`because`),
and what a NAPT maps or filters. The script says so for each sentence.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path

from napt_lab.labs.check.place import HTTP_SERVICES
from napt_lab.labs.check.surroundings import Surroundings
from napt_lab.labs.export.boot import PYTHON
from napt_lab.labs.verdict.verdicts import Verdict
from napt_lab.topologies.spec.assertions import CannotReach, Expectation, Protocol, Reaches, Via
from napt_lab.topologies.spec.model import Topology

NAME = "expect.sh"
START_SECONDS = 10  # in which the programs of a new lab should serve
_FUNCTIONS = Path(__file__).with_name(NAME)

Call = tuple[str, ...]  # a function of the script and its arguments


class _NotTried(Exception):
    """The script cannot try a sentence; the message says why."""


def script(topology: Topology, names: Mapping[str, str], run: str) -> str:
    """The script. `names` of the nodes there; `run`: what runs a command on `$node`, in sh."""
    signs = [f"{verdict.name.lower()}='{verdict.sign}'" for verdict in Verdict]
    head = [
        "#!/bin/sh",
        f"# What {topology.name} expects, tried on the running lab: sh {NAME}",
        "# Exit status 0: all that is tried here holds; 1: some of it does not, or could not be",
        "# checked. With ON=COMMAND, `COMMAND NODE …` runs something on a node.",
        'here=$(cd "$(dirname "$0")" && pwd)',
        f"python={PYTHON}",
        f"start={START_SECONDS}  # seconds in which all programs of a new lab serve",
        f"{' '.join(signs)} status=0",
        "",
        "on() {  # NODE COMMAND …",
        '  if [ -n "${ON:-}" ]; then $ON "$@"; return; fi',
        "  node=$1",
        "  shift",
        f'  {run} "$@"',
        "}",
    ]
    sentences = _Sentences(topology, names)
    calls = [call for expectation in topology.expect for call in sentences.calls(expectation)]
    functions = _FUNCTIONS.read_text(encoding="utf-8")
    return "\n".join([*head, functions, *map(_line, calls), 'exit "$status"', ""])


def _line(call: Call) -> str:
    return " ".join(f'"{word}"' if word.startswith("$") else shlex.quote(word) for word in call)


class _Sentences:
    """Makes calls of the script's functions out of the sentences of a topology."""

    def __init__(self, topology: Topology, names: Mapping[str, str]) -> None:
        self._around = Surroundings(topology)
        self._names = names

    def calls(self, expectation: Expectation) -> Iterator[Call]:
        """All calls for one sentence."""
        try:
            match expectation.assertion:
                case Reaches():
                    calls = list(self._reaches(expectation, expectation.assertion))
                case CannotReach():
                    calls = list(self._cannot_reach(expectation, expectation.assertion))
                case _:
                    raise _NotTried("it takes the sandbox's captures: napt-lab check")
        except _NotTried as why:
            calls = [("verdict", "$not_applicable", expectation.text, f"not tried here: {why}")]
        yield from calls

    def _reaches(self, expectation: Expectation, claim: Reaches) -> Iterator[Call]:
        node, port = self._place(claim)
        service = self._around.service_at(node, port) if port else ""
        if claim.via is Via.PROXIED:
            raise _NotTried("whether a proxy is in between shows in captures alone")
        how = claim.protocol
        seen_as = str(claim.seen_as or "")
        untried = [f"via {claim.via}"] * bool(claim.via) + [f"at {claim.at}"] * bool(claim.at)
        if claim.within is not None:
            untried.append(f"within {1000 * claim.within:g}ms")
        if seen_as and port and service in ("", "web"):
            how = Protocol.HTTP  # the web server tells its client which address it sees
        elif seen_as:
            untried, seen_as = [f"as {seen_as}", *untried], ""
        if port and not service:
            yield "listen", self._names[node], str(port)
        yield (
            "reaches", _text(expectation, untried), f"{max(expectation.wait, START_SECONDS):.0f}",
            how, self._names[claim.source], *_endpoint(claim), seen_as,
        )  # fmt: skip

    def _cannot_reach(self, expectation: Expectation, claim: CannotReach) -> Iterator[Call]:
        node, port = self._place(claim)
        around, how = self._around, claim.protocol
        host = around.host(node)
        others = [name for name in around.neighbors(node) if name != claim.source]
        control = Protocol.PING, str(claim.target.address), ""
        if host is not None and (port is None or claim.reason == "refused"):
            control = Protocol.PING, str(host.address.ip), ""
        elif host is not None:
            service = around.service_at(node, port or 0)
            if not service:
                yield "listen", self._names[node], str(port)
            speaks_http = how is Protocol.HTTP and service in ("", *HTTP_SERVICES)
            control = (
                Protocol.HTTP if speaks_http else Protocol.TCP,
                str(host.address.ip),
                str(port),
            )
        control_how, *own = control
        hop = around.next_hop(claim.source)
        first = str(hop.address if hop else around.address(around.neighbors(claim.source)[0]))
        untried = [f"because {claim.reason}"] * bool(claim.reason)
        untried += [f"at {claim.at}"] * bool(claim.at)
        yield (
            "cannot_reach", _text(expectation, untried), f"{expectation.wait:.0f}", how,
            self._names[claim.source], *_endpoint(claim), first,
            control_how, self._names[others[0] if others else node], *own,
        )  # fmt: skip

    def _place(self, claim: Reaches | CannotReach) -> tuple[str, int | None]:
        """The node that is to be reached, and on which port of its own."""
        target, source = claim.target, claim.source
        if claim.protocol is Protocol.UDP:
            raise _NotTried("by udp")
        behind = self._around.behind(target, claim.protocol, source)
        if behind is not None:
            return behind
        node = target.node or self._around.holder(target.address, source)
        if node is None or (isinstance(claim, Reaches) and target.port is not None):
            raise _NotTried("the file does not say which node has this address and port")
        return node, target.port


def _endpoint(claim: Reaches | CannotReach) -> tuple[str, str]:
    return str(claim.target.address), str(claim.target.port or "")


def _text(expectation: Expectation, untried: list[str]) -> str:
    """The sentence, and on a line of its own which words of it are not tried."""
    left_out = f"\n    not tried here: {', '.join(untried)}" if untried else ""
    return f"{expectation.text}{left_out}"
