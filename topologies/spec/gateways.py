"""Reads `gateway:` in a topology file: a NAPT, proxy or router between a site and the outside."""

from __future__ import annotations

import stat
from collections.abc import Callable, Iterable
from dataclasses import replace
from enum import Enum
from ipaddress import IPv4Address, IPv4Interface
from itertools import groupby
from pathlib import Path
from typing import Any

from napt_lab.topologies.spec.address_plan import PublicPlan, SitePlan, read_addresses
from napt_lab.topologies.spec.address_pool import AddressPool
from napt_lab.topologies.spec.errors import quoted
from napt_lab.topologies.spec.firewall import Firewall, Inbound, read_firewall
from napt_lab.topologies.spec.kernel_nat import cannot
from napt_lab.topologies.spec.link import read_link
from napt_lab.topologies.spec.model import Datapath, Engine, Gateway, GatewayKind
from napt_lab.topologies.spec.napt_settings import (
    PORT_CONTROL,
    SETTINGS,
    LeaseLimits,
    NaptSettings,
    Setting,
    StaticRule,
)
from napt_lab.topologies.spec.presets import FIREWALLS, PRESETS, USUAL, Preset
from napt_lab.topologies.spec.scalars import (
    count,
    duration,
    flag,
    one_of,
    ports,
    private_interface,
    routed_interface,
    static_rule,
    whole,
)
from napt_lab.topologies.spec.yaml_nodes import Entry, Section

DEFAULT_NAME = {
    GatewayKind.NAPT: "napt",
    GatewayKind.PROXY: "proxy",
    GatewayKind.TRANSPARENT_PROXY: "tproxy",
    GatewayKind.ROUTER: "router",
}

MOST_ADDRESSES = 16  # of one NAPT
_KEYS = ("name", "kind", "behind", "public", "private", "link", "firewall")
_NAPT_KEYS = (
    "engine",
    "datapath",
    "preset",
    *dict.fromkeys(setting.key.partition(".")[0] for setting in SETTINGS),
    "rules",
    "port-control",
    "translator",
)


class GatewayDraft:
    """A gateway, read in two steps: hosts need its network, and its rules need the hosts."""

    def __init__(self, entry: Entry, site_name: str, folder: Path) -> None:
        """`folder`: the folder of the topology file."""
        self._folder = folder
        self.section = entry.section(*_KEYS, *_NAPT_KEYS, required=("kind", "public", "private"))
        self.kind = self.section.value("kind", one_of(GatewayKind))
        self.behind = self.section.value("behind", str)
        self.addresses: list[IPv4Interface] = []
        of_a_router = self.kind is GatewayKind.ROUTER
        inside = routed_interface if of_a_router else private_interface
        self.private = self.section.value("private", inside)
        usual_name = f"{DEFAULT_NAME[self.kind or GatewayKind.NAPT]}_{site_name}"
        self.name = self.section.value_or("name", str, usual_name)

    def read_public(self, plan: PublicPlan | SitePlan) -> None:
        """Read the outside address, and claim it in `plan`: the Internet's, or the carrier's."""
        if "public" not in self.section:
            return
        self.addresses = read_addresses(self.section["public"], plan, MOST_ADDRESSES)
        for public in self.addresses[:1]:
            if self.private and public.network.overlaps(self.private.network):
                self.section["private"].refuse(
                    f"{self.private.network} overlaps the network outside, {public.network}; "
                    "allowed: a network that does not overlap it"
                )

    def finish(self, hosts: set[IPv4Address], *, known: bool) -> Gateway | None:
        """The gateway of a site with these hosts; None if a required key is missing or wrong.

        `hosts`: also the gateways of the sites behind this one. `known`: whether these are all,
        for an address with an error, which is reported, is not among them.
        """
        settings, engine, datapath, translator = None, Engine.PYTHON, None, None
        has_pool = len(self.addresses) > 1
        if self.kind in (GatewayKind.NAPT, None):
            engine = self.section.value_or("engine", one_of(Engine), Engine.PYTHON)
            settings = self._settings(engine, hosts, known=known)
            translator = self.section.value("translator", _program_beside(self._folder))
            if translator and engine is not Engine.PYTHON:
                self.section["translator"].refuse(
                    f"engine: {engine.value} has no place for a translator; "
                    "allowed: engine: python, or no translator"
                )
            if translator and settings.port_control:
                self.section["port-control"].refuse(
                    "a translator of your own has no port-control; allowed: off, or no translator"
                )
            if translator and has_pool:
                self.section["public"].refuse(
                    "a translator of your own has one address outside; allowed: one address"
                )
            datapath = self.section.value("datapath", one_of(Datapath))
            if datapath is Datapath.KERNEL and (translator or engine is not Engine.PYTHON):
                self.section["datapath"].refuse(
                    "only this project's translator can use the kernel as datapath; "
                    "allowed: engine: python without translator, or no datapath"
                )
        else:
            if has_pool:
                self.section["public"].refuse(
                    f"kind: {self.kind} has one address outside; allowed: one address"
                )
            for key in self.section.keys() & set(_NAPT_KEYS):
                self.section[key].refuse(
                    f"only kind: napt has this key; allowed: {', '.join(_KEYS)}"
                )
        if self.kind is None or not self.addresses or self.private is None:
            return None
        return Gateway(
            self.name,
            self.kind,
            self.addresses[0],
            self.private,
            engine,
            settings,
            datapath,
            translator,
            self.behind,
            read_link(self.section["link"]) if "link" in self.section else None,
            self._firewall(datapath),
            tuple(self.addresses[1:]),
        )

    def _settings(self, engine: Engine, hosts: set[IPv4Address], *, known: bool) -> NaptSettings:
        section = self.section
        settings = _settings(section, engine)
        pool = None
        if wrong := settings.contradiction():
            # A value that is not in the file comes from its preset.
            (_given(section, wrong[0]) or section.at("preset")).refuse(wrong[1])
        elif self.addresses and self.private:
            pool = AddressPool(self.addresses, self.private, settings)
        if "rules" in section:
            settings = replace(
                settings, rules=_rules(section["rules"], hosts if known else None, pool)
            )
        for key, why in pool.wrong(sorted(hosts), settings.rules) if pool else ():
            section.at(key).refuse(why)
        return settings

    def _firewall(self, datapath: Datapath | None) -> Firewall | None:
        entry = self.section.get("firewall")
        if entry is None:
            preset = self.section.get("preset")
            named = str(preset.node.value) if preset else ""
            return FIREWALLS.get(Preset(named)) if named in list(Preset) else None
        if self.kind in (GatewayKind.PROXY, GatewayKind.TRANSPARENT_PROXY):
            entry.refuse("a proxy forwards no packets; allowed with kind: napt, router")
        firewall = read_firewall(entry)
        if firewall.inbound is Inbound.DENY and datapath is Datapath.KERNEL:
            entry.refuse(
                "datapath: kernel carries flows past the firewall's memory; "
                "allowed: inbound: allow, or datapath: python"
            )
        return firewall


def _program_beside(folder: Path) -> Callable[[str], Path]:
    """A parser for the path of a Python file in `folder`, the topology file's, or below it.

    A topology file may come from a stranger: it must not run or show any other file.
    """

    def parse(text: str) -> Path:
        allowed = "allowed: a .py file in the folder of this YAML file, or below it"
        named = Path(text)
        try:
            path = (folder / named).resolve()
            within = path.is_relative_to(folder.resolve()) and ".." not in named.parts
            mode = path.stat().st_mode if within and not named.is_absolute() else None
        except (OSError, ValueError, RuntimeError):  # an impossible character, a loop of links
            raise ValueError(f"there is no file {quoted(text)}; {allowed}") from None
        if mode is None:
            raise ValueError(
                f"{quoted(text)} is outside of the folder of this YAML file; {allowed}"
            )
        if not stat.S_ISREG(mode) or path.suffix != ".py":
            what = "a directory" if stat.S_ISDIR(mode) else "not a Python file"
            raise ValueError(f"{quoted(text)} is {what}; {allowed}")
        return path

    return parse


def _settings(section: Section, engine: Engine) -> NaptSettings:
    usual = USUAL[engine]
    preset = section.value("preset", one_of(Preset))
    if preset is not None:
        usual = PRESETS[preset]
        if engine is Engine.NFTABLES:
            usual = replace(usual, refuse_syn=False)
    settings = NaptSettings(
        **_values(section, SETTINGS, usual),
        port_control=_port_control(section["port-control"]) if "port-control" in section else None,
    )
    if engine is Engine.NFTABLES:
        for key, why in cannot(settings):
            # A value that is not in the file comes from its preset.
            (_given(section, key) or section.at("preset" if preset else key)).refuse(why)
    return settings


def _given(section: Section, key: str) -> Entry | None:
    """The entry of a key such as `idle.tcp`, if the file has it."""
    group, _, member = key.partition(".")
    entry = section.get(group)
    return entry.named().get(member) if entry and member else entry


def _values(section: Section, settings: Iterable[Setting], usual: object) -> dict[str, Any]:
    """The values of settings by name: from the file, or from `usual`."""
    values = {}
    for group, members in groupby(settings, key=lambda setting: setting.key.partition(".")[0]):
        named = {setting.key.removeprefix(f"{group}."): setting for setting in members}
        place = section
        if group not in named:  # the keys of a group, such as `idle: {tcp: 2h}`
            place = section[group].section(*named) if group in section else Section(section.entry)
        for key, setting in named.items():
            usual_value = getattr(usual, setting.name)
            values[setting.name] = place.value_or(key, parser(setting), usual_value)
    return values


def parser(setting: Setting) -> Callable[[str], Any]:
    """How the value of a setting is read from a topology file."""
    if issubclass(setting.kind, Enum):
        return one_of(setting.kind)
    if setting.kind is bool:
        return flag
    if setting.kind is range:
        return ports
    if setting.unit == "s":
        seconds = duration(setting.least, setting.most)
        return seconds if setting.kind is float else whole(seconds)
    return count(int(setting.most), int(setting.least))


def _port_control(entry: Entry) -> LeaseLimits | None:
    """`on`, or a group of settings."""
    usual = LeaseLimits()
    if not entry.is_mapping():
        return usual if entry.read(flag) else None
    group = Section(entry)
    group["port-control"] = entry
    limits = LeaseLimits(**_values(group, PORT_CONTROL, usual))
    if limits.min_lifetime > limits.max_lifetime:
        place = entry.section("min-lifetime", "max-lifetime", "quota").at("min-lifetime")
        place.refuse(
            f"{limits.min_lifetime} s is longer than max-lifetime, {limits.max_lifetime} s; "
            "allowed: at most max-lifetime"
        )
    return limits


def _rules(
    entry: Entry, hosts: set[IPv4Address] | None, pool: AddressPool | None
) -> tuple[StaticRule, ...]:
    """The explicit rules; `hosts` that they may lead to, None if these are not known."""
    rules: dict[tuple[str, IPv4Address | None, int], tuple[StaticRule, Entry]] = {}
    inside: dict[tuple[str, IPv4Address, int], Entry] = {}
    for item in entry.items():
        rule = item.read(static_rule)
        if rule is None:
            continue
        if pool and not pool.has(rule.external_address):
            item.refuse(
                f"this NAPT has no address {rule.external_address}; allowed: one of `public`, or "
                "a port alone"
            )
            continue
        address = pool.of_rule(rule) if pool else rule.external_address
        external = (rule.protocol, address, rule.external_port)
        if external in rules:
            first = rules[external][1]
            item.refuse(
                f"{rule.protocol} port {rule.external_port} is already used by {first.path} "
                f"(line {first.line}); allowed: another port"
            )
            continue
        if hosts is not None and rule.internal_address not in hosts:
            item.refuse(
                f"no host of this site has the address {quoted(str(rule.internal_address))}; "
                f"allowed: {_some(hosts)}"
            )
        internal = (rule.protocol, rule.internal_address, rule.internal_port)
        if internal in inside:
            first = inside[internal]
            item.refuse(
                f"{rule.protocol} {rule.internal_address}:{rule.internal_port} is already used by "
                f"{first.path} (line {first.line}); allowed: one rule for an internal endpoint"
            )
        inside.setdefault(internal, item)
        rules[external] = (rule, item)
    return tuple(rule for rule, _ in rules.values())


def _some(hosts: set[IPv4Address]) -> str:
    """A list of at most five addresses: a site may have a hundred."""
    shown = [str(address) for address in sorted(hosts)[:5]]
    return (
        ", ".join(shown) + (", …" if len(hosts) > len(shown) else "")
        or "none (this site has no host)"
    )
