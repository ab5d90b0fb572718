"""Reads the sentences of `expect:`: text in, data out.

    SOURCE reaches TARGET [by tcp|udp|ping|http] [at ENDPOINT] [as NODE-OR-ADDRESS]
                          [via PATH [at NODE]] [within TIME]
    SOURCE cannot reach TARGET [by …] [at ENDPOINT] [because REASON [at NODE]]
    SOURCE loses at most N of M datagrams to TARGET [at ENDPOINT]
    RECEIVER gets a file from HOST:PORT [at ENDPOINT] [as …] [via …]
    RECEIVER gets a file from HOST through SERVER[:PORT] [via relayed]
    NAPT maps endpoint-independent|address-dependent|address-and-port-dependent
    NAPT filters …                     the same three
    NAPT hairpins
    NAPT does not hairpin
    NAPT is full-cone|restricted-cone|port-restricted-cone|symmetric|MAPPING/FILTERING
    HOST punches HOST [by udp|tcp] [via direct|hairpinned]
    HOST cannot punch HOST [by udp|tcp] [because REASON [at NODE]]
    HOST connects to HOST by ice [via direct|relayed|hairpinned]
    SOURCE keeps its connection to TARGET [at ENDPOINT]      only below `then:`

TARGET is `node:port`, `address:port`, or either without a port for a ping. `at ENDPOINT` is what
is dialed if it is not the target's own address: its NAPT's, which has an explicit rule. Clauses
come in any order, each at most once. An error raises ValueError with the message for the writer.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from ipaddress import IPv4Address

from napt_lab.topologies.spec.assertions import (
    DROP_REASONS,
    FIREWALL_REASONS,
    LINK_REASONS,
    SEEN_REASONS,
    Assertion,
    CannotPunch,
    CannotReach,
    ConnectsByIce,
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
    Via,
)
from napt_lab.topologies.spec.errors import not_one_of, quoted
from napt_lab.topologies.spec.link import seconds
from napt_lab.topologies.spec.napt_settings import Behavior
from napt_lab.topologies.spec.presets import KINDS
from napt_lab.topologies.spec.roster import Roster
from napt_lab.topologies.spec.scalars import count, one_of
from napt_lab.topologies.spec.services import Service
from napt_lab.topologies.spec.words import Words, address, endpoint, is_like_an_address

MAX_SENTENCE = 200  # characters
MOST_DATAGRAMS = 1000
HTTP_PORT = 80
ICE_WAYS = (Via.DIRECT, Via.RELAYED, Via.HAIRPINNED)
CARRIERS = ("file-server", "relay", "turn")  # services that pass a file from host to host
PLACES_OUTSIDE = 2  # public addresses from which a NAPT's behavior is measured
VERBS = (
    "reaches",
    "cannot reach",
    "loses at most",
    "gets a file from",
    "maps",
    "filters",
    "hairpins",
    "does not hairpin",
    "is",
    "punches",
    "cannot punch",
    "connects to",
    "keeps its connection to",
)

_ENDPOINT = "the address and port to dial, as in 24.9.3.7:8080"

_WAY = {"as": "an address or a node", "via": ", ".join(Via), "via at": "a node"}
_REASONS = (*SEEN_REASONS, *FIREWALL_REASONS, *LINK_REASONS, *DROP_REASONS)
_BECAUSE = {"because": "a reason, as in no-rule", "because at": "a node"}
_PUNCHED_BY, _PUNCHED_VIA = (Protocol.UDP, Protocol.TCP), (Via.DIRECT, Via.HAIRPINNED)


def sentence(text: str, roster: Roster, *, later: bool = False) -> Assertion:
    """The assertion that `text` makes about nodes of `roster`.

    `later`: it is made after something has happened, so a connection can be kept over it.
    """
    if len(text) > MAX_SENTENCE or not text.isprintable():
        raise ValueError(
            f"{quoted(text)} is not a sentence; allowed: one line of at most {MAX_SENTENCE} "
            "characters"
        )
    words = Words(text)
    source = roster.node(words.next("a node and a verb"))
    match words.next(_any_of(VERBS)):
        case "reaches":
            return _reaches(source, words, roster)
        case "cannot" if words.one_of("reach", "punch") == "reach":
            return _cannot_reach(source, words, roster)
        case "cannot":
            return _cannot_punch(source, words, roster)
        case "punches":
            return _punches(source, words, roster)
        case "is":
            return _is(source, words, roster)
        case "loses":
            words.expect("at", "most")
            return _loses(source, words, roster)
        case "gets":
            words.expect("a", "file", "from")
            return _gets(source, words, roster)
        case "maps":
            return Maps(_napt(source, roster), _behavior(words))
        case "filters":
            return Filters(_napt(source, roster), _behavior(words))
        case "hairpins":
            words.clauses({})
            return Hairpins(_napt(source, roster), does=True)
        case "does":
            words.expect("not", "hairpin")
            words.clauses({})
            return Hairpins(_napt(source, roster), does=False)
        case "connects":
            words.expect("to")
            return _connects(source, words, roster)
        case "keeps":
            words.expect("its", "connection", "to")
            return _keeps(source, words, roster, later)
        case verb:
            # By its letters, 'can' is most similar to 'cannot reach', its opposite.
            can = verb == "can" and words.peek() != "not"
            meant = "reaches" if can else verb.replace("'t", "not")
            raise ValueError(not_one_of(f"{quoted(verb)} is not a verb", meant, VERBS))


def _reaches(source: str, words: Words, roster: Roster) -> Reaches:
    to = words.next("a target, as in stackoverflow:80")
    usage = {"by": _any_of(Protocol), "at": _ENDPOINT, **_WAY, "within": "a time, as in 80ms"}
    clauses = words.clauses(usage)
    target, protocol = _target(source, to, clauses, roster)
    within = None
    if "within" in clauses:
        if protocol is Protocol.HTTP:
            raise ValueError("'within' measures a round trip; allowed: by tcp, udp or ping")
        within = seconds(clauses["within"])
    return Reaches(source, target, protocol, *_way(clauses, roster), within)


def _loses(source: str, words: Words, roster: Roster) -> Loses:
    most = count(MOST_DATAGRAMS, 0)(words.next("a number"))
    words.expect("of")
    of = count(MOST_DATAGRAMS)(words.next("a number of datagrams"))
    if not most < of:
        raise ValueError(f"{most} of {of} is no limit; allowed: at most {of - 1} of {of}")
    words.expect("datagrams", "to")
    to = words.next("a target, as in server:7000")
    clauses = words.clauses({"at": _ENDPOINT})
    target, _ = _target(source, to, {**clauses, "by": Protocol.UDP}, roster)
    if target.node is None:
        raise ValueError(
            f"{quoted(to)} is not a host, so nothing shows what arrives; allowed: HOST:PORT, or "
            "HOST:PORT at ADDRESS:PORT"
        )
    return Loses(source, most, of, target)


def _connects(source: str, words: Words, roster: Roster) -> ConnectsByIce:
    target = _peer(source, words, roster)
    clauses = words.clauses({"by": "ice", "via": _any_of(ICE_WAYS)})
    if clauses.get("by") != "ice":
        raise ValueError("'connects to' needs a method; allowed: HOST connects to HOST by ice")
    via = clauses.get("via")
    if via not in (None, *ICE_WAYS):
        raise ValueError(not_one_of(f"{quoted(via)} is not a path of ICE", via, ICE_WAYS))
    needed = ("relay", "turn") if via == Via.RELAYED else ("relay",)
    missing = [name for name in needed if not roster.runs(name)]
    if missing:
        raise ValueError(
            f"no host runs {missing[0]}, and ICE needs it: the peers meet at a relay, and rent "
            f"relayed addresses of a TURN server; allowed: a host with runs: [{missing[0]}]"
        )
    return ConnectsByIce(source, target, None if via is None else Via(via))


def _keeps(source: str, words: Words, roster: Roster, later: bool) -> KeepsConnection:
    to = words.next("a target, as in files:8080")
    target, _ = _target(source, to, {**words.clauses({"at": _ENDPOINT}), "by": "tcp"}, roster)
    if not later:
        raise ValueError(
            "a connection is kept over what happens, and nothing happens before this sentence; "
            "allowed: below then:"
        )
    return KeepsConnection(source, target)


def _gets(receiver: str, words: Words, roster: Roster) -> GetsFile | GetsFileThrough:
    roster.host(receiver)
    sender = words.next("the host that has the file")
    clauses = words.clauses({"at": _ENDPOINT, **_WAY, "through": "a server"})
    host = roster.host(endpoint(sender)[0])
    if "through" not in clauses:
        target, _ = _target(receiver, sender, {**clauses, "by": "http"}, roster)
        for service in host.runs if host else ():
            if service.port == target.service_port and service.name != "file-server":
                raise ValueError(
                    f"port {service.port} of {target.node} belongs to {service.name}, which has no "
                    "files; allowed: the port of a file server, or one without a service in `runs`"
                )
        return GetsFile(receiver, target, *_way(clauses, roster))
    if sender == receiver:
        raise ValueError(f"{receiver} cannot get its own file; allowed: another host")
    surplus = [":"] * (":" in sender) + [key for key in clauses if key not in ("through", "via")]
    if surplus:
        raise ValueError(
            f"{surplus[0]!r} cannot be used with 'through'; allowed: HOST through SERVER"
        )
    server, service = _server(clauses["through"], roster)
    if "via" in clauses and (clauses["via"] != Via.RELAYED or service.name == "file-server"):
        raise ValueError(
            f"'via' cannot be {quoted(clauses['via'])} with 'through {server}'; allowed: "
            "'via relayed' with a relay or TURN server, no 'via' with a file server"
        )
    return GetsFileThrough(receiver, sender, server, service)


def _server(text: str, roster: Roster) -> tuple[str, Service]:
    """The node between the two hosts, and its service that passes the file on."""
    name, port = endpoint(text)
    host = roster.host(name)
    if host is None:
        return name, Service("", 0)
    can = [s for s in host.runs if s.name in CARRIERS and not s.options.get("read-only")]
    found = [service for service in can if port in (None, service.port)]
    if not found:
        has = ", ".join(f"{name}:{service.port}" for service in can)
        raise ValueError(
            f"{quoted(text)} does not pass files on; "
            f"allowed: {has or 'a host that runs ' + ', '.join(CARRIERS)}"
        )
    return name, found[0]


def _way(
    clauses: Mapping[str, str], roster: Roster
) -> tuple[IPv4Address | None, Via | None, str | None]:
    """The address that the target sees, the path, and the node that makes it so."""
    seen_as = address(clauses["as"], roster) if "as" in clauses else None
    if "via" not in clauses:
        return seen_as, None, None
    via = clauses["via"]
    if via not in list(Via):
        raise ValueError(not_one_of(f"{quoted(via)} is not a path", via, Via))
    if via == Via.RELAYED:
        raise ValueError(
            "'via relayed' needs a relay; allowed: HOST gets a file from HOST through RELAY"
        )
    at = _place("via", clauses, roster)
    if at is not None and via == Via.DIRECT:
        raise ValueError(f"no node makes a path direct; allowed: no 'at {at}' after 'via direct'")
    return seen_as, Via(via), at


def _place(keyword: str, clauses: Mapping[str, str], roster: Roster) -> str | None:
    """The node after `because REASON at` or `via PATH at`; a site stands for its gateway."""
    at = clauses.get(f"{keyword} at")
    if at is None:
        return None
    if is_like_an_address(at) or ":" in at:
        raise ValueError(
            f"{quoted(at)} is not a node; allowed: the node where it happens "
            f"(an 'at' with an address to dial comes before {keyword!r})"
        )
    return roster.node_or_gateway(at)


def _cannot_reach(source: str, words: Words, roster: Roster) -> CannotReach:
    to = words.next("a target, as in pc:80")
    clauses = words.clauses({"by": _any_of(Protocol), "at": _ENDPOINT, **_BECAUSE}, _REASONS)
    target, protocol = _target(source, to, clauses, roster)
    return CannotReach(source, target, protocol, *_because(clauses, roster))


def _because(clauses: Mapping[str, str], roster: Roster) -> tuple[str | None, str | None]:
    """The reason why a packet is not delivered, and the node where it ends."""
    return clauses.get("because"), _place("because", clauses, roster)


def _punches(source: str, words: Words, roster: Roster) -> Punches:
    target = _peer(source, words, roster)
    clauses = words.clauses({"by": _any_of(_PUNCHED_BY), "via": _any_of(_PUNCHED_VIA)})
    via = clauses.get("via")
    if via is not None and via not in _PUNCHED_VIA:
        raise ValueError(not_one_of(f"{quoted(via)} is not the path of a hole", via, _PUNCHED_VIA))
    return Punches(source, target, _punched_by(clauses), Via(via) if via else None)


def _cannot_punch(source: str, words: Words, roster: Roster) -> CannotPunch:
    target = _peer(source, words, roster)
    clauses = words.clauses({"by": _any_of(_PUNCHED_BY), **_BECAUSE}, _REASONS)
    return CannotPunch(source, target, _punched_by(clauses), *_because(clauses, roster))


def _peer(source: str, words: Words, roster: Roster) -> str:
    """The host at the other end of a hole, or of a connection by ICE."""
    roster.host(source)
    target = words.next("a host")
    roster.host(target)
    if target == source:
        raise ValueError(f"{source} cannot be its own target; allowed: another host")
    return target


def _punched_by(clauses: Mapping[str, str]) -> Protocol:
    by = clauses.get("by", Protocol.UDP)
    if by not in _PUNCHED_BY:
        raise ValueError(not_one_of(f"no hole is punched by {quoted(by)}", by, _PUNCHED_BY))
    return Protocol(by)


def _is(name: str, words: Words, roster: Roster) -> Is:
    kinds = {word: behaviors for behaviors, word in KINDS.items()}
    word = words.next(_any_of(kinds))
    words.clauses({})
    if word not in kinds:
        raise ValueError(not_one_of(f"{quoted(word)} is not a kind of NAPT", word, kinds))
    return Is(_napt(name, roster), *kinds[word])


def _behavior(words: Words) -> Behavior:
    behavior = one_of(Behavior)(words.next(_any_of(Behavior)))
    words.clauses({})
    return behavior


def _napt(name: str, roster: Roster) -> str:
    """The name of a NAPT that can be measured: from one host inside and two addresses outside."""
    site = roster.site_behind(name)
    if roster.has_errors(name):
        return name
    napts = roster.napts()
    if site is None or name not in napts:
        raise ValueError(not_one_of(f"{quoted(name)} is not a NAPT", name, napts or ["a NAPT"]))
    if not site.hosts:
        raise ValueError(
            f"{name} cannot be measured: its site has no host; allowed: a site with a host"
        )
    if roster.places_outside(site) < PLACES_OUTSIDE:
        carrier = site.gateway.behind
        addresses, where = (
            ("addresses on its outside", f"in {carrier}")
            if carrier
            else ("public addresses", "on the Internet")
        )
        raise ValueError(
            f"{name} cannot be measured: that takes two {addresses} besides its own, and "
            f"there is one; allowed: a topology with one more host {where}"
        )
    return name


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
            raise ValueError(f"{source} cannot be its own target; allowed: another node")
        return (Target(own, port, who, port) if is_host else Target(own, port)), protocol
    if not is_host:
        raise ValueError(
            f"{quoted(who)} is not a host, so it cannot be followed by 'at'; "
            "allowed: HOST:PORT at ADDRESS:PORT"
        )
    dialed, dialed_port = endpoint(clauses["at"])
    if dialed_port is None and protocol is not Protocol.PING:
        dialed_port = port
    _fit(protocol, dialed_port, clauses["at"])
    return Target(address(dialed, roster), dialed_port, who, port), protocol


def _fit(protocol: Protocol, port: int | None, text: str) -> None:
    """Check that there is a port if and only if the protocol has ports."""
    if protocol is Protocol.PING and port is not None:
        raise ValueError(f"a ping has no port; allowed: {text.partition(':')[0]}")
    if protocol is not Protocol.PING and port is None:
        raise ValueError(
            f"{quoted(text)} has no port, and {protocol.value} needs one; "
            "allowed: as in stackoverflow:80"
        )


def _any_of(words: Iterable[str]) -> str:
    return ", ".join(words)
