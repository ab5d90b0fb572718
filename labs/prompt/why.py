"""`why`: what was dropped last, where, and for what reason.

Three kinds of witnesses: the NAPTs (each drop has a reason) and the servers that turn someone
away; the router, which answers with ICMP what it cannot forward, and passes on what others answer;
and each node's own list of neighbors that did not answer its ARP requests.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator

from napt_lab.labs.prompt.refusals import Refusals
from napt_lab.topologies.network.builder import Network
from napt_lab.topologies.network.napt_control import PROGRAM
from napt_lab.topologies.network.processes import Event
from napt_lab.topologies.spec.scalars import ROUTER_NAME

SHOWN = 6  # of each witness
REFUSALS = {"refused", "connection-refused", "failed"}  # how servers say that they did


class Why:
    """Looks for the last things that went wrong on a network. To be closed."""

    def __init__(self, net: Network) -> None:
        self.net = net
        self._router = Refusals(net[ROUTER_NAME])

    def close(self) -> None:
        self._router.close()

    def lines(self, napt: str | None = None) -> list[str]:
        """What all witnesses tell, or one NAPT alone."""
        lines: list[str] = []
        events = self.net.log.since()
        for node in self.net:
            if node.napt is not None and napt in (None, node.name):
                drops = [e for e in events if e.node == node.name and _is_drop(e)]
                lines += _said(f"{node.name} dropped", [_drop(event) for event in drops])
        if napt is not None:
            return lines or [f"{napt} has dropped nothing so far."]
        refused = [e for e in events if e.name in REFUSALS and "reason" in e.fields]
        lines += _said("turned away", [_refusal(event) for event in refused])
        answers: dict[str, list[str]] = {}
        for error in self._router.last():
            said = answers.setdefault(self._who_has(error.packet.source), [])
            said.append(f"{_ago(error.time)} {error.packet}")
        for who, said in answers.items():
            lines += _said(f"{who} answered", said)
        lines += _said("no neighbor answered (ARP)", list(self._unanswered()))
        return lines or ["Nothing was dropped so far, as far as anybody here can tell."]

    def _who_has(self, address: str | None) -> str:
        """Who sent what the router sent or passed on, as far as its source says so."""
        has = [n.name for n in self.net if address in [str(p.address.ip) for p in n.ports]]
        if len(has) != 1:  # a private address may be that of many
            return str(address)
        return f"{has[0]} (the router)" if has[0] == ROUTER_NAME else has[0]

    def _unanswered(self) -> Iterator[str]:
        asked = [(node, node.start(["ip", "-json", "neigh", "show"])) for node in self.net]
        for node, process in asked:
            for neighbor in json.loads(process.wait(5.0).stdout or "[]"):
                if {"FAILED", "INCOMPLETE"} & set(neighbor.get("state", ())):
                    yield f"{node.name} asked its own network for {neighbor['dst']}"


def _is_drop(event: Event) -> bool:
    return event.program == PROGRAM and event.name == "drop"


def _drop(event: Event) -> str:
    told = event.fields
    return f"{_ago(event.time)} {told['packet']}: {told['reason']}, {told['meaning']}"


def _refusal(event: Event) -> str:
    peer = event.fields.get("peer") or event.fields.get("client") or "someone"
    return f"{_ago(event.time)} {event.node} turned {peer} away: {event.fields['reason']}"


def _ago(then: float) -> str:
    seconds = max(0.0, time.time() - then)
    return f"{seconds:.1f} s ago:" if seconds < 100 else f"{seconds / 60:.0f} min ago:"


def _said(who: str, what: list[str]) -> list[str]:
    if not what:
        return []
    shown = [f"  {line}" for line in what[-SHOWN:]]
    earlier = [f"  … and {len(what) - SHOWN} before"] if len(what) > SHOWN else []
    return [f"{who}:", *earlier, *shown]
