"""The network on which a NAPT is examined: six NAPTs of one engine side by side, and hosts.

             x1 .7 ─┐                                     ┌─ y1 151.101.1.69
             x2 .8 ─┼─ napt_main    24.9.3.7 ──┐          ├─ y2 198.51.100.10
             x3 .9 ─┘                          │          │
             b1 .7 ─┬─ napt_brief   24.9.3.8 ──┼─ internet
             b2 .8 ─┘                          │          │
             s1 .7 ─┬─ napt_small   24.9.3.9 ──┤          └─ far 203.0.113.5 (MTU of its link: 1300)
             s2 .8 ─┘                          │
             n1 .7 ─┬─ napt_narrow  24.9.3.10 ─┤ (MTU of its outside link: 1280)
             n2 .8 ─┘                          │
             p1 .7 ─┐                          │
             p2 .8 ─┼─ napt_pool    24.9.3.11 ─┤
             p3 .9 ─┘          and  24.9.3.13 ─┤
             k1 .7 ─┬─ napt_blocks  24.9.3.14 ─┘
             k2 .8 ─┘

All six are the same engine with the same settings, but: *brief* has time-outs of seconds, so
that a test sees them pass; *small* has a pool of a few ports, so that it can be full; *narrow*
has a link behind it that long packets do not fit, a limit of sessions for each host, and port
control; *pool* has two addresses, and a limit of ports for each host; *blocks* gives each host a
block of ports, where its engine can. A user's own translator has neither of the last two.
Everything that does not disturb other tests happens at *main*.
The settings are those of a topology file, and are read by its loader.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from napt_lab.topologies.spec.loader import load
from napt_lab.topologies.spec.model import Engine, Topology
from napt_lab.topologies.spec.napt_settings import NaptSettings

#: Seconds, of the *brief* NAPT. The kernel knows only whole ones.
BRIEF = {"tcp": 6.0, "tcp-transitory": 4.0, "udp": 3.0, "icmp": 3.0}
BRIEF_HOLD = 2.0
SMALL_POOL = range(40000, 40008)
SMALL_UDP = 8.0  # seconds
HOST_LIMIT = 20  # sessions, of the *narrow* NAPT
NARROW_MTU, FAR_MTU = 1280, 1300
PORT_LIMIT = 10  # external ports of each host, at the *pool* NAPT
BLOCK = 4  # ports, of a host at the *blocks* NAPT
RULE_PORT = 8080  # main has an explicit rule from here to x1, if it takes any

ADDRESSES = {"y1": "151.101.1.69", "y2": "198.51.100.10", "far": "203.0.113.5"}
HOSTS = {
    "main": {"x1": "10.0.0.7", "x2": "10.0.0.8", "x3": "10.0.0.9"},
    "brief": {"b1": "10.0.0.7", "b2": "10.0.0.8"},
    "small": {"s1": "10.0.0.7", "s2": "10.0.0.8"},
    "narrow": {"n1": "10.0.0.7", "n2": "10.0.0.8"},
    "pool": {"p1": "10.0.0.7", "p2": "10.0.0.8", "p3": "10.0.0.9"},
    "blocks": {"k1": "10.0.0.7", "k2": "10.0.0.8"},
}
PUBLIC = {
    "main": ["24.9.3.7"],
    "brief": ["24.9.3.8"],
    "small": ["24.9.3.9"],
    "narrow": ["24.9.3.10"],
    "pool": ["24.9.3.11", "24.9.3.13"],
    "blocks": ["24.9.3.14"],
}
INSIDE = "10.0.0.1"
TRANSLATOR = "translator.py"


@dataclass(frozen=True, slots=True)
class Candidate:
    """What is examined: an engine and its settings, as in a topology file."""

    name: str
    gateway: Mapping[str, object]
    """Keys of a gateway, as in YAML, that all NAPTs have."""
    translator: Path | None = None
    """A file that translates in our place."""


@dataclass(frozen=True, slots=True)
class Setup:
    """A candidate once its settings have been read."""

    candidate: Candidate
    topology: Topology

    @property
    def settings(self) -> NaptSettings:
        """Those of the main NAPT."""
        settings = self.topology.sites[0].gateway.napt
        assert settings is not None
        return settings

    @property
    def engine(self) -> Engine:
        return self.topology.sites[0].gateway.engine

    @property
    def is_ours(self) -> bool:
        """Whether this project's translator is examined: only it may deviate on purpose."""
        return self.engine is Engine.PYTHON and not self.is_foreign

    @property
    def is_foreign(self) -> bool:
        """Whether a user's own translator is examined."""
        return self.topology.sites[0].gateway.translator is not None


def read_setup(candidate: Candidate) -> Setup:
    """The network for one candidate. Raises napt_lab.topologies.spec.errors.TopologyError."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "conformance.yaml"
        file.write_text(json.dumps(_document(candidate)), encoding="utf-8")  # which is YAML, too
        if candidate.translator is None:
            return Setup(candidate, load(file))
        # A topology file may only name what lies beside it.
        file.with_name(TRANSLATOR).touch()
        return Setup(candidate, load(file).translated_by(candidate.translator))


def _document(candidate: Candidate) -> dict[str, object]:
    special: dict[str, dict[str, object]] = {
        "main": {},
        "brief": {"idle": BRIEF, "closing-hold": BRIEF_HOLD},
        "small": {
            "ports": f"{SMALL_POOL.start}-{SMALL_POOL.stop - 1}",
            "idle": {"udp": SMALL_UDP},
        },
        "narrow": {},
        "pool": {"ports-per-subscriber": PORT_LIMIT},
        "blocks": {
            "ports": "1024-65535",
            "port-assignment": "deterministic",
            "address-pooling": "paired",
            "ports-per-subscriber": BLOCK,
        },
    }
    # What an engine cannot do is refused by the loader, or at the start.
    if candidate.translator is None:
        special["main"]["rules"] = [f"tcp {RULE_PORT} -> {HOSTS['main']['x1']}:{RULE_PORT}"]
    if candidate.translator is not None:
        del special["pool"], special["blocks"]
    if candidate.gateway.get("engine") != "nftables":
        special["narrow"]["host-limit"] = HOST_LIMIT
        if candidate.translator is None:
            special["narrow"]["port-control"] = "on"
    else:
        special["narrow"]["ports-per-subscriber"] = HOST_LIMIT  # each session has a port
        del special["blocks"]
    sites = {
        site: {
            "gateway": {
                "kind": "napt",
                "public": PUBLIC[site],
                "private": f"{INSIDE}/24",
                **candidate.gateway,
                **({"translator": TRANSLATOR} if candidate.translator else {}),
                **special[site],
            },
            "hosts": HOSTS[site],
        }
        for site in special
    }
    return {
        "title": f"Conformance: {candidate.name}",
        "internet": {name: {"address": address} for name, address in ADDRESSES.items()},
        "sites": sites,
    }
