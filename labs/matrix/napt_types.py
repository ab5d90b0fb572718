"""The types of NAPTs in the matrix, and their names.

A type is a mapping behavior, a filtering behavior and a port assignment. It has the name of the
preset that is the same, if there is one. Otherwise its name has two parts: RFC 3489's, or RFC
4787's abbreviated (`ADM/EIF`: address-dependent mapping, endpoint-independent filtering), and the
port assignment unless that is random: `symmetric-preserve`, `ADM/EIF`, `APDM/ADF-sequential`.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from napt_lab.labs.matrix.prediction import Method, Nat
from napt_lab.topologies.spec.errors import not_one_of, quoted
from napt_lab.topologies.spec.firewall import Traffic
from napt_lab.topologies.spec.model import Engine
from napt_lab.topologies.spec.napt_settings import Behavior, NaptSettings, PortAssignment
from napt_lab.topologies.spec.presets import FIREWALLS, KINDS, PRESETS, USUAL, Preset

T = TypeVar("T")

KERNEL = "nftables"
OURS = (Method.UDP, Method.TCP, Method.ICE)
_SHORT = dict(zip(Behavior, ("EI", "AD", "APD"), strict=True))
_PORTS = (PortAssignment.RANDOM, PortAssignment.PRESERVE, PortAssignment.SEQUENTIAL)


@dataclass(frozen=True, slots=True)
class NaptType:
    """A kind of NAPT: how a topology file says it, and what the model knows of it."""

    name: str
    keys: Mapping[str, object] = field(hash=False)
    nat: Nat


def _systematic() -> Iterator[NaptType]:
    """Every combination."""
    for mapping, filtering, ports in itertools.product(Behavior, Behavior, _PORTS):
        kind = KINDS[mapping, filtering]
        if "/" in kind:
            kind = f"{_SHORT[mapping]}M/{_SHORT[filtering]}F"
        name = kind if ports is PortAssignment.RANDOM else f"{kind}-{ports}"
        if (mapping, filtering, ports) == _asked(PRESETS[Preset.HOME]):
            name = Preset.HOME.value
        keys = {"mapping": mapping, "filtering": filtering, "port-assignment": ports}
        yield NaptType(name, keys, Nat(mapping, filtering, ports))


def _asked(settings: NaptSettings) -> tuple[Behavior, Behavior, PortAssignment]:
    return settings.mapping, settings.filtering, settings.port_assignment


def _preset(preset: Preset) -> NaptType:
    firewall = FIREWALLS.get(preset)
    blocks_udp = firewall is not None and Traffic("udp") in firewall.blocks
    nat = Nat(*_asked(PRESETS[preset]), blocks_udp)
    return NaptType(preset.value, {"preset": preset.value}, nat)


def _kernel() -> NaptType:
    nat = Nat(*_asked(USUAL[Engine.NFTABLES]))
    return NaptType(KERNEL, {"engine": Engine.NFTABLES.value}, nat)


USUAL_TYPES = (*_systematic(), _kernel())
"""Every combination of the three settings, and the kernel's own NAT."""
_ALL = {type_.name: type_ for type_ in (*map(_preset, Preset), *USUAL_TYPES)}


def chosen(types: str | None, methods: str | None) -> tuple[list[NaptType], list[Method]]:
    """The types and methods of these names, with commas between them; None: the usual ones.

    Raises ValueError.
    """
    return (
        _named(types, _ALL, "type") if types else list(USUAL_TYPES),
        _named(methods, {method.value: method for method in OURS}, "method")
        if methods
        else list(OURS),
    )


def _named(names: str, choices: Mapping[str, T], what: str) -> list[T]:
    wanted = list(dict.fromkeys(name.strip() for name in names.split(",")))
    for name in wanted:
        if name not in choices:
            raise ValueError(not_one_of(f"there is no {what} {quoted(name)}", name, choices))
    return [choices[name] for name in wanted]
