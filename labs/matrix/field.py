"""The network of a matrix: each type of NAPT twice, so that a type can also meet itself.

     a1 ── napt_a1 ─┐                                          ┌─ napt_b1 ── b1
     a2 ── napt_a2 ─┼─ [carrier_a] ── internet ── [carrier_b] ─┼─ napt_b2 ── b2
     …                                   │                               …
                                       server

All pairs are tried in this one network, many at the same time: each has sockets of its own.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from napt_lab.labs.matrix.cell import Cell
from napt_lab.labs.matrix.napt_types import NaptType
from napt_lab.topologies.network.plan import Port, node_plans
from napt_lab.topologies.spec.loader import loads
from napt_lab.topologies.spec.model import Topology
from napt_lab.topologies.spec.presets import Preset
from napt_lab.topologies.spec.scalars import ROUTER_NAME

SERVER, SERVER_ADDRESS = "server", "198.51.100.10"
RENDEZVOUS, RENDEZVOUS_ADDRESS = "rendezvous", "198.51.100.20"
TURN_USER, TURN_PASSWORD = "matrix", "secret"
NETWORKS = {"a": "24.9.3.{}", "b": "203.0.113.{}"}
SHARED = "100.64.0.{}"  # behind a carrier
FIRST = 10  # the last byte of the first NAPT's address outside
#: For ICE. Behind a carrier, all hosts come from one address.
SERVICES = (
    {"relay": {"waiting-per-address": 1000, "pairs-per-address": 1000}},
    {
        "turn": {
            "user": f"{TURN_USER}:{TURN_PASSWORD}",
            "user-allocations": 1000,
            "client-allocations": 1000,
        }
    },
)


class Field:
    """The topology, and the hosts' names in it."""

    def __init__(
        self, types: Sequence[NaptType], *, behind_carrier: bool, rendezvous: bool = False
    ) -> None:
        """`rendezvous`: with a public host of that name, for the user's own server."""
        self._rendezvous = rendezvous
        self.types = tuple(types)
        self.behind_carrier = behind_carrier
        self._numbers = {type_.name: number for number, type_ in enumerate(types)}
        text = json.dumps(self._document())  # which is YAML, too
        self.topology: Topology = loads(text.encode(), Path("matrix.yaml"))
        self.ports: dict[str, Port] = {}
        self._places: dict[str, list[str]] = {}  # a node's, in the order of its plan
        for plan in node_plans(self.topology):
            for port in plan.ports:
                where = f"{plan.name}:{port.interface}"
                self.ports[where] = port
                self._places.setdefault(plan.name, []).append(where)

    def hosts(self, cell: Cell) -> tuple[str, str]:
        """The two hosts of a cell; the first one begins."""
        return self._host("a", cell.a), self._host("b", cell.b)

    def offset(self, a: NaptType, b: NaptType) -> int:
        """How far the second type is from the first: with each offset, each host has one cell."""
        return (self._numbers[b.name] - self._numbers[a.name]) % len(self.types)

    def _host(self, side: str, type_: NaptType) -> str:
        """The host of side `a` or `b` behind the NAPT of this type."""
        return f"{side}{self._numbers[type_.name] + 1}"

    def places(self, a: NaptType, b: NaptType) -> tuple[str, ...]:
        """Every `node:interface` between two hosts, from left to right."""
        left = [self._host("a", a), f"napt_{self._host('a', a)}", "carrier_a"]
        right = [SERVER, "carrier_b", f"napt_{self._host('b', b)}", self._host("b", b)]
        found = [where for node in left for where in reversed(self._places.get(node, ()))]
        found += [w for node in (ROUTER_NAME, *right) for w in self._places.get(node, ())]
        return tuple(found)

    def _document(self) -> dict[str, object]:
        sites: dict[str, object] = {}
        for side, network in NETWORKS.items():
            outside: dict[str, object] = {}
            if self.behind_carrier:
                carrier = {
                    "name": f"carrier_{side}",
                    "kind": "napt",
                    "preset": Preset.CARRIER.value,
                    "public": network.format(FIRST),
                    "private": "100.64.0.1/10",
                }
                sites[f"carrier_{side}"] = {"gateway": carrier}
                outside, network = {"behind": f"carrier_{side}"}, SHARED
            for number, type_ in enumerate(self.types):
                gateway = {
                    "kind": "napt",
                    "public": network.format(FIRST + number),
                    "private": "10.0.0.1/24",
                    **outside,
                    **type_.keys,
                }
                name = self._host(side, type_)
                sites[name] = {"gateway": gateway, "hosts": {name: "10.0.0.7"}}
        return {
            "title": "All pairs of NAPT types" + " behind carriers" * self.behind_carrier,
            "internet": {
                SERVER: {"address": SERVER_ADDRESS, "runs": SERVICES},
                **({RENDEZVOUS: RENDEZVOUS_ADDRESS} if self._rendezvous else {}),
            },
            "sites": sites,
        }
