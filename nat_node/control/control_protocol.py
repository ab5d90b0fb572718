"""What a control client may ask of a NAPT, whichever engine translates.

One JSON object is a request, and one is the answer (server.py has the socket):

    {"do": "rules", "limit": 500}                  -> {"ok": true, "total": n, "rules": [...]}
    {"do": "ports"}                                -> {"ok": true, "ports": {"tcp": base64, …}}
    {"do": "add", "protocol": "tcp", "external": "24.9.3.7:8080", "internal": "10.0.0.7:8080"}
    {"do": "remove", "protocol": "tcp", "external": "24.9.3.7:8080"}
    {"do": "flush"}                                -> {"ok": true, "ended": n}
    {"do": "stats"}                                -> {"ok": true, "rules": n, "drops": {...}, ...}
    {"do": "set", "settings": {"filtering": "endpoint-independent", "idle.udp": "30"}}

`external` may also be a port alone ("8080"): at the external address that the inside host has.
A request that cannot be met is answered with {"ok": false, "error": "why"}.
"""

from __future__ import annotations

from typing import Any, Protocol

from napt_lab.nat_node.core.behavior import Endpoint, parse_endpoint
from napt_lab.nat_node.core.packet import TCP, UDP

RULES_LISTED = 500  # without a limit in the request
RULES_AT_MOST = 10 * RULES_LISTED
PROTOCOLS = {"tcp": TCP, "udp": UDP}

Rule = tuple[int, Endpoint, Endpoint]
"""Protocol, external endpoint (address 0: the NAPT's own), internal endpoint."""
Described = dict[str, Any]
"""A rule as report.py describes it."""


class Engine(Protocol):
    """What translates. Its methods raise ValueError or OSError for what cannot be done."""

    def list_rules(self, limit: int) -> tuple[int, list[Described]]:
        """How many rules there are, and at most `limit` of them."""

    def list_ports(self) -> dict[str, str]:
        """The external ports of all rules, as report.port_map gives them."""

    def add_rule(self, protocol: int, external: Endpoint, internal: Endpoint) -> Described:
        """Add an explicit rule for an external endpoint; address 0 is the NAPT's own."""

    def remove_rule(self, protocol: int, external: Endpoint) -> Described:
        """Remove an explicit rule."""

    def flush(self) -> int:
        """End all sessions, and all rules but the explicit ones; how many sessions."""

    def change(self, changes: dict[str, str]) -> None:
        """Go on with other settings: keys of a topology file, and texts for Setting.parse."""

    def stats(self) -> dict[str, Any]:
        """Counts of rules, sessions, and drops by reason."""


def answer(request: dict[str, Any], engine: Engine) -> dict[str, Any]:
    """Do what a request asks."""
    try:
        match request.get("do"):
            case "rules":
                total, listed = engine.list_rules(_limit(request))
                return {"ok": True, "total": total, "rules": listed}
            case "ports":
                return {"ok": True, "ports": engine.list_ports()}
            case "add":
                protocol, external = _external(request)
                internal = parse_endpoint(_text(request, "internal"))
                return {"ok": True, "rule": engine.add_rule(protocol, external, internal)}
            case "remove":
                return {"ok": True, "rule": engine.remove_rule(*_external(request))}
            case "flush":
                return {"ok": True, "ended": engine.flush()}
            case "set":
                engine.change(_changes(request))
                return {"ok": True}
            case "stats":
                return {"ok": True, **engine.stats()}
            case other:
                raise ValueError(
                    f"cannot do {other!r}: rules, ports, add, remove, flush, set, stats or events"
                )
    except (ValueError, OSError) as error:
        return {"ok": False, "error": str(error)}


def _limit(request: dict[str, Any]) -> int:
    limit = request.get("limit", RULES_LISTED)
    if not isinstance(limit, int) or not 0 <= limit <= RULES_AT_MOST:
        raise ValueError(f"limit must be a number from 0 to {RULES_AT_MOST}")
    return limit


def _external(request: dict[str, Any]) -> tuple[int, Endpoint]:
    """Protocol and external endpoint of a request about an explicit rule."""
    name = _text(request, "protocol")
    if name not in PROTOCOLS:
        raise ValueError(f"protocol {name!r}: tcp or udp")
    external = _text(request, "external")
    if external.isdecimal():
        external = f"0.0.0.0:{external}"
    return PROTOCOLS[name], parse_endpoint(external)


def _changes(request: dict[str, Any]) -> dict[str, str]:
    changes = request.get("settings")
    if not isinstance(changes, dict) or not all(isinstance(v, str) for v in changes.values()):
        raise ValueError("settings must be keys with texts")
    return changes


def _text(request: dict[str, Any], key: str) -> str:
    value = request.get(key)
    if not isinstance(value, str):
        raise ValueError(f"{key} is missing")
    return value
