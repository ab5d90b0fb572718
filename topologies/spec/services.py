"""The services that a host may run (`runs:` in YAML), with their options.

A service is a program of `servers/`, started on its host as `python -m MODULE FLAGS`. The loader
checks YAML against this table; programs.py starts the programs from it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum

from napt_lab.topologies.spec import scalars

Parser = Callable[[str], str | int | bool]
Option = str | int | bool | tuple[str, ...]


class Channels(StrEnum):
    """The channel numbers that TURN clients may bind: 0x4000-0x4FFF, or 0x4000-0x7FFF."""

    RFC8656 = "rfc8656"
    RFC5766 = "rfc5766"


@dataclass(frozen=True, slots=True)
class Service:
    """A service that a host runs; `options` holds only options of SERVICES[name]."""

    name: str
    port: int
    options: dict[str, Option] = field(default_factory=dict)

    @property
    def users(self) -> tuple[str, ...]:
        """The accounts of a TURN server, `name:password` each; the first is used by checks."""
        users = self.options.get("user", ())
        return users if isinstance(users, tuple) else (str(users),)

    @property
    def label(self) -> str:
        """Its name where several of a host are told apart."""
        return f"{self.name}:{self.port}"


@dataclass(frozen=True, slots=True)
class ServiceSpec:
    """One service: its module, default port, options (name -> parser), and required options.

    `several`: the options that may be lists.
    """

    module: str
    port: int
    options: dict[str, Parser] = field(default_factory=dict)
    required: tuple[str, ...] = ()
    several: tuple[str, ...] = ()


_MANY = scalars.count(10_000)

SERVICES: dict[str, ServiceSpec] = {
    "web": ServiceSpec("napt_lab.servers.web", 80),
    "file-server": ServiceSpec("napt_lab.servers.files", 8080, {"read-only": scalars.flag}),
    "relay": ServiceSpec(
        "napt_lab.servers.relay.relay",
        9000,
        {"waiting-per-address": _MANY, "pairs-per-address": _MANY},
    ),
    "stun": ServiceSpec("napt_lab.servers.stun", 3478, {"always": scalars.endpoint}),
    "turn": ServiceSpec(
        "napt_lab.servers.turn",
        3478,
        {
            "user": scalars.account,
            "channels": scalars.one_of(Channels),
            "user-allocations": _MANY,
            "client-allocations": _MANY,
        },
        required=("user",),
        several=("user",),
    ),
    "dns": ServiceSpec("napt_lab.servers.name_server", 53),
}
