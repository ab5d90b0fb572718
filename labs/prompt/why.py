"""`why`: what went wrong with the last command: where, when, and for what reason.

The witnesses: NAPTs and firewalls report each packet that they drop, slow links each packet that
they lose, and servers each client that they turn away or answer with an error. Nodes refuse
connections (RST), say what they cannot forward (ICMP), forward nothing, or get no answer to ARP
(witnesses.py). And each node is asked for its links. The node of the last command is asked whether
it knows the names in it, and routes to the addresses.

An answer belongs to the command that has sent what it answers, also if it comes later.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator

from napt_lab.labs.capture.packets import TIME_EXCEEDED, UNREACHABLE
from napt_lab.labs.prompt.witnesses import Seen, Witnesses
from napt_lab.labs.records.stream import PROMPT
from napt_lab.topologies.network.builder import Network
from napt_lab.topologies.network.processes import Event
from napt_lab.topologies.network.slow_links import PROGRAM as LINK

SHOWN = 6  # of each witness
REFUSALS = {"refused", "connection-refused", "failed"}  # how servers say that they did
#: A name or address, also in a URL; but not a file (curl -o) or a user (-u, --user).
_WORD = re.compile(r"(?<!-[ou] )(?<!--user )(?<![\w.-])[\w.]+(?![\w.-])")
_ADDRESS = re.compile(r"[0-9]{1,3}(?:\.[0-9]{1,3}){3}")
HTTP_ERROR = 400  # the least status that is one (RFC 9110)
#: Codes of "destination unreachable" by which a node refuses; by the others it cannot deliver.
REFUSING_CODES = {2, 3, 9, 10, 13, 14, 15}
TOO_LONG_CODE = 4


class Why:
    """Looks for what goes wrong on a network. To be closed."""

    def __init__(self, net: Network) -> None:
        self.net = net
        self._witnesses = Witnesses(net, net.topology)
        self._command = ""
        self._began = 0.0  # seconds since 1970

    def close(self) -> None:
        self._witnesses.close()

    def begins(self, command: str, *, told: bool = False) -> None:
        """From now on `command` is the last one.

        Those who watch the network are told of it, unless they were `told`.
        """
        if not told:  # else another thread may be reading
            self._witnesses.look()
        self._command, self._began = command, time.time()
        node, _, line = command.partition(" ")
        if line and node in self.net.nodes and not told:
            self.net.log.add(node, PROMPT, {"event": "typed", "command": line})

    def lines(self, *, everything: bool = False) -> list[str]:
        """What all witnesses tell of the last command, or of all that they still know."""
        since = 0.0 if everything else self._began
        self._witnesses.look()
        lines = [] if everything else _said("not sent", list(self._not_sent()))
        lines += _said("a link is down", list(self._links()))
        for node in self.net:
            lines += self._drops(node.name, since)
            lines += self._drops(node.name, since, by_link=True)
        events = [event for event in self.net.log.since() if event.time >= since]
        lines += _said("turned away", [told for e in events if (told := _turned_away(e))])
        by_deed: dict[str, list[str]] = {}
        for seen in self._witnesses.refusals(since):
            by_deed.setdefault(_deed(seen), []).append(_refusal(seen))
        for deed, said in by_deed.items():
            lines += _said(deed, said)
        ended = [
            f"{_ago(s.time)} {s.packet} ended at {s.node}"
            for s in self._witnesses.not_forwarded(since)
        ]
        lines += _said("not forwarded (a proxy's gateway forwards no packets)", ended)
        asked = [
            f"{_ago(s.time)} {s.node}, as {s.packet.source}, asked who has {s.packet.destination}"
            for s in self._witnesses.unanswered(since, self._words())
        ]
        lines += _said("no neighbor answered (ARP)", asked)
        lines += _said("so much came that not all was seen", self._witnesses.overrun(since))
        if lines:
            return lines
        of = f" of the last command ({self._command})" if self._began and not everything else ""
        return [f"No node dropped or refused a packet{of}."]

    def of_napt(self, name: str) -> list[str]:
        """All that one NAPT has dropped so far."""
        return self._drops(name, 0.0) or [f"{name} has dropped nothing so far."]

    def _drops(self, name: str, since: float, *, by_link: bool = False) -> list[str]:
        drops = [
            event
            for event in self.net.log.since()
            if (event.node, event.name) == (name, "drop")
            and (event.program == LINK) is by_link
            and self._caused(event) >= since
        ]
        who = f"the link of {name} lost" if by_link else f"{name} dropped"
        return _said(who, [_drop(event) for event in drops])

    def _caused(self, drop: Event) -> float:
        """When the packet was sent, if that is known; of a SYN, when it was sent first."""
        sent = self._witnesses.sent.when_reported(str(drop.fields.get("packet")))
        return drop.time if sent is None else sent

    def _words(self) -> set[str]:
        """Names and addresses in the last command, and what looks like one."""
        return set(_WORD.findall(self._command.partition(" ")[2]))

    def _not_sent(self) -> Iterator[str]:
        """Names and addresses in the last command for which its node can send no packet."""
        name = self._command.partition(" ")[0]
        if name not in self.net.nodes:
            return
        node, words = self.net[name], sorted(self._words())
        for host in self.net.topology.hosts():
            if host.name in words and node.run(["getent", "hosts", host.name]).status != 0:
                yield f"{host.name} is a name of this prompt only; its address is {host.address.ip}"
        for address in words:
            if _ADDRESS.fullmatch(address):
                route = node.run(["ip", "route", "get", address])
                if route.status != 0:
                    yield f"{name} has no route to {address}: {route.stderr.strip()}"

    def _links(self) -> Iterator[str]:
        asked = [(n, n.start(["ip", "-json", "link", "show"])) for n in self.net]
        for node, process in asked:
            for link in json.loads(process.wait(5.0).stdout or "[]"):
                name, flags = link["ifname"], link["flags"]
                if name in node.interfaces and ("UP" not in flags or "NO-CARRIER" in flags):
                    unplugged = ", its cable is unplugged" if "NO-CARRIER" in flags else ""
                    yield f"{node.name}: {name}{unplugged}"


def _drop(event: Event) -> str:
    told = event.fields
    more = int(told.get("packets", 1)) - 1
    others = f" (and {more} more)" if more else ""
    return f"{_ago(event.time)} {told['packet']}{others}: {told['reason']}, {told['meaning']}"


def _turned_away(event: Event) -> str | None:
    """What a server reported, if it did not do what it was asked for."""
    told = event.fields
    peer = told.get("peer") or told.get("client") or "a client"
    if event.name in REFUSALS and "reason" in told:
        return f"{_ago(event.time)} {event.node} turned {peer} away: {told['reason']}"
    status = told.get("status")
    if event.name == "request" and isinstance(status, int) and status >= HTTP_ERROR:
        asked = " ".join(str(told[key]) for key in ("method", "path", "target") if key in told)
        why = f" ({told['reason']})" if "reason" in told else ""
        return f"{_ago(event.time)} {event.node} answered {peer} with {status}: {asked}{why}"
    return None


def _deed(seen: Seen) -> str:
    """What the sender of a RST or an ICMP error has done."""
    kind, code = seen.packet.icmp or (None, None)
    if kind == TIME_EXCEEDED:
        what = "the TTL of a packet ended at" if code == 0 else "fragments were missing at"
        return f"{what} {seen.node}"
    if kind == UNREACHABLE and code == TOO_LONG_CODE:
        return f"too long for the next link of {seen.node}"
    if kind == UNREACHABLE and code not in REFUSING_CODES:
        return f"{seen.node} could not deliver"
    if kind is None and seen.packet.sequence != 0:
        return f"{seen.node} reset {'its own' if seen.opener else 'a'} connection"
    return f"{seen.node} refused"


def _refusal(seen: Seen) -> str:
    packet = seen.packet
    if packet.quoted is not None:
        return f"{_ago(seen.time)} {packet}"
    how = "refused the connection (RST)" if packet.sequence == 0 else "broke it off (RST)"
    return f"{_ago(seen.time)} {packet.from_} to {packet.to}: {how}"


def _ago(then: float) -> str:
    seconds = max(0.0, time.time() - then)
    return f"{seconds:.1f} s ago:" if seconds < 100 else f"{seconds / 60:.0f} min ago:"


def _said(who: str, what: list[str]) -> list[str]:
    if not what:
        return []
    shown = [f"  {line}" for line in what[-SHOWN:]]
    earlier = [f"  … and {len(what) - SHOWN} before"] if len(what) > SHOWN else []
    return [f"{who}:", *earlier, *shown]
