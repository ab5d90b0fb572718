"""The engines side by side on one running topology, and the traffic that goes through them.

Every engine translates for one PC of its own; one server answers them all. (pasta and slirp4netns
have no gateway: they translate between a process and the sockets of the host that it is on.) One
measurement is one pair of programs, one of them on the PC and one on the server, and nothing
else runs then.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from napt_lab.labs.bench.figures import (
    CARRIED,
    DIRECT,
    KERNEL,
    MININET_NAT,
    OURS,
    PASTA,
    SCAPY,
    SLIRP,
)
from napt_lab.topologies.network import namespaces
from napt_lab.topologies.network.builder import Network
from napt_lab.topologies.network.node import Node
from napt_lab.topologies.network.own_programs import program
from napt_lab.topologies.network.processes import Completed, DeadlinePassed, NodeProgram

GRACE = 10.0  # seconds that a program may take beyond the time that it measures
SENDS_LONGER = 0.2  # seconds, so that a receiver's time is never partly silence
MANY_RULES = 60_000
FILLED_WITHIN = 60.0  # seconds; a datagram may be lost, and is then sent again
PCS = {
    OURS: "pc_python", CARRIED: "pc_carried", KERNEL: "pc_kernel", SCAPY: "pc_scapy",
    MININET_NAT: "pc_mininet", PASTA: "pc_none", SLIRP: "pc_none", DIRECT: "pc_none",
}  # fmt: skip
"""Whose traffic goes through which engine."""


# What enters a network behind each of these for one command. pasta forwards no ports, and finds
# itself root already. slirp4netns is told of its network by a process number, says on descriptor 3
# when it is ready, and has its largest MTU.
_SLIRP = """
folder=$(mktemp -d); mkfifo "$folder/ready"
unshare --net sleep infinity & inside=$!
until [ "$(readlink /proc/$inside/ns/net)" != "$(readlink /proc/$$/ns/net)" ]; do :; done
slirp4netns --configure --mtu=65520 --ready-fd=3 $inside tap0 3> "$folder/ready" > /dev/null 2>&1 &
trap 'kill $! $inside; rm -r "$folder"' EXIT
read -r -n 1 _ < "$folder/ready"
nsenter --net=/proc/$inside/ns/net -- "$@"
"""
ENTRIES = {
    PASTA: (
        "pasta", "--config-net", "--quiet", "--runas", "0",
        "-t", "none", "-u", "none", "-T", "none", "-U", "none", "--",
    ),
    SLIRP: ("bash", "-c", _SLIRP, "slirp"),
}  # fmt: skip
# The rules that Mininet's own NAT makes (mininet/nodelib.py, class NAT).
MININET_RULES = (
    "-I FORWARD -i lan0 -d {inside} -j DROP",
    "-A FORWARD -i lan0 -s {inside} -j ACCEPT",
    "-A FORWARD -o lan0 -d {inside} -j ACCEPT",
    "-t nat -A POSTROUTING -s {inside} ! -d {inside} -j MASQUERADE",
)


class BenchError(Exception):
    """A measurement could not be made; the message says which and why."""


class Traffic:
    """Measurements through one engine (`python`, `kernel`, …) of a running topology."""

    def __init__(self, net: Network) -> None:
        self._net = net
        self._ports = itertools.count(5001)
        self.server = net["server"]
        self.public = net["pc_none"]
        """A host that no translator stands in front of."""
        self.stranger = net["stranger"]
        """Another one."""
        # No engine sends its events to a listener, so that all are measured alike.
        for site in net.topology.sites:
            net.napt(site.gateway.name).close()
        for pc in set(PCS.values()):
            self._set(pc, {"ipv4/ip_local_port_range": "1024 65535"})
        # Like `closing-hold: 1s` of ours: 64,512 ports have to do for more connections than that.
        short = {f"netfilter/nf_conntrack_tcp_timeout_{s}": "1" for s in ("close", "time_wait")}
        # Do not count what its sessions carry: no one reads it.
        uncounted = {f"netfilter/nf_conntrack_{what}": "0" for what in ("acct", "timestamp")}
        for napt in (f"napt_{KERNEL}", "napt_mininet"):
            self._set(napt, short | uncounted)

    def _set(self, node: str, settings: dict[str, str]) -> None:
        namespaces.visit(self._net[node].pid, lambda: namespaces.write_sysctls(settings))

    # -- measurements -------------------------------------------------------------------------

    def stream(self, engine: str, seconds: float, *options: str) -> float:
        """TCP through iperf3, in Gbit/s at the receiver; with --bidir both directions added."""
        port = str(next(self._ports))
        address = str(self.server.address)
        listen = self.server.start(["iperf3", "-s", "-1", "-p", port, "-B", address])
        self.await_listening(int(port))
        whole = str(max(1, round(seconds)))  # iperf3 knows no other, and takes 0 for "for ever"
        command = ["iperf3", "-J", "-c", address, "-p", port, "-t", whole, *options]
        done = self._run(engine, command, seconds + GRACE)
        listen.wait(GRACE)
        try:
            end = json.loads(done.stdout)["end"]
            sums = [end[key] for key in ("sum_received", "sum_received_bidir_reverse")
                    if key in end]  # fmt: skip
        except (ValueError, KeyError):
            raise BenchError(f"iperf3 through {engine}: {done.stdout[-300:]}") from None
        return sum(float(each["bits_per_second"]) for each in sums) / 1e9

    def datagrams(self, engine: str, seconds: float) -> tuple[float, float]:
        """Small UDP datagrams that arrived each second, and the part that was lost."""
        with self.receiver("sink", seconds) as (receiver, port):
            sent = self._send(engine, "blast", port, seconds + SENDS_LONGER)
            received = receiver.wait_for("received", deadline=GRACE).fields
        self._await_idle(engine)
        rate = float(received["packets"] / received["seconds"])
        return rate, max(0.0, 1 - rate * sent["seconds"] / sent["packets"])

    def latency(self, engine: str, seconds: float) -> dict[str, Any]:
        """Round-trip times of small datagrams: `p50` and `p99` in microseconds, `count`."""
        with self.receiver("echo", seconds) as (_, port):
            return self._send(engine, "ask", port, seconds)

    def connections(self, engine: str, seconds: float) -> float:
        """TCP connections opened and closed each second, as the server accepted them."""
        with self.receiver("accept", seconds) as (receiver, port):
            self._send(engine, "connect", port, seconds + SENDS_LONGER)
            accepted = receiver.wait_for("accepted", deadline=GRACE).fields
        return float(accepted["count"] / accepted["seconds"])

    def connection_cost(self, seconds: float) -> tuple[float, float]:
        """Microseconds of processor time that a connection takes of our translator.

        Those in its own code, with what it spends on looking for the next packet, and those in the
        kernel on its behalf.
        """
        before = self._processor_seconds()
        with self.receiver("accept", seconds) as (_, port):
            count = self._send(OURS, "connect", port, seconds)["count"]
        after = self._processor_seconds()
        user, system = (
            1e6 * (late - early) / count for early, late in zip(before, after, strict=True)
        )
        return user, system

    def processor_time(self, seconds: float) -> float:
        """Microseconds of processor time that our translator takes for a packet of a flood.

        With packets one at a time it would be its looking for the next one that counts.
        """
        before = self._process_nanoseconds()
        with self.receiver("sink", seconds + GRACE) as (receiver, port):  # it ends with the packets
            self._send(OURS, "blast", port, seconds)
            received = receiver.wait_for("received", deadline=GRACE).fields
        return float((self._process_nanoseconds() - before) / 1000 / received["packets"])

    def fill(self, engine: str) -> None:
        """Make 60,000 rules, one for each of as many ports of the PC."""
        end = time.monotonic() + FILLED_WITHIN
        while time.monotonic() < end:
            self._send(engine, "fill", 9, MANY_RULES)
            if engine != OURS or self._net.napt(f"napt_{OURS}").stats()["rules"] >= MANY_RULES:
                return
        raise BenchError(f"no {MANY_RULES} rules within {FILLED_WITHIN:.0f} s")

    def rules(self) -> int:
        """How many rules our translator has now."""
        return int(self._net.napt(f"napt_{OURS}").stats()["rules"])

    def memory(self) -> int:
        """Bytes of memory that our translator holds (resident set)."""
        pages = Path(f"/proc/{self._translator()}/statm").read_text().split()[1]
        return int(pages) * os.sysconf("SC_PAGE_SIZE")

    # -- programs -----------------------------------------------------------------------------

    @contextlib.contextmanager
    def receiver(
        self, role: str, seconds: float, node: Node | None = None
    ) -> Iterator[tuple[NodeProgram, int]]:
        """A receiving program on a node (the server), ready at a port that nothing has used."""
        port = next(self._ports)
        argv = program(
            "napt_lab.labs.bench.traffic_load",
            role,
            "0.0.0.0",
            str(port),
            str(seconds),
        )
        process = (node or self.server).start_program(argv, name=f"{role}:{port}")
        try:
            process.wait_for("ready", deadline=GRACE)
            yield process, port
        finally:
            process.kill()
            process.await_end()

    def _send(self, engine: str, role: str, port: int, amount: float) -> dict[str, Any]:
        """Run a sending program on the PC; its report, if any."""
        address = str(self.server.address)
        argv = program(
            "napt_lab.labs.bench.traffic_load",
            role,
            address,
            str(port),
            str(amount),
        )
        deadline = 6 * GRACE if role == "fill" else amount + GRACE
        done = self._run(engine, argv, deadline)
        if done.status:
            raise BenchError(f"{role} through {engine}: {done.stderr.strip()[-500:]}")
        answer: dict[str, Any] = json.loads(done.stdout or "{}")
        return answer

    def _run(self, engine: str, argv: list[str], seconds: float) -> Completed:
        """Run a command behind an engine to its end."""
        return self._net[PCS[engine]].run([*ENTRIES.get(engine, ()), *argv], timeout=seconds)

    def await_listening(self, port: int) -> None:
        """Return once something listens at a TCP port of the server."""
        listening = f":{port:04X} 00000000:0000 0A"

        def look() -> bool:
            # A thread that visits a namespace sees it here, not below /proc/net.
            return listening in Path("/proc/thread-self/net/tcp").read_text(encoding="ascii")

        end = time.monotonic() + GRACE
        while not namespaces.visit(self.server.pid, look):
            if time.monotonic() > end:
                raise DeadlinePassed(f"a listener at port {port}", GRACE)
            time.sleep(0.005)

    def _translator(self) -> int:
        """The process number of our translator."""
        return int(self._net.napt(f"napt_{OURS}").stats()["pid"])

    def _await_idle(self, engine: str) -> None:
        """Return once an engine has nothing waiting any more: an answer comes in order, or not.

        A slow one still works at the flood seconds after its sender's end, and what is measured
        next would wait behind it, or be lost.
        """
        with self.receiver("echo", GRACE) as (_, port):
            self._send(engine, "greet", port, GRACE)

    def _processor_seconds(self) -> tuple[float, float]:
        """What our translator has used of a processor itself, and the kernel for it."""
        fields = Path(f"/proc/{self._translator()}/stat").read_text().rpartition(") ")[2].split()
        user, system = (int(field) / os.sysconf("SC_CLK_TCK") for field in fields[11:13])
        return user, system

    def _process_nanoseconds(self) -> int:
        return int(Path(f"/proc/{self._translator()}/schedstat").read_text().split()[0])


def put_mininets_nat_in_place(net: Network) -> None:
    """Have Mininet's own rules translate on their gateway, where ours for the kernel did."""
    gateway = net["napt_mininet"]
    site = net.topology.by_gateway()[gateway.name]
    rules = (f"iptables {rule.format(inside=site.network)}" for rule in MININET_RULES)
    done = gateway.run(["sh", "-ec", "\n".join(("nft flush ruleset", *rules))])
    if done.status:
        raise BenchError(f"iptables on {gateway.name}: {done.stderr.strip()}")


def put_scapy_in_place(net: Network) -> None:
    """Have the NAT with scapy translate on its gateway, where the kernel did."""
    gateway = net[f"napt_{SCAPY}"]
    site = net.topology.by_gateway()[gateway.name]
    # scapy sees what the kernel sees; the kernel itself must neither forward nor refuse it.
    silence = (
        "flush ruleset; add table ip quiet; "
        "add chain ip quiet in { type filter hook input priority 0; }; "
        f"add rule ip quiet in ip daddr {site.gateway.public.ip} drop"
    )
    done = gateway.run(["nft", silence])
    if done.status:
        raise BenchError(f"nft on {gateway.name}: {done.stderr.strip()}")
    stop_forwarding = {"ipv4/ip_forward": "0"}
    namespaces.visit(gateway.pid, lambda: namespaces.write_sysctls(stop_forwarding))
    # A raw socket takes no more than one packet for the wire.
    for neighbor in (net[f"pc_{SCAPY}"], net["internet"]):
        for port in neighbor.ports:
            if port.segment in {own.segment for own in gateway.ports}:
                errand = functools.partial(namespaces.switch_off_offload, port.interface)
                namespaces.visit(neighbor.pid, errand)
    argv = program(
        "napt_lab.labs.bench.scapy_nat",
        "lan0",
        "wan0",
        str(site.network),
        str(site.gateway.public.ip),
    )
    gateway.start_program(argv, name="scapy_nat").wait_for("ready", deadline=GRACE)
