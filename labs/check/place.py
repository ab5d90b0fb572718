"""The target of a check: which node and port it is, and what answers there.

That is the topology's own service, if it runs one there; else a listener that the check opens while
it runs; or nothing, where the assertion says that the port is closed.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from napt_lab.labs.check.ground import Ground
from napt_lab.labs.check.listeners import Listeners
from napt_lab.labs.check.outcome import Evidence
from napt_lab.labs.check.probes import Prober, Speech, Tried
from napt_lab.topologies.spec.assertions import Protocol, Target

HTTP_SERVICES = ("web", "file-server")


@dataclass(frozen=True, slots=True)
class Place:
    """The node and port to be reached, and what may be sent there.

    `node` is empty if no node has the address.
    """

    node: str
    port: int | None
    speech: Speech


@contextmanager
def served(
    ground: Ground,
    listeners: Listeners,
    target: Target,
    protocol: Protocol,
    source: str,
    *,
    silent: bool = False,
) -> Iterator[Place]:
    """The place to be reached; something answers there, unless it is to be `silent`."""
    holder = target.node or ground.holder(target.address, source) or ""
    if target.port is None:
        yield Place(holder, None, Speech.NOTHING)
        return
    behind = ground.behind(target, protocol, source)
    if behind is None:
        yield Place(holder, target.port, Speech.NOTHING)
        return
    node, port = behind
    transport = transport_of(protocol)
    service = ground.service_at(node, port)
    if service == "dns" and transport == "udp":
        yield Place(node, port, Speech.DNS)
    elif service and (transport == "tcp" or service == "turn"):
        speaks_http = service in HTTP_SERVICES
        yield Place(node, port, Speech.HTTP if speaks_http else Speech.NOTHING)
    elif silent:
        yield Place(node, port, Speech.NOTHING)
    else:
        own = str(ground.address(node))
        with listeners.at(ground.net[node], transport, own, port) as ours:
            yield Place(node, port, Speech.LINE if ours else Speech.NOTHING)


def tell_of_ours(place: Place, protocol: Protocol, evidence: Evidence) -> None:
    """Say that the listener is the check's own: the topology runs none there."""
    if place.speech is Speech.LINE:
        carrier = " by udp" if protocol is Protocol.UDP else ""
        evidence.add(f"the check put a listener on {place.node}:{place.port}{carrier}")


def try_to_reach(
    prober: Prober, target: Target, protocol: Protocol, place: Place, *curl: str
) -> Tried:
    """Try it by this protocol; `curl` are options for it, where that is HTTP."""
    address = str(target.address)
    if target.port is None:
        return prober.ping(address)
    match protocol:
        case Protocol.UDP:
            return prober.udp(address, target.port, place.speech)
        case Protocol.HTTP:
            return prober.http(address, target.port, *curl)
        case _:
            return prober.tcp(address, target.port, place.speech)


def transport_of(protocol: Protocol) -> str:
    """The transport protocol below it."""
    return "udp" if protocol is Protocol.UDP else "tcp"
