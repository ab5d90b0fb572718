"""An exported topology does what it says: carried out as its engine would, with namespaces."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from shlex import quote

import pytest
import yaml

from napt_lab.labs.export import boot
from napt_lab.labs.export.export import export
from napt_lab.topologies.spec.checkout import TOPOLOGIES
from napt_lab.topologies.spec.loader import load, loads
from tests.waiting import wait_until

pytestmark = pytest.mark.network(timeout=60)
ROOT = Path(__file__).parents[2]
FETCH = ["curl", "-s", "--retry", "40", "--retry-delay", "0", "--retry-all-errors",
         "--retry-max-time", "15", "-m", "2"]  # fmt: skip


def command(*argv):
    done = subprocess.run(argv, capture_output=True, text=True, timeout=20, check=False)
    assert done.returncode == 0, (argv, done.stderr)
    return done.stdout


class Containers:
    """What an engine does with nodes and their links, where the image is this checkout."""

    def __init__(self, folder, nodes):
        self.folder = folder
        hosts = folder / "hosts"
        hosts.mkdir()
        self.pids = {}
        for name in nodes:
            # Names and files of its own, as in a container.
            (hosts / name).write_text("127.0.0.1 localhost\n")
            begin = (
                "echo 1 > /proc/sys/net/ipv4/ip_forward && "  # as on a machine with Docker
                f"mount --bind {hosts / name} /etc/hosts && mount -t tmpfs tmpfs /run && "
                "mount -t sysfs sysfs /sys && echo up"
            )
            argv = ["unshare", "--net", "--mount", "sh", "-c", f"{begin} && exec sleep 300"]
            process = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)
            assert process.stdout.readline() == "up\n"
            self.pids[name] = process.pid
        on = "".join(f"{name}) pid={pid} ;;\n" for name, pid in self.pids.items())
        self.on = folder / "on"  # what a script of the export runs commands with
        self.on.write_text(
            f'case $1 in\n{on}esac\nshift\nexec nsenter -t "$pid" --net --mount --wd={ROOT} "$@"\n'
        )

    def link(self, one, first, other, second):
        ends = [["netns", str(self.pids[one])], ["netns", str(self.pids[other])]]
        command("ip", "link", "add", first, *ends[0], "type", "veth", "peer", second, *ends[1])

    def start(self, name, script):
        script.write_text(script.read_text().replace(boot.PYTHON, quote(sys.executable)))
        self.run(name, "sh", str(script))

    def run(self, name, *argv):
        return command(
            "nsenter", "-t", str(self.pids[name]), "--net", "--mount", f"--wd={ROOT}", *argv
        )

    def expect(self):
        """The exit status of expect.sh, and what it says."""
        script = self.folder / "expect.sh"
        script.write_text(script.read_text().replace(boot.PYTHON, quote(sys.executable)))
        done = subprocess.run(
            ["sh", str(script)],
            env=os.environ | {"ON": f"sh {self.on}"},
            capture_output=True, text=True, timeout=50, check=False,
        )  # fmt: skip
        assert not done.stderr
        return done.returncode, done.stdout


def containerlab(topology, folder):
    """`nodes` and `links` of a containerlab export."""
    export(topology, "containerlab", "napt-lab", folder)
    (file,) = folder.glob("*.clab.yml")
    lab = yaml.safe_load(file.read_text())["topology"]
    containers = Containers(folder, lab["nodes"])
    for link in lab["links"]:
        (one, first), (other, second) = (end.split(":") for end in link["endpoints"])
        containers.link(one, first, other, second)
    for name, node in lab["nodes"].items():
        containers.start(name, folder / node["binds"][0].split(":")[0])
    return containers


def kathara(topology, folder, interface, *, cluster):
    """Devices and collision domains of a Kathara export; `interface` as in net0, net1 …

    `cluster`: each device has an eth0 and a default route to the cluster's network as well.
    """
    export(topology, "kathara", "napt-lab", folder)
    from Kathara.parser.netkit.LabParser import LabParser  # slow, and only one test needs it

    lab = LabParser.parse(str(folder))
    wires = [*lab.links, "cluster"]
    containers = Containers(folder, [*lab.machines, *wires])
    for wire in wires:
        containers.run(wire, "ip", "link", "add", "bridge", "type", "bridge")
        containers.run(wire, "ip", "link", "set", "bridge", "up")
    for number, (name, machine) in enumerate(lab.machines.items(), start=1):
        ends = [(f"{interface}{n}", link.link.name) for n, link in machine.interfaces.items()]
        for port, wire in [*ends, *([("eth0", "cluster")] if cluster else [])]:
            containers.link(name, port, wire, name[:15])
            containers.run(wire, "ip", "link", "set", name[:15], "master", "bridge", "up")
        if cluster:
            containers.run(name, "ip", "address", "add", f"172.31.0.{number}/24", "dev", "eth0")
            containers.run(name, "ip", "link", "set", "eth0", "up")
            containers.run(name, "ip", "route", "add", "default", "via", "172.31.0.254")
    for name in lab.machines:
        containers.start(name, folder / f"{name}.startup")
    return containers


def test_two_sites_fetch_and_forward(tmp_path):
    lab = containerlab(load(TOPOLOGIES / "two-sites.yaml"), tmp_path / "lab")
    # Public names, the router, a NAPT and a service: all of it works, or nothing comes.
    assert '"files"' in lab.run("alice", *FETCH, "http://files:8080/")
    assert lab.run("alice", "cat", "/proc/sys/net/ipv4/ip_forward") == "0\n"
    add_rule(lab)
    (tmp_path / "hello.txt").write_text("hello\n")
    in_network = ("nsenter", "-t", str(lab.pids["alice"]), "--net", f"--wd={tmp_path}")
    subprocess.Popen(
        [*in_network, sys.executable, "-m", "http.server", "8080"], stderr=subprocess.DEVNULL
    )
    assert lab.run("bob", *FETCH, "http://24.9.3.7:8080/hello.txt") == "hello\n"
    # And what is private stays so: the router says that it knows no way.
    begin = time.monotonic()
    with pytest.raises(AssertionError):
        lab.run("files", "curl", "-sS", "-m", "10", "http://10.0.0.7:8080/")
    assert time.monotonic() - begin < 8, "it was swallowed, not refused"


def add_rule(lab):
    """An explicit rule of alice's NAPT, by the translator's own command line."""
    wait_until(
        lambda: "control.sock\n" in lab.run("napt-a", "ls", "/run/napt-lab"),
        lambda: f"napt-a: {lab.run('napt-a', 'cat', '/run/napt-lab/gateway.log')}",
    )
    rule = ["tcp", "24.9.3.7:8080", "10.0.0.7:8080"]
    lab.run(
        "napt-a", sys.executable, "-m", "napt_lab.nat_node", "add", *rule,
        "--control", "/run/napt-lab/control.sock",
    )  # fmt: skip


@pytest.mark.parametrize(("interface", "cluster"), [("eth", False), ("net", True)])
def test_interfaces_are_found_as_kathara_and_megalos_name_them(interface, cluster, tmp_path):
    lab = kathara(load(TOPOLOGIES / "two-sites.yaml"), tmp_path / "lab", interface, cluster=cluster)
    assert '"files"' in lab.run("alice", *FETCH, "http://files:8080/")
    shown = lab.run("alice", "ip", "-brief", "address")
    assert f"{interface}0@" in shown
    assert "10.0.0.7/24" in next(line for line in shown.splitlines() if f"{interface}0@" in line)
    if cluster:  # its network is left alone, and no way out
        assert "172.31.0." in next(line for line in shown.splitlines() if "eth0@" in line)
        assert (
            lab.run("alice", "ip", "route", "show", "default") == "default via 10.0.0.1 dev net0 \n"
        )


def test_what_is_expected_is_tried_there(tmp_path):
    lab = containerlab(load(TOPOLOGIES / "two-sites.yaml"), tmp_path / "lab")
    status, said = lab.expect()
    assert (status, said.count("✓"), said.count("–")) == (0, 6, 2), said
    # A fault for each kind: what cannot be reached can, and what is reached cannot.
    add_rule(lab)
    lab.run("files", "ip", "route", "add", "unreachable", "203.0.113.77")
    status, said = lab.expect()
    assert status == 1, said
    assert "✗ bob reaches files:8080" in said
    assert "✗ bob cannot reach alice:8080 at 24.9.3.7" in said
    assert "alice reaches 203" not in said
    assert said.count("✗") == 2, said


NESTED = """
internet: {web: {address: 151.101.1.69, runs: [web]}}
sites:
  carrier:
    gateway: {name: cgn, kind: napt, public: 24.9.3.7, private: 100.64.0.1/10,
              rules: ["tcp 8080 -> 100.64.0.7:8080"]}
  home:
    gateway: {kind: napt, behind: carrier, public: 100.64.0.7, private: 10.0.0.1/24,
              rules: ["tcp 8080 -> 10.0.0.7:80"], link: {delay: 5ms, mtu: 1400}}
    hosts: {pc: {address: 10.0.0.7, runs: [web]}}
  office:
    gateway: {kind: router, public: 24.9.4.7, private: 192.0.2.1/24, firewall: {inbound: deny}}
    hosts: {desk: 192.0.2.10}
  shop:
    gateway: {kind: router, behind: office, public: 192.0.2.20, private: 198.51.100.1/24}
    hosts: {till: {address: 198.51.100.7, link: {rate: 1Mbit}}}
expect:
  - pc reaches web:80 as 24.9.3.7
  - web reaches pc:80 at cgn:8080 via forwarded at napt_home
  - web cannot reach pc:80 at 100.64.0.7:8080 because no-route at internet
  - till reaches web:80 as 198.51.100.7
  - web cannot reach desk:80 because blocked at office
  - web cannot reach till:80 because blocked at office
"""


def test_nesting_routers_and_links_are_carried_over(tmp_path):
    lab = containerlab(loads(NESTED.encode(), Path("nested.yaml")), tmp_path / "lab")
    status, said = lab.expect()
    assert (status, said.count("✓")) == (0, 6), said
    told = lab.run("pc", "ping", "-M", "do", "-c1", "-W2", "-s", "1380", "10.0.0.1")
    assert "1 received" in told  # only the link outside is narrow
    shown = lab.run("napt-home", "ip", "link", "show", "wan0")
    assert "mtu 1400" in shown


SMALL = """
internet: {web: 151.101.1.69}
sites:
  home:
    gateway: {name: napt, kind: napt, public: 24.9.3.7, private: 10.0.0.1/24}
    hosts: {pc: 10.0.0.7}
expect:
  - pc reaches web:80 as 24.9.3.7
  - pc reaches web:81 as 24.9.3.8
  - web cannot reach pc:80
  - web cannot reach pc:81 because refused
"""


def test_a_control_that_fails_is_no_proof(tmp_path):
    lab = containerlab(loads(SMALL.encode(), Path("small.yaml")), tmp_path / "lab")
    status, said = lab.expect()
    assert status == 1
    assert "✓ pc reaches web:80 as 24.9.3.7" in said
    assert "✗ pc reaches web:81 as 24.9.3.8\n    151.101.1.69 does not see 24.9.3.8" in said
    assert said.count("✓") == 3, said
    lab.run("pc", "ip", "link", "set", "eth0", "down")
    status, said = lab.expect()
    assert status == 1
    assert "! web cannot reach pc:80\n    control: napt does not reach 10.0.0.7 80" in said, said
