"""An exported topology does what it says: carried out as its engine would, with namespaces."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from shlex import quote

import pytest
import yaml

from napt_lab.labs.export import boot, export
from napt_lab.topologies.spec.checkout import TOPOLOGIES
from napt_lab.topologies.spec.loader import load

pytestmark = pytest.mark.network(timeout=60)
ROOT = Path(__file__).parents[2]


def command(*argv):
    done = subprocess.run(argv, capture_output=True, text=True, timeout=20, check=False)
    assert done.returncode == 0, (argv, done.stderr)
    return done.stdout


class Containers:
    """What containerlab does with `nodes` and `links`, where the image is this checkout."""

    def __init__(self, folder):
        (file,) = folder.glob("*.clab.yml")
        lab = yaml.safe_load(file.read_text())["topology"]
        hosts = folder / "hosts"
        hosts.mkdir()
        self.pids = {}
        for name in lab["nodes"]:
            # Names and files of its own, as in a container.
            (hosts / name).write_text("127.0.0.1 localhost\n")
            begin = (
                "echo 1 > /proc/sys/net/ipv4/ip_forward && "  # as on a machine with Docker
                f"mount --bind {hosts / name} /etc/hosts && mount -t tmpfs tmpfs /run && echo up"
            )
            argv = ["unshare", "--net", "--mount", "sh", "-c", f"{begin} && exec sleep 300"]
            process = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)
            assert process.stdout.readline() == "up\n"
            self.pids[name] = process.pid
        for link in lab["links"]:
            (one, first), (other, second) = (end.split(":") for end in link["endpoints"])
            ends = [["netns", str(self.pids[one])], ["netns", str(self.pids[other])]]
            command("ip", "link", "add", first, *ends[0], "type", "veth", "peer", second, *ends[1])
        for name, node in lab["nodes"].items():
            script = folder / node["binds"][0].split(":")[0]
            text = script.read_text().replace(boot.PYTHON, quote(sys.executable))
            script.write_text(text)
            self.run(name, "sh", str(script))

    def run(self, name, *argv):
        return command(
            "nsenter", "-t", str(self.pids[name]), "--net", "--mount", f"--wd={ROOT}", *argv
        )


def test_two_sites_fetch_and_forward(tmp_path):
    export(load(TOPOLOGIES / "two-sites.yaml"), "containerlab", "napt-lab", tmp_path / "lab")
    lab = Containers(tmp_path / "lab")
    fetch = ["curl", "-s", "--retry", "40", "--retry-delay", "0", "--retry-all-errors",
             "--retry-max-time", "15", "-m", "2"]  # fmt: skip
    # Public names, the router, a NAPT and a service: all of it works, or nothing comes.
    assert '"files"' in lab.run("alice", *fetch, "http://files:8080/")
    assert lab.run("alice", "cat", "/proc/sys/net/ipv4/ip_forward") == "0\n"
    # An explicit rule of alice's NAPT, by the translator's own command line.
    control = ["--control", "/run/napt-lab/control.sock"]
    rule = ["tcp", "24.9.3.7:8080", "10.0.0.7:8080"]
    until = time.monotonic() + 20
    while "control.sock\n" not in lab.run("napt_a", "ls", "/run/napt-lab"):
        assert time.monotonic() < until, lab.run("napt_a", "cat", "/run/napt-lab/gateway.log")
        time.sleep(0.05)
    lab.run("napt_a", sys.executable, "-m", "napt_lab.nat_node", "add", *rule, *control)
    (tmp_path / "hello.txt").write_text("hello\n")
    in_network = ("nsenter", "-t", str(lab.pids["alice"]), "--net", f"--wd={tmp_path}")
    subprocess.Popen(
        [*in_network, sys.executable, "-m", "http.server", "8080"], stderr=subprocess.DEVNULL
    )
    assert lab.run("bob", *fetch, "http://24.9.3.7:8080/hello.txt") == "hello\n"
    # And what is private stays so: the router says that it knows no way.
    begin = time.monotonic()
    with pytest.raises(AssertionError):
        lab.run("files", "curl", "-sS", "-m", "10", "http://10.0.0.7:8080/")
    assert time.monotonic() - begin < 8, "it was swallowed, not refused"
