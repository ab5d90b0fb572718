"""A NAPT with several external addresses, and the ports that it gives to each host inside.

The *pool* NAPT has two addresses that are no neighbors, and a limit of ports for each host. The
*blocks* NAPT gives each host a block of ports (RFC 7422), where its engine can.
"""

from __future__ import annotations

from collections.abc import Mapping

from napt_lab.labs.capture.packets import SYN, Endpoint, show
from napt_lab.labs.conformance.conversation import Query, TcpFlow
from napt_lab.labs.conformance.exam import Exam
from napt_lab.labs.conformance.full_checks import limit_as_set, use_up
from napt_lab.labs.conformance.testbed import Host
from napt_lab.labs.conformance.topology import BLOCK, HOSTS, PORT_LIMIT, PUBLIC
from napt_lab.labs.conformance.violation import NotApplicable

UDP_FLOWS = 4  # of a host with each server
GREEDY = "p3"  # the host that uses up its ports
Used = Mapping[str, frozenset[str]]
"""The external addresses of each host."""


def paired(t: Exam) -> None:
    """Whatever a host sends, it has one external address; and the pool is used."""
    used = _used(t)
    if len(frozenset().union(*used.values())) == 1:
        raise NotApplicable("of its pool it uses one address only, so that none is chosen")
    for host, addresses in used.items():
        t.require(
            len(addresses) == 1,
            f"UDP, TCP and pings of {host} come from {', '.join(sorted(addresses))}",
            f"{host} comes from several addresses: {', '.join(sorted(addresses))}",
        )


def not_contiguous(t: Exam) -> None:
    """Addresses that are no neighbors make one pool."""
    used = frozenset().union(*_used(t).values())
    t.require(
        used == frozenset(PUBLIC["pool"]),
        f"both addresses of the pool are used: {', '.join(PUBLIC['pool'])}",
        f"of {', '.join(PUBLIC['pool'])} only {', '.join(sorted(used))} is used",
    )


def _used(t: Exam) -> Used:
    _must_have(t, "pool", "a NAPT with one external address has no pool to choose from")

    def send() -> Used:
        return {name: frozenset(_sources(t, t.host(name))) for name in ("p1", "p2")}

    return t.testbed.once("a pool", send)


def _sources(t: Exam, host: Host) -> list[str]:
    servers = t.host("y1"), t.host("y2")
    found = [t.open_udp(host, server).external[0] for server in servers for _ in range(UDP_FLOWS)]
    for server in servers:
        for probe in (TcpFlow(t, host, server).outward(SYN), Query(t, host, server).request()):
            found.append(str(t.given(host, probe, server).source))
    return found


def port_limit(t: Exam) -> None:
    """A host gets no more ports than its limit, and others still get theirs."""
    _must_have_limit(t)
    allowed, seen = use_up(t, GREEDY, PORT_LIMIT)
    t.observe(f"port {allowed + 1} of one host is refused: {seen}")
    t.open_udp(t.host("p1"), t.host("y2")).answer()
    t.note("another host gets a new one at the same time")


def port_limit_as_set(t: Exam) -> None:
    """The limit is the one that was set."""
    _must_have_limit(t)
    limit_as_set(t, GREEDY, PORT_LIMIT)


def port_limit_of_each_protocol(t: Exam) -> None:
    """A host whose UDP ports are used up opens a TCP connection."""
    _must_have_limit(t)
    use_up(t, GREEDY, PORT_LIMIT)
    host, server = t.host(GREEDY), t.host("y1")
    t.passes(host, TcpFlow(t, host, server).outward(SYN), server)


def _must_have_limit(t: Exam) -> None:
    _must_have(t, "pool", "there is no limit of ports for each host")


def computable(t: Exam) -> None:
    """From an external port alone one can compute whose it is, so it need not be logged."""
    _must_have(t, "blocks", "no log is kept, and this engine gives no blocks of ports")
    for name, inside in HOSTS["blocks"].items():
        host, number = t.host(name), int(inside.rpartition(".")[2])
        ends: list[Endpoint] = [t.open_udp(host, t.host("y1")).external for _ in range(BLOCK)]
        owners = {1 + (port - 1024) // BLOCK for _, port in ends}
        t.require(
            owners == {number},
            f"all {BLOCK} ports of {name} are of block {number}",
            f"{name} is host {number} and has {', '.join(map(show, ends))}",
        )


def _must_have(t: Exam, site: str, why_not: str) -> None:
    if site not in t.testbed.napts:
        raise NotApplicable(why_not)
