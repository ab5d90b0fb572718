"""Which nodes an exercise has: a line or a fact that names another one is refused."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from napt_lab.labs.exercises.patterns import OF_FILES
from napt_lab.topologies.spec.errors import not_one_of, quoted
from napt_lab.topologies.spec.model import Topology
from napt_lab.topologies.spec.scalars import ROUTER_NAME

# Kinds of facts whose second word is a NAPT, and those whose second word begins a line.
OF_NAPTS = ("rule", "only", "first", "late", "drop", "dropped")
OF_LINES = ("typed", "told")
_COMMANDS = ("rule", "set", "shell")  # with what a line may begin besides a node's name
_ANYTHING = "*"


@dataclass(frozen=True, slots=True)
class NodeNames:
    """The names of an exercise's nodes."""

    nodes: tuple[str, ...]
    gateways: tuple[str, ...]
    napts: tuple[str, ...]

    @staticmethod
    def of(topology: Topology) -> NodeNames:
        """Those of a topology."""
        gateways = [site.gateway for site in topology.sites]
        names = tuple(gateway.name for gateway in gateways)
        hosts = tuple(host.name for host in topology.hosts())
        napts = tuple(gateway.name for gateway in gateways if gateway.napt is not None)
        return NodeNames((*hosts, *names, ROUTER_NAME), names, napts)

    def check_line(self, words: Sequence[str]) -> None:
        """Raises ValueError if a line of an answer names what is not there."""
        if words[0] == "rule":
            _check("is not a NAPT", words[2], self.napts)
        elif words[0] == "set":
            _check("is not a gateway", words[1], self.gateways)
        else:
            _check("is not a node", words[0], self.nodes)

    def check_fact(self, text: str) -> None:
        """Raises ValueError if a pattern of facts names what is not there."""
        for way in text.split(" | "):
            kind, *words = way.split()
            if kind in OF_FILES:
                for word in words:
                    _check("is not a node", word.partition(":")[0], self.nodes)
            elif not words:
                continue
            elif kind in OF_NAPTS:
                _check("is not a NAPT", words[0], self.napts)
            elif kind == "set":
                _check("is not a gateway", words[0], self.gateways)
            elif kind in OF_LINES:
                self._check_pattern(words)
            else:
                _check("is not a node", words[0], self.nodes)

    def _check_pattern(self, words: Sequence[str]) -> None:
        """The names in a pattern of lines: it may end early, and `*` may stand for words."""
        match words:
            case ["rule", "add" | "del", napt, *_]:
                _check("is not a NAPT", napt, self.napts)
            case ["set", gateway, *_]:
                _check("is not a gateway", gateway, self.gateways)
            case [name, *_]:
                _check("is not a node", name, (*self.nodes, *_COMMANDS))


def _check(wrong: str, word: str, names: Iterable[str]) -> None:
    if _ANYTHING not in word and word not in names:
        raise ValueError(not_one_of(f"{quoted(word)} {wrong}", word, names))
