"""`why`: what went wrong with the last command: where, when, and for what reason.

The witnesses: NAPTs and firewalls report each packet that they drop, slow links each packet that
they lose, and servers each client that they turn away or answer with an error. Nodes refuse
connections (RST), say what they cannot forward (ICMP), forward nothing, or get no answer to ARP
(witnesses.py). And each node is asked for its links. If the command itself has failed, its node
tells what it knows of that (failed.py).

An answer belongs to the command that has sent what it answers, also if it comes later.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import replace

from napt_lab.labs.capture.packets import TIME_EXCEEDED, UNREACHABLE
from napt_lab.labs.prompt.failed import Typed, not_run, not_sent
from napt_lab.labs.prompt.witnesses import Seen, Witnesses
from napt_lab.labs.records.stream import PROMPT
from napt_lab.topologies.network.builder import Network
from napt_lab.topologies.network.node import LIST_LINKS, without_link
from napt_lab.topologies.network.processes import Event
from napt_lab.topologies.network.slow_links import PROGRAM as LINK

SHOWN = 6  # of each witness
REFUSALS = {"refused", "connection-refused", "failed"}  # how servers say that they did
HTTP_ERROR = 400  # the least status that is one (RFC 9110)
#: Codes of "destination unreachable" by which a node refuses; by the others it cannot deliver.
REFUSING_CODES = {2, 3, 9, 10, 13, 14, 15}
TOO_LONG_CODE = 4

Told = tuple[float, str]  # when, in seconds since 1970, and what


class Why:
    """Looks for what goes wrong on a network. To be closed."""

    def __init__(self, net: Network) -> None:
        self.net = net
        self._witnesses = Witnesses(net, net.topology)
        self._typed = Typed()

    def close(self) -> None:
        self._witnesses.close()

    def begins(self, command: str, *, told: bool = False) -> None:
        """From now on `command` is the last one.

        Those who watch the network are told of it, unless they were `told`.
        """
        if not told:  # else another thread may be reading
            self._witnesses.look()
        self._typed = typed = Typed(command, time.time())
        if typed.line and typed.node in self.net.nodes and not told:
            self.net.log.add(typed.node, PROMPT, {"event": "typed", "command": typed.line})

    def ended(self, status: int) -> None:
        """The last command has ended with this exit status."""
        self._typed = replace(self._typed, status=status)

    def lines(self, *, everything: bool = False) -> list[str]:
        """What all witnesses tell of the last command, or of all that they still know."""
        since = 0.0 if everything else self._typed.began
        self._witnesses.look()
        lines = [] if everything else self._failure()
        lines += _said("a link is down", list(self._links()))
        for node in self.net:
            lines += self._drops(node.name, since)
            lines += self._drops(node.name, since, by_link=True)
        events = [event for event in self.net.log.since() if event.time >= since]
        lines += _said("not resolved", _counted(_unresolved(events)))
        lines += _said("turned away", _counted(_turned_away(events)))
        by_deed: dict[str, list[Told]] = {}
        for seen in self._witnesses.refusals(since):
            by_deed.setdefault(_deed(seen), []).append((seen.time, _refusal(seen)))
        for deed, told in by_deed.items():
            lines += _said(deed, _counted(told))
        ended = [
            (s.time, f"{s.packet} ended at {s.node}") for s in self._witnesses.not_forwarded(since)
        ]
        lines += _said("not forwarded (a proxy's gateway forwards no packets)", _counted(ended))
        asked = [
            (s.time, f"{s.node}, as {s.packet.source}, asked who has {s.packet.destination}")
            for s in self._witnesses.unanswered(since, self._typed.words)
        ]
        lines += _said("no neighbor answered (ARP)", _counted(asked))
        lines += _said("so much came that not all was seen", self._witnesses.overrun(since))
        return lines or [self._nothing(everything=everything)]

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
        return _said(who, _counted((event.time, _drop(event)) for event in drops))

    def _caused(self, drop: Event) -> float:
        """When the packet was sent, if that is known; of a SYN, when it was sent first."""
        sent = self._witnesses.sent.when_reported(str(drop.fields.get("packet")))
        return drop.time if sent is None else sent

    def _failure(self) -> list[str]:
        """What the node of the last command knows of its failure."""
        typed = self._typed
        if typed.node not in self.net.nodes or not typed.line:
            return []
        node, sent = self.net[typed.node], self._has_sent()
        lines = _said("not run", list(not_run(node, typed)))
        return lines + _said("not sent", list(not_sent(self.net, node, typed, sent=sent)))

    def _has_sent(self) -> bool:
        """Whether the node has sent a packet since the last command began."""
        return self._witnesses.sent.last_of(self._typed.node) >= self._typed.began

    def _nothing(self, *, everything: bool) -> str:
        typed = self._typed
        if everything or not typed.began:
            return "No node dropped or refused a packet."
        if not typed.failed:
            return f"No node dropped or refused a packet of the last command ({typed.text})."
        end = f"It ended with exit status {typed.status}; what it printed may say why."
        if self._has_sent():
            return f"No node dropped or refused a packet of the last command ({typed.text}). {end}"
        return f"No packet of the last command ({typed.text}) left {typed.node}. {end}"

    def _links(self) -> Iterator[str]:
        asked = [(node, node.start(LIST_LINKS)) for node in self.net]
        for node, process in asked:
            for link in without_link(process.wait(5.0).stdout or "[]", node.interfaces):
                unplugged = ", its cable is unplugged" if "NO-CARRIER" in link["flags"] else ""
                yield f"{node.name}: {link['ifname']}{unplugged}"


def _drop(event: Event) -> str:
    told = event.fields
    more = int(told.get("packets", 1)) - 1
    others = f" (and {more} more)" if more else ""
    return f"{told['packet']}{others}: {told['reason']}, {told['meaning']}"


def _unresolved(events: Iterable[Event]) -> Iterator[Told]:
    """The names for which a name server had no address, with its answer (RFC 1035)."""
    for event in events:
        told = event.fields
        answer = told.get("answer")
        if event.name == "asked" and isinstance(answer, str) and answer != "NOERROR":
            meaning = f"there is no {told['name']}" if answer == "NXDOMAIN" else told["name"]
            host = str(told["peer"]).rpartition(":")[0]
            yield event.time, f"{event.node} answered {host} with {answer}: {meaning}"


def _turned_away(events: Iterable[Event]) -> Iterator[Told]:
    """What servers reported, if they did not do what they were asked for."""
    for event in events:
        told = event.fields
        peer = told.get("peer") or told.get("client") or "a client"
        status = told.get("status")
        if event.name in REFUSALS and "reason" in told:
            yield event.time, f"{event.node} turned {peer} away: {told['reason']}"
        elif event.name == "request" and isinstance(status, int) and status >= HTTP_ERROR:
            asked = " ".join(str(told[key]) for key in ("method", "path", "target") if key in told)
            why = f" ({told['reason']})" if "reason" in told else ""
            yield event.time, f"{event.node} answered {peer} with {status}: {asked}{why}"


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
        return str(packet)
    how = "refused the connection (RST)" if packet.sequence == 0 else "broke it off (RST)"
    return f"{packet.from_} to {packet.to}: {how}"


def _counted(told: Iterable[Told]) -> list[str]:
    """A line for each different thing, with the time when it happened last, in order."""
    times: dict[str, list[float]] = {}
    for when, what in told:
        times.setdefault(what, []).append(when)
    latest = sorted(times.items(), key=lambda entry: max(entry[1]))
    return [
        f"{_ago(max(when))} {what}" + (f" ({len(when)} times)" if len(when) > 1 else "")
        for what, when in latest
    ]


def _ago(then: float) -> str:
    seconds = max(0.0, time.time() - then)
    return f"{seconds:.1f} s ago:" if seconds < 100 else f"{seconds / 60:.0f} min ago:"


def _said(who: str, what: list[str]) -> list[str]:
    if not what:
        return []
    shown = [f"  {line}" for line in what[-SHOWN:]]
    earlier = [f"  … and {len(what) - SHOWN} before"] if len(what) > SHOWN else []
    return [f"{who}:", *earlier, *shown]
