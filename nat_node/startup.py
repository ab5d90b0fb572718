"""From command-line words to a running node: every word checked, every error one clear line."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from napt_lab.nat_node.control.control_protocol import PROTOCOLS, Rule
from napt_lab.nat_node.core.behavior import parse_address, parse_endpoint, show_address
from napt_lab.nat_node.core.explicit_rules import RuleRefused
from napt_lab.nat_node.core.settings import PORT_CONTROL, SETTINGS, LeaseLimits, Setting, Settings
from napt_lab.nat_node.engines.python_engine import Devices, Node
from napt_lab.nat_node.fast_path.flow_cache import Carrier
from napt_lab.nat_node.persistence.keeper import keep
from napt_lab.nat_node.system.announce import announce, complain
from napt_lab.nat_node.system.routing import Interfaces

_RULE = re.compile(r"(tcp|udp)\s+(?:([0-9.]+):)?(\d{1,5})\s*->\s*(\S+)")


def run(arguments: argparse.Namespace) -> int:
    """Run a node until SIGTERM. Returns 1 if it cannot run (on), 2 for a word that is wrong."""
    try:
        settings, interfaces = _settings(arguments)
        rules = [_rule(text) for text in arguments.rule]
        limits = _limits(arguments)
        if arguments.control is None or not arguments.control.name:
            raise ValueError("--control: where is the control socket to be?")
    except ValueError as error:
        print(f"nat_node: {error}", file=sys.stderr)
        return 2
    control: Path = arguments.control
    state: Path = arguments.state or control.with_name(f"{control.name}.state")
    try:
        if arguments.translator is not None:
            return _run_student(settings, interfaces, control, rules, arguments.translator)
        if arguments.engine == "nftables":
            from napt_lab.nat_node.engines.nftables.nftables_engine import KernelNat

            KernelNat(settings, interfaces.inside, control, rules).run()
        devices = Devices.make(interfaces, control, state, port_control=limits is not None)
    except (OSError, ValueError) as error:
        complain(str(error))
        return 1

    def work(keeper: int) -> int:
        try:
            carrier = _carrier(interfaces) if arguments.datapath == "kernel" else None
            Node(settings, devices, rules, keeper, limits, carrier).run()
        except (OSError, RuleRefused) as error:
            announce("failed", why=str(error))
            complain(str(error))
        return 1

    try:
        status = keep(work)
    finally:
        control.unlink(missing_ok=True)
    if not status:
        state.unlink(missing_ok=True)
    return status


def _carrier(interfaces: Interfaces) -> Carrier:
    """The kernel's part. The process that makes it owns it, so the translator's process does."""
    from napt_lab.nat_node.offload.kernel_datapath import KernelDatapath

    return KernelDatapath(interfaces)


def _run_student(
    settings: Settings,
    interfaces: Interfaces,
    control: Path,
    rules: list[Rule],
    file: Path,
) -> int:
    from napt_lab.nat_node.engines.student.faults import LoadError
    from napt_lab.nat_node.engines.student.student_engine import StudentNode
    from napt_lab.nat_node.engines.student.wall import WallError

    try:
        StudentNode(settings, interfaces, control, rules, file).run()
    except (LoadError, WallError) as error:
        print(f"nat_node: {error}", file=sys.stderr)
        return 2 if isinstance(error, LoadError) else 3


def _settings(arguments: argparse.Namespace) -> tuple[Settings, Interfaces]:
    internal, slash, length = arguments.internal.partition("/")
    if not slash or not length.isdigit() or not 8 <= int(length) <= 30:
        raise ValueError(f"--internal {arguments.internal}: an address such as 10.0.0.1/24")
    address = parse_address(internal)
    external = [parse_address(text) for text in dict.fromkeys(arguments.external)]
    mask = 0xFFFFFFFF << (32 - int(length)) & 0xFFFFFFFF
    given: dict[str, Any] = {
        "external": external[0],
        "others": tuple(external[1:]),
        "internal": address,
        "internal_mask": mask,
        "hosts": frozenset(parse_address(host) for host in arguments.host),
    }
    settings = Settings(**given, **_chosen(SETTINGS, arguments))
    for own in settings.addresses:
        if settings.is_inside(own):
            raise ValueError(f"--external {show_address(own)}: lies in the private network")
    if wrong := settings.contradiction():
        raise ValueError(f"--{wrong[0]}: {wrong[1]}")
    interfaces = Interfaces(
        arguments.inside,
        arguments.outside,
        tuple(map(show_address, settings.addresses)),
        internal,
        arguments.internal,
    )
    return settings, interfaces


def _limits(arguments: argparse.Namespace) -> LeaseLimits | None:
    if not arguments.port_control:
        return None
    limits = LeaseLimits(**_chosen(PORT_CONTROL, arguments))
    if limits.min_lifetime > limits.max_lifetime:
        raise ValueError(
            f"--min-lifetime {limits.min_lifetime} is longer than --max-lifetime "
            f"{limits.max_lifetime}"
        )
    return limits


def _chosen(settings: Iterable[Setting], arguments: argparse.Namespace) -> dict[str, Any]:
    """The settings that were given, by name. Raises ValueError."""
    given = ((each, getattr(arguments, each.name)) for each in settings)
    return {
        each.name: each.parse(value) if isinstance(value, str) else value
        for each, value in given
        if value is not None
    }


def _rule(text: str) -> Rule:
    match = _RULE.fullmatch(text)
    if match is None:
        raise ValueError(f"--rule {text!r}: such as 'tcp 8080 -> 10.0.0.7:8080'")
    protocol, address, port, internal = match.groups()
    external = parse_address(address) if address else 0
    return PROTOCOLS[protocol], (external, int(port)), parse_endpoint(internal)
