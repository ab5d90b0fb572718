"""`gateway:` in a topology file: what stands between a site and its ISP, and how it behaves."""

from __future__ import annotations

import stat
from collections.abc import Callable
from dataclasses import replace
from ipaddress import IPv4Address
from pathlib import Path

from napt_lab.topologies.spec.errors import quoted
from napt_lab.topologies.spec.kernel_nat import cannot
from napt_lab.topologies.spec.model import (
    Behavior,
    Datapath,
    Engine,
    Gateway,
    GatewayKind,
    IdleTimes,
    NaptSettings,
    PortAssignment,
    PortControl,
    Preset,
    StaticRule,
)
from napt_lab.topologies.spec.presets import PRESETS, USUAL
from napt_lab.topologies.spec.scalars import (
    count,
    duration,
    flag,
    one_of,
    ports,
    private_interface,
    public_interface,
    static_rule,
)
from napt_lab.topologies.spec.yaml_nodes import Entry, Section

DEFAULT_NAME = {
    GatewayKind.NAPT: "napt",
    GatewayKind.PROXY: "proxy",
    GatewayKind.TRANSPARENT_PROXY: "tproxy",
}

_KEYS = ("name", "kind", "public", "private")
_NAPT_KEYS = (
    "engine",
    "datapath",
    "preset",
    "mapping",
    "filtering",
    "hairpinning",
    "port-assignment",
    "port-parity",
    "ports",
    "port-hold",
    "idle",
    "closing-hold",
    "refuse-syn",
    "host-limit",
    "session-limit",
    "rules",
    "port-control",
    "translator",
)

_idle_time = duration("0.1s", "24h")
_hold_time = duration("0s", "24h")
_sessions = count(1_000_000)
_seconds = duration("1s", "24h")
_quota = count(1000)


def _lifetime(text: str) -> int:
    """Whole seconds, as PCP and NAT-PMP count."""
    seconds = _seconds(text)
    if not seconds.is_integer():
        raise ValueError(f"{quoted(text)} has a fraction; allowed: whole seconds, 1s to 24h")
    return int(seconds)


class GatewayDraft:
    """A gateway while its site is read: the hosts need its network, its rules need the hosts."""

    def __init__(self, entry: Entry, site_name: str, folder: Path) -> None:
        """`folder`: where the topology file is."""
        self._folder = folder
        self.section = entry.section(*_KEYS, *_NAPT_KEYS, required=("kind", "public", "private"))
        self.kind = self.section.value("kind", one_of(GatewayKind))
        self.public = self.section.value("public", public_interface)
        self.private = self.section.value("private", private_interface)
        usual_name = f"{DEFAULT_NAME[self.kind or GatewayKind.NAPT]}_{site_name}"
        self.name = self.section.value_or("name", str, usual_name)

    def finish(self, hosts: set[IPv4Address]) -> Gateway | None:
        """The gateway of a site with these hosts; None where its file must be mended first."""
        settings, engine, datapath, translator = None, Engine.PYTHON, None, None
        if self.kind in (GatewayKind.NAPT, None):
            engine = self.section.value_or("engine", one_of(Engine), Engine.PYTHON)
            settings = _settings(self.section, engine, hosts)
            translator = self.section.value("translator", _program_beside(self._folder))
            if translator and engine is not Engine.PYTHON:
                self.section["translator"].refuse(
                    f"with engine: {engine.value} the kernel translates; "
                    "allowed: engine: python, or no translator"
                )
            if translator and settings.port_control:
                self.section["port-control"].refuse(
                    "a translator of your own has no PCP server; allowed: off, or no translator"
                )
            datapath = self.section.value("datapath", one_of(Datapath))
            if datapath is Datapath.KERNEL and (translator or engine is not Engine.PYTHON):
                self.section["datapath"].refuse(
                    "only the translator of this project hands its flows to the kernel; "
                    "allowed: engine: python without translator, or no datapath"
                )
        else:
            for key in self.section.keys() & set(_NAPT_KEYS):
                self.section[key].refuse(f"only kind napt has this; allowed: {', '.join(_KEYS)}")
        if self.kind is None or self.public is None or self.private is None:
            return None
        return Gateway(
            self.name, self.kind, self.public, self.private, engine, settings, datapath, translator
        )


def _program_beside(folder: Path) -> Callable[[str], Path]:
    """Read the path of a program in `folder` or below, where the topology file is.

    A topology file may come from a stranger, and must not run or quote any other file.
    """

    def parse(text: str) -> Path:
        allowed = "allowed: a Python file (.py) beside this YAML file, by its path from there on"
        named = Path(text)
        try:
            path = (folder / named).resolve()
            within = path.is_relative_to(folder.resolve()) and ".." not in named.parts
            mode = path.stat().st_mode if within and not named.is_absolute() else None
        except (OSError, ValueError, RuntimeError):  # a character or a loop that no path can have
            raise ValueError(f"there is no file {quoted(text)}; {allowed}") from None
        if mode is None:
            raise ValueError(f"{quoted(text)} leads out of this YAML file's folder; {allowed}")
        if not stat.S_ISREG(mode) or path.suffix != ".py":
            what = "a directory" if stat.S_ISDIR(mode) else "not a Python file"
            raise ValueError(f"{quoted(text)} is {what}; {allowed}")
        return path

    return parse


def _settings(section: Section, engine: Engine, hosts: set[IPv4Address]) -> NaptSettings:
    usual = USUAL[engine]
    preset = section.value("preset", one_of(Preset))
    if preset is not None:
        usual = PRESETS[preset]
        if engine is Engine.NFTABLES:
            usual = replace(usual, refuse_syn=False)
    settings = NaptSettings(
        mapping=section.value_or("mapping", one_of(Behavior), usual.mapping),
        filtering=section.value_or("filtering", one_of(Behavior), usual.filtering),
        hairpinning=section.value_or("hairpinning", flag, usual.hairpinning),
        port_assignment=section.value_or(
            "port-assignment", one_of(PortAssignment), usual.port_assignment
        ),
        port_parity=section.value_or("port-parity", flag, usual.port_parity),
        ports=section.value_or("ports", ports, usual.ports),
        port_hold=section.value_or("port-hold", _hold_time, usual.port_hold),
        idle=_idle(section["idle"], usual.idle) if "idle" in section else usual.idle,
        closing_hold=section.value_or("closing-hold", _hold_time, usual.closing_hold),
        refuse_syn=section.value_or("refuse-syn", flag, usual.refuse_syn),
        host_limit=section.value_or("host-limit", _sessions, usual.host_limit),
        session_limit=section.value_or("session-limit", _sessions, usual.session_limit),
        rules=_rules(section["rules"], hosts) if "rules" in section else (),
        port_control=_port_control(section["port-control"]) if "port-control" in section else None,
    )
    if engine is Engine.NFTABLES:
        for key, why in cannot(settings):
            # What the file does not say itself, its preset has said.
            section.at(key if key in section or preset is None else "preset").refuse(why)
    return settings


def _port_control(entry: Entry) -> PortControl | None:
    """`on`, or with settings of its own."""
    usual = PortControl()
    if not entry.is_mapping():
        return usual if entry.read(flag) else None
    section = entry.section("min-lifetime", "max-lifetime", "quota")
    least = section.value_or("min-lifetime", _lifetime, usual.min_lifetime)
    most = section.value_or("max-lifetime", _lifetime, usual.max_lifetime)
    if least > most:
        section.at("min-lifetime").refuse(
            f"{least} s is longer than max-lifetime, {most} s; allowed: at most as long"
        )
    return PortControl(least, most, section.value_or("quota", _quota, usual.quota))


def _idle(entry: Entry, usual: IdleTimes) -> IdleTimes:
    section = entry.section("tcp", "tcp-transitory", "udp", "icmp")
    return IdleTimes(
        tcp=section.value_or("tcp", _idle_time, usual.tcp),
        tcp_transitory=section.value_or("tcp-transitory", _idle_time, usual.tcp_transitory),
        udp=section.value_or("udp", _idle_time, usual.udp),
        icmp=section.value_or("icmp", _idle_time, usual.icmp),
    )


def _rules(entry: Entry, hosts: set[IPv4Address]) -> tuple[StaticRule, ...]:
    rules: dict[tuple[str, int], tuple[StaticRule, Entry]] = {}
    inside: dict[tuple[str, IPv4Address, int], Entry] = {}
    for item in entry.items():
        rule = item.read(static_rule)
        if rule is None:
            continue
        external = (rule.protocol, rule.external_port)
        if external in rules:
            first = rules[external][1]
            item.refuse(
                f"{rule.protocol} port {rule.external_port} is already forwarded by {first.path} "
                f"(line {first.line}); allowed: one rule for a protocol and external port"
            )
            continue
        if rule.internal_address not in hosts:
            item.refuse(
                f"{quoted(str(rule.internal_address))} is not the address of a host of this site; "
                f"allowed: {_some(hosts)}"
            )
        internal = (rule.protocol, rule.internal_address, rule.internal_port)
        if internal in inside:
            first = inside[internal]
            item.refuse(
                f"{rule.internal_address}:{rule.internal_port} already has a port, by {first.path} "
                f"(line {first.line}); allowed: one rule for an internal endpoint"
            )
        inside.setdefault(internal, item)
        rules[external] = (rule, item)
    return tuple(rule for rule, _ in rules.values())


def _some(hosts: set[IPv4Address]) -> str:
    """A few of the addresses; a site may have a hundred."""
    shown = [str(address) for address in sorted(hosts)[:5]]
    return ", ".join(shown) + (", …" if len(hosts) > len(shown) else "") or "no host is declared"
