"""What happens to a running network: reboots, new addresses, cables pulled, links that get slow.

The verbs and their words are in topologies/spec/happening.py. Each is an event of the program
`event`, at its time; afterwards `net.topology` is the topology as it is now.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import replace
from ipaddress import IPv4Interface

from napt_lab.topologies.network import namespaces
from napt_lab.topologies.network.batch import Batch
from napt_lab.topologies.network.napt_control import ControlError
from napt_lab.topologies.network.node import Node
from napt_lab.topologies.network.own_programs import program
from napt_lab.topologies.network.plan import GROUP, Port, by_segment, mtu_routes, node_plans
from napt_lab.topologies.network.processes import EventLog, Process
from napt_lab.topologies.network.programs import (
    CONTROL,
    READY_SECONDS,
    gateway_programs,
    host_programs,
)
from napt_lab.topologies.network.slow_links import SlowLink, SlowLinks
from napt_lab.topologies.spec.happening import Happening, after, happening
from napt_lab.topologies.spec.model import Engine, Host, Site, Topology
from napt_lab.topologies.spec.napt_settings import SETTINGS

NAME = "event"  # the program in the event log


class Happenings:
    """The part of a Network that changes it while it runs."""

    topology: Topology
    log: EventLog
    nodes: dict[str, Node]
    links: SlowLinks | None
    _programs: list[Process]
    _cables: dict[str, tuple[str, str]]  # node: its own end's peer, and the port of the bridge

    def happen(self, what: str | Happening) -> str:
        """Let something happen, such as `reboot napt_a`; returns when it has happened.

        Returns what else there is to say; mostly nothing. ValueError if it cannot be read;
        BuildError, ProgramEnded or DeadlinePassed if it fails.
        """
        what = happening(what, self.topology) if isinstance(what, str) else what
        began, note = time.time(), ""
        before, self.topology = self.topology, after(self.topology, what)
        match what.verb:
            case "reboot" | "restart":
                self._restart(what.node, keep=what.verb == "restart")
            case "set":
                note = self._set(what.node, before)
            case "renumber":
                self._move(what.node)
                self._restart(what.node, keep=False)
            case "unplug":
                self._cable(what.node, "down")
            case "plug":
                if what.site is not None:
                    self._move(what.node)
                self._cable(what.node, "up")
            case "link":
                self._change_link(what)
            case "kill":
                self._kill([self._service(what)])
            case "start":
                host = self._host(what.node)
                alone = replace(
                    host,
                    runs=tuple(each for each in host.runs if each.label == what.program),
                    programs=tuple(each for each in host.programs if each.label == what.program),
                )
                self._begin(host_programs(alone, self.nodes[what.node], self.topology))
            case "wait":
                time.sleep(what.seconds)
        fields = {"event": "happened", "time": began, "what": what.text}
        if note:
            fields["note"] = note
        self.log.add(what.node or "internet", NAME, fields)
        return note

    # The same verbs, as methods.

    def reboot(self, node: str) -> None:
        """Restart a node's programs; all that they remember is lost."""
        self.happen(f"reboot {node}")

    def restart(self, node: str) -> None:
        """Kill a node's programs and start them again with the state that they keep on disk."""
        self.happen(f"restart {node}")

    def renumber(self, gateway: str, address: str) -> None:
        """Give a NAPT another address outside, in the same network."""
        self.happen(f"renumber {gateway} {address}")

    def unplug(self, node: str) -> None:
        """Pull the cable of a host, or of a gateway's outside."""
        self.happen(f"unplug {node}")

    def plug(self, node: str, into: str = "", address: str = "") -> None:
        """Plug the cable in again, or into another site with an address there."""
        self.happen(f"plug {node}" + (f" into {into} as {address}" if into else ""))

    def set_link(self, node: str, **values: str) -> None:
        """Change a node's link: `set_link("alice", loss="5%")`."""
        self.happen(f"link {node} " + " ".join(f"{key}={value}" for key, value in values.items()))

    # ── programs ───────────────────────────────────────────────────────────────────────

    def _restart(self, name: str, *, keep: bool) -> None:
        node = self.nodes[name]
        site = self._site(name)
        ours = {id(each) for each in self._programs}
        self._kill([each for each in node.processes if not keep or id(each) in ours])
        if site is None:
            self._begin(host_programs(self._host(name), node, self.topology))
            return
        if site.gateway.napt is not None and not keep:
            for state in node.home.glob(f"{CONTROL}.state*"):
                state.unlink()
            if site.gateway.engine is Engine.NFTABLES:
                node.run(program("napt_lab.nat_node.engines.nftables.forget"))
        if node.napt is not None:
            node.napt.close()
        self._begin(gateway_programs(site, node, self.topology, fresh=not keep))
        if node.napt is not None:
            node.napt.subscribe(self.log)

    def _set(self, name: str, before: Topology) -> str:
        """Change a NAPT's settings while it runs. Where that cannot be it is started again."""
        old, new = (
            topology.by_gateway()[name].gateway.napt for topology in (before, self.topology)
        )
        changes = {
            setting.key: setting.text(getattr(new, setting.name))
            for setting in SETTINGS
            if getattr(new, setting.name) != getattr(old, setting.name)
        }
        control = self.nodes[name].napt
        assert control is not None
        try:
            control.ask({"do": "set", "settings": changes})
        except ControlError as error:
            self._restart(name, keep=False)
            return f"{error}: it was started again, and its table is lost"
        return ""

    def _kill(self, processes: list[Process]) -> None:
        for process in processes:
            process.kill()
        for process in processes:
            process.await_end()

    def _begin(self, starting: Iterator[Process]) -> None:
        started = list(starting)
        for process in started:
            process.await_ready(READY_SECONDS)
        self._programs = [each for each in self._programs if each.running] + started

    def _service(self, what: Happening) -> Process:
        for process in self.nodes[what.node].processes:
            if process.name == what.program:
                return process
        raise ValueError(f"{what.program} does not run on {what.node}; start it first")

    def _host(self, name: str) -> Host:
        return next(host for host in self.topology.hosts() if host.name == name)

    def _site(self, name: str) -> Site | None:
        return self.topology.by_gateway().get(name)

    # ── cables and addresses ───────────────────────────────────────────────────────────

    def _cable(self, name: str, state: str) -> None:
        Batch("ip", [], [f"link set {self._cables[name][0]} {state}"]).finish("sandbox")

    def _move(self, name: str) -> None:
        """Give a node's first interface the address and segment that the topology now has."""
        node, (_, bridge_port) = self.nodes[name], self._cables[name]
        old = node.ports[0]
        plans = list(node_plans(self.topology))
        plan = next(plan for plan in plans if plan.name == name)
        new = plan.ports[0]
        device = new.interface
        Batch("bridge", [], [f"fdb del {old.mac} dev {bridge_port} master"]).finish("sandbox")
        Batch("ip", [], [f"link set {bridge_port} master {new.segment}"]).finish("sandbox")
        Batch("bridge", [], [f"fdb add {new.mac} dev {bridge_port} master static"]).finish(
            "sandbox"
        )
        # First the last one: the kernel deletes all others together with the first.
        commands = [f"address del {each} dev {device}" for each in reversed(old.addresses)]
        commands.append(f"link set {device} address {new.mac}")
        commands += [f"address add {each} broadcast + dev {device}" for each in new.addresses]
        commands.append(f"route replace default via {plan.next_hop} dev {device}")
        # A permanent neighbor does not outlive a new link-layer address of the interface.
        neighbors = {} if plan.asks else by_segment(plans)
        commands += [
            f"neigh replace {address.ip} lladdr {other.mac} dev {device} nud permanent"
            for other in neighbors.get(new.segment, ())
            if other.address != new.address
            for address in other.addresses
        ]
        site = self._site(name)
        if site is not None and site.gateway.engine is Engine.PYTHON:  # it proxies ARP for itself
            commands[:0] = [f"neigh del proxy {each.ip} dev {device}" for each in old.addresses]
        Batch("ip", node.entry, commands).finish(name)
        node.ports = plan.ports
        self._tell_neighbors(old, new)
        self._tell_gateway(name, new.addresses)

    def _tell_neighbors(self, old: Port, new: Port) -> None:
        """The nodes that know their neighbors from the start forget the old and learn the new."""
        for plan in node_plans(self.topology):
            commands = []
            for port in plan.ports if not plan.asks else ():
                if port.segment == old.segment and port.address != new.address:
                    commands += [
                        f"neigh flush to {address.ip} dev {port.interface} nud all"
                        for address in old.addresses
                    ]
                if port.segment == new.segment and port.address != new.address:
                    commands += [
                        f"neigh replace {address.ip} lladdr {new.mac} dev {port.interface} "
                        "nud permanent"
                        for address in new.addresses
                    ]
                    if new.link and new.link.told_mtu:
                        commands += [f"route replace {route}" for route in mtu_routes(new, port)]
            if commands:
                Batch("ip", self.nodes[plan.name].entry, commands).finish(plan.name)

    def _tell_gateway(self, name: str, addresses: Iterable[IPv4Interface]) -> None:
        """The NAPT before a node knows it now: explicit rules may lead to it."""
        own = self._site(name)
        if own is not None:
            site = self.topology.upstream(own)
        else:
            site = next((s for s in self.topology.sites if self._host(name) in s.hosts), None)
        if site is None or site.gateway.engine is not Engine.PYTHON:
            return  # the kernel's NAT has no list of hosts
        control = self.nodes[site.gateway.name].napt
        if control is not None:
            hosts = " ".join(str(address.ip) for address in addresses)
            control.ask({"do": "set", "settings": {"hosts": hosts}})

    def _change_link(self, what: Happening) -> None:
        assert what.link is not None
        if self.links is None or what.node not in self.links.settings:
            self._slow_down(what.node)
        assert self.links is not None
        self.links.change(what.node, what.link)

    def _slow_down(self, name: str) -> None:
        """Put the program for slow links between a node and its segment."""
        near, _ = self._cables[name]
        node = self.nodes[name]
        number = 0 if self.links is None else len(self.links.settings)
        far, port = f"lx{number}.f", f"lx{number}.b"
        segment, mac = node.ports[0].segment, node.ports[0].mac
        link = next(p.ports[0].link for p in node_plans(self.topology) if p.name == name)
        assert link is not None
        make = [
            f"link add {port} group {GROUP} type veth peer name {far}",
            f"link set {far} up",
            f"link set {near} nomaster",
            f"link set {port} master {segment} up",
        ]
        Batch("ip", [], make).finish("sandbox")
        Batch("bridge", [], [f"fdb add {mac} dev {port} master static"]).finish("sandbox")
        namespaces.switch_off_offload(port)
        namespaces.visit(node.pid, lambda: namespaces.switch_off_offload(node.ports[0].interface))
        slow = SlowLink(name, link, near, far)
        self._cables[name] = (near, port)
        if self.links is None:
            self.links = SlowLinks([slow], self.log)
        else:
            self.links.add(slow)
        node.ports = (replace(node.ports[0], link=link), *node.ports[1:])
