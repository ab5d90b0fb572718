"""Builds a network from a topology: Mininet nodes, bridges, addresses, programs.

Theory of operation. Each node of the topology is a Mininet node with its own network namespace.
Each segment (an ISP's network, a site's network) is a Linux bridge in the sandbox's namespace. Open
vSwitch with a controller would be one more system to install and to explain.

                        the sandbox's own namespace
        alice [eth0]───┐                            ┌───[isp1] internet [isp2]───┐
                      site.1 ──[lan0] napt_a [wan0]─isp.1                      isp.2 ── …

Mininet configures a node by typing commands into a shell on it. Here nothing from a topology goes
through a shell: one `ip -batch` makes all links, one `ip -batch` for each node sets addresses and
routes, all at the same time, and a thread in the node's namespace writes sysctls. A node's shell
starts only when a command is typed into it.
"""

from __future__ import annotations

import contextlib
import functools
import signal
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType

from napt_lab.topologies.network import namespaces, own_programs
from napt_lab.topologies.network.batch import Batch
from napt_lab.topologies.network.build_error import BuildError, LimitReached, ProgramLost
from napt_lab.topologies.network.happenings import Happenings
from napt_lab.topologies.network.mininet_import import Mininet
from napt_lab.topologies.network.mininet_nodes import BatchIntf, BatchLink, Bridge, LabNode
from napt_lab.topologies.network.napt_control import NaptControl
from napt_lab.topologies.network.node import Node
from napt_lab.topologies.network.nursery import Nursery
from napt_lab.topologies.network.plan import (
    GROUP,
    PLAIN,
    QUIET,
    NodePlan,
    arp_patience,
    mtu_commands,
    neighbor_commands,
    node_plans,
    segments,
)
from napt_lab.topologies.network.processes import EventLog, Process
from napt_lab.topologies.network.programs import common_modules, start_programs
from napt_lab.topologies.network.slow_links import SlowLink, SlowLinks
from napt_lab.topologies.sandbox import limits, neighbor_table, sandbox
from napt_lab.topologies.spec.errors import not_one_of
from napt_lab.topologies.spec.model import Topology

# With br_netfilter, each bridge passes every packet to netfilter once more, as if the cable between
# two nodes were a firewall.
PLAIN_BRIDGES = {f"bridge/bridge-nf-call-{tables}": "0" for tables in ("iptables", "arptables")}


class Network(Happenings):
    """A running topology: `with Network(topology) as net:`; afterwards nothing of it is left.

    `net["alice"]` is a node, `net.log` has the events of all programs, `net.mininet` is Mininet's
    object. What can happen to it (`net.reboot("napt_a")`) is in happenings.py. Only in the sandbox.
    """

    def __init__(self, topology: Topology) -> None:
        self.topology = topology
        self.log = EventLog()
        self.nodes: dict[str, Node] = {}
        self._programs: list[Process] = []  # that must run until the end
        self.links: SlowLinks | None = None
        self._cables: dict[str, tuple[str, str]] = {}  # see Happenings
        self._linked = False  # whether there are links
        self._cleanup = contextlib.ExitStack()

    def __getitem__(self, name: str) -> Node:
        """The node of that name; KeyError with the names that there are."""
        if name not in self.nodes:
            raise KeyError(not_one_of(f"there is no node {name!r}", str(name), self.nodes))
        return self.nodes[name]

    def __iter__(self) -> Iterator[Node]:
        return iter(self.nodes.values())

    def napt(self, name: str) -> NaptControl:
        """The control of the NAPT `name`; KeyError if it is not one."""
        control = self[name].napt
        if control is None:
            napts = [node.name for node in self if node.napt is not None]
            raise KeyError(not_one_of(f"{name} is not a NAPT", name, napts))
        return control

    def __enter__(self) -> Network:
        if not sandbox.inside():
            raise BuildError("a network can be built only in the sandbox")
        self._limits = limits.Watch()
        try:
            with self._limits.calls():
                self._build()
            self._cleanup.callback(self._end_processes)
            self._cleanup.callback(self._fall_silent)
            self._programs = start_programs(self.topology, self.nodes)
            self._listen_to_napts()
        except BaseException as error:
            self._end(error)
            raise
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        """Take all down.

        LimitReached if the machine was at a limit while the network ran; ProgramLost if a program
        of the topology (a NAPT, a proxy, a server) has ended by itself.
        """
        self._end(error)

    def machine_fault(self) -> str:
        """Why it may be the machine's fault that something failed; empty if it is not."""
        return limits.describe(self._limits.reached(failed=True))

    def _end(self, error: BaseException | None) -> None:
        self._limits.ended_by(error)
        try:
            reached = self._limits.reached(failed=error is not None)
            lost = [] if reached else self._losses()
        finally:
            self._cleanup.close()
        if error is not None and not isinstance(error, Exception):
            return  # Ctrl-C and the like
        if reached:
            raise LimitReached(reached) from error
        if lost:
            raise ProgramLost("; ".join(lost)) from error

    def _losses(self) -> list[str]:
        lost = [loss for program in self._programs if (loss := program.loss())]
        if self.links is not None and (obituary := self.links.obituary()):
            lost.append(obituary)
        return lost

    def _build(self) -> None:
        # Mininet's initialization would write settings that the whole machine shares.
        Mininet.inited = True
        self.mininet = Mininet(
            topo=None, switch=Bridge, controller=None, host=LabNode, link=BatchLink, intf=BatchIntf
        )
        self._cleanup.callback(self._stop_mininet)
        quiet = QUIET if namespaces.has_ipv6() else {}
        namespaces.write_sysctls(quiet)
        if namespaces.has_bridge_netfilter():
            namespaces.write_sysctls(PLAIN_BRIDGES)
        own_programs.install()
        nursery = self._start_nursery()
        plans = list(node_plans(self.topology))
        name_files = self._write_name_files()
        for plan in plans:
            self.mininet.addHost(plan.name)  # all start, then each is waited for
        for plan in plans:
            holder = self.mininet[plan.name]
            holder.await_namespace()
            namespaces.visit(holder.pid, lambda: namespaces.write_sysctls(quiet | PLAIN))
            self._limits.add(holder.pid)
            node = Node(plan.name, plan.ports, holder.pid, self.log, self._limits, nursery)
            node.home.mkdir(mode=0o755, parents=True, exist_ok=True)
            namespaces.cover(node.pid, name_files)
            self.nodes[plan.name] = node
        self._make_links(plans)
        self._configure(plans)

    def _stop_mininet(self) -> None:
        """End all nodes; at once, since each takes the kernel some milliseconds."""
        for host in self.mininet.hosts:
            host.holder.kill()
        self.mininet.stop()

    def _start_nursery(self) -> Nursery | None:
        """The process that our programs come from; None if the topology has none."""
        if not (modules := common_modules(self.topology)):
            return None
        nursery = Nursery(modules, own_programs.environment())
        self._cleanup.callback(nursery.close)
        return nursery

    def _write_name_files(self) -> dict[str, Path]:
        """Write /etc/hosts (public hosts) and an empty /etc/resolv.conf for the nodes.

        They cannot reach the machine's name server; requests to it would clutter the captures.
        """
        public = [f"{host.address.ip} {host.name}\n" for host in self.topology.internet]
        hosts, resolver = (sandbox.RUN_DIRECTORY / f".{name}" for name in ("hosts", "resolv.conf"))
        hosts.write_text("".join(["127.0.0.1 localhost\n", *public]), encoding="utf-8")
        resolver.write_text("", encoding="utf-8")
        return {"/etc/hosts": hosts, "/etc/resolv.conf": resolver}

    def _make_links(self, plans: Sequence[NodePlan]) -> None:
        make, ports = [], []
        slow: list[SlowLink] = []
        whole: list[str] = []  # interfaces of bridges that must send whole packets
        for number, name in enumerate(segments(self.topology), start=1):
            self.mininet.addSwitch(name, dpid=str(number))
            make.append(f"link add {name} group {GROUP} type bridge stp_state 0 mcast_snooping 0")
            make.append(f"link set {name} up")
        for plan in plans:
            for port in plan.ports:
                link = self.mininet.addLink(
                    plan.name, port.segment, intfName1=port.interface, addr1=port.mac
                )
                near = link.intf2
                if port.link is not None:  # another pair between the node and the bridge's port
                    near, far = f"lk{len(slow) + 1}.n", f"lk{len(slow) + 1}.f"
                    slow.append(SlowLink(plan.name, port.link, near, far))
                    make += [
                        f"link add {link.intf2} group {GROUP} type veth peer name {far}",
                        f"link set {far} up",
                    ]
                make.append(
                    f"link add {near} group {GROUP} type veth peer name {port.interface} "
                    f"address {port.mac} netns {self.nodes[plan.name].pid}"
                )
                if port.link is not None:
                    make.append(f"link set {near} up")
                    whole.append(str(link.intf2))
                self._cables.setdefault(plan.name, (str(near), str(link.intf2)))
                make.append(f"link set {link.intf2} master {port.segment} up")
                # A permanent neighbor is not asked for by ARP: the bridge must know its port.
                ports.append(f"fdb add {port.mac} dev {link.intf2} master static")
        # Ask for one more entry of the neighbor table: if it is full, results are not reliable.
        make.append(neighbor_table.one_more(segments(self.topology)[0]))
        self._cleanup.callback(self._delete_links)
        self._linked = True
        Batch("ip", [], make).finish("sandbox")
        Batch("bridge", [], ports).finish("sandbox")
        for interface in whole:
            namespaces.switch_off_offload(interface)
        self._cleanup.callback(self._end_links)
        if slow:
            self.links = SlowLinks(slow, self.log)

    def _configure(self, plans: Sequence[NodePlan]) -> None:
        """Set addresses, routes, neighbors and sysctls of all nodes, at the same time."""
        neighbors, mtus = neighbor_commands(plans), mtu_commands(plans)
        batches = [
            Batch(
                "ip",
                self.nodes[plan.name].entry,
                [*plan.ip_commands(), *mtus[plan.name], *neighbors[plan.name]],
            )
            for plan in plans
        ]
        patience = arp_patience(plans)
        for plan, batch in zip(plans, batches, strict=True):
            batch.finish(plan.name)
            namespaces.visit(
                self.nodes[plan.name].pid, functools.partial(self._settle, plan, patience)
            )

    def _settle(self, plan: NodePlan, patience: Mapping[str, int]) -> None:
        """Write the sysctls that need the interfaces. Runs in the node's namespace."""
        for port in plan.ports:
            setting = f"ipv4/neigh/{port.interface}/retrans_time_ms"
            namespaces.write_sysctls({setting: str(patience[port.segment])})
            if port.link is not None or not self.topology.offload:
                namespaces.switch_off_offload(port.interface)
        if plan.forwards:
            namespaces.write_sysctls({"ipv4/ip_forward": "1"})

    def _listen_to_napts(self) -> None:
        for node in self:
            if node.napt is not None:
                node.napt.subscribe(self.log)
        self._cleanup.callback(self._stop_listening)

    def _stop_listening(self) -> None:
        for node in self:
            if node.napt is not None:
                node.napt.close()

    def _fall_silent(self) -> None:
        """Take the links away before the programs end, and let none of them notice.

        The kernel closes the connections of a program that has ended. The FINs of some ten thousand
        would fill the queues that a processor has for all networks of the machine.
        """
        for node in self:
            for process in node.processes:
                process.send_signal(signal.SIGSTOP)
        self._end_links()
        with contextlib.suppress(OSError):  # no more open files: some are free when programs end
            self._delete_links()

    def _delete_links(self) -> None:
        # The end of a namespace deletes its links as well, but only some time later.
        if self._linked:
            Batch("ip", [], [f"link del group {GROUP}"]).finish("sandbox")
            self._linked = False

    def _end_links(self) -> None:
        if self.links is not None:
            self.links.close()

    def _end_processes(self) -> None:
        processes = [process for node in self for process in node.processes]
        for process in processes:
            process.kill()
        for process in processes:
            process.await_end()
