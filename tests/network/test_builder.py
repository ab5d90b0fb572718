"""Topologies that run: who reaches whom, what a wire carries, and that nothing is left over."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import socket
import subprocess
from dataclasses import replace
from ipaddress import IPv4Address
from pathlib import Path

import pytest
from scapy.layers.inet import IP, TCP
from scapy.layers.l2 import Ether

from napt_lab.labs.capture.wire import CaptureIncomplete, Wire
from napt_lab.labs.check.reports import Reports
from napt_lab.labs.course.registry import LABS
from napt_lab.labs.prompt.why import Why
from napt_lab.labs.records.stream import Stream
from napt_lab.labs.running.on_topology import run_check
from napt_lab.labs.stage.play import Play
from napt_lab.labs.verdict.results import Results
from napt_lab.topologies.network.build_error import LimitReached
from napt_lab.topologies.network.builder import Network
from napt_lab.topologies.network.namespaces import visit
from napt_lab.topologies.network.processes import DeadlinePassed, ProgramEnded
from napt_lab.topologies.sandbox import neighbor_table
from napt_lab.topologies.spec.checkout import TOPOLOGIES
from napt_lab.topologies.spec.loader import load
from napt_lab.topologies.spec.model import Engine
from napt_lab.topologies.spec.napt_settings import StaticRule
from napt_lab.topologies.spec.services import Service
from tests.waiting import wait_until

pytestmark = pytest.mark.network(timeout=30)

ETH_P_ALL = socket.htons(3)  # linux/if_ether.h


def topology(*, engine=Engine.NFTABLES, rules=(), runs=()):
    """The two sites; the kernel's NAT by default, which starts faster."""
    plain = load(TOPOLOGIES / "two-sites.yaml")
    sites = []
    for site in plain.sites:
        settings = replace(site.gateway.napt, rules=rules if site.name == "a" else ())
        sites.append(replace(site, gateway=replace(site.gateway, engine=engine, napt=settings)))
    internet = tuple(replace(h, runs=runs if h.name == "files" else ()) for h in plain.internet)
    return replace(plain, sites=tuple(sites), internet=internet)


def links():
    listed = subprocess.run(["ip", "-br", "link"], capture_output=True, text=True, check=True)
    return sorted(line.split()[0] for line in listed.stdout.splitlines())


def open_files():
    return len(list(Path("/proc/self/fd").iterdir()))


def processes():
    return {int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()}


@pytest.mark.parametrize("engine", list(Engine))
def test_private_hosts_reach_the_internet_and_not_the_other_way(engine):
    with Network(topology(engine=engine)) as net:
        for pc in ("alice", "bob"):
            assert net[pc].run(["ping", "-c1", "-W2", "198.51.100.10"]).status == 0
        refused = net["files"].run(["ping", "-c1", "-W2", "10.0.0.7"])
        assert refused.status == 1
        assert "From 198.51.100.1 icmp_seq=1 Destination Host Unreachable" in refused.stdout


@pytest.mark.parametrize("engine", list(Engine))
def test_an_explicit_rule_of_the_topology_works_with_either_engine(engine):
    rule = StaticRule("tcp", 8080, IPv4Address("10.0.0.7"), 8000)
    with Network(topology(engine=engine, rules=(rule,))) as net:
        server = net["alice"].start(["python", "-u", "-m", "http.server", "8000"])
        until_open(net["napt_a"], "10.0.0.7", 8000)
        answer = net["bob"].run(["curl", "-sS", "--max-time", "5", "http://24.9.3.7:8080/"])
        assert answer.status == 0
        server.terminate()
        assert "203.0.113.77" in server.wait(5).stderr


def until_open(node, address, port):
    """http.server says nothing when it is ready; curl retries until it is."""
    url = f"http://{address}:{port}/"
    got = node.run(["curl", "-sS", "-o", "/dev/null", "--retry", "50", "--retry-connrefused",
                    "--retry-delay", "0", "--retry-max-time", "8", url])  # fmt: skip
    assert got.status == 0


def test_nothing_is_left_and_another_network_can_follow():
    links_before, processes_before = links(), processes()
    for _ in range(2):
        with Network(topology(engine=Engine.PYTHON)) as net:
            net["alice"].start(["sleep", "1000"])
            net["bob"].start(["sh", "-c", "sleep 1000 & sleep 1000"])
            assert len(links()) > len(links_before)
        assert links() == links_before
        wait_until(lambda: processes() == processes_before, "the end of its processes")


def test_no_connection_says_goodbye():
    """The FINs of ten thousand connections would fill a queue that all networks share."""
    with contextlib.ExitStack() as stack:
        net = stack.enter_context(Network(topology()))
        sniffer = visit(
            net["alice"].pid, lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW, ETH_P_ALL)
        )
        server = net["files"].start(["python", "-u", "-m", "http.server", "8000"])
        until_open(net["files"], "198.51.100.10", 8000)
        call = "exec 3<>/dev/tcp/198.51.100.10/8000; echo called; sleep 1000"
        net["alice"].start(["bash", "-c", call], ready="called").await_ready(5)
        before = flags(sniffer)
        stack.pop_all().close()
        assert before == ["S", "SA", "A"]  # so it would see a FIN
        assert flags(sniffer) == []
        assert not server.running
        sniffer.close()


def flags(sniffer):
    """Those of the segments that have come."""
    sniffer.setblocking(False)
    seen = []
    with contextlib.suppress(BlockingIOError):
        while True:
            frame = Ether(sniffer.recv(2000))
            if TCP in frame:
                seen.append(str(frame[TCP].flags))
    return seen


def test_a_program_that_dies_is_reported_with_its_last_words():
    taken = (Service("web", 8080), Service("file-server", 8080))
    before = links()
    with (
        pytest.raises(ProgramEnded, match=r":8080 on files ended with status 1: .*8080"),
        Network(topology(runs=taken)),
    ):
        pass
    assert links() == before


def test_a_command_that_hangs_is_killed_with_its_children():
    with Network(topology()) as net:
        with pytest.raises(DeadlinePassed, match=r"timed out after 0\.2 s waiting for alice"):
            net["alice"].run(["sh", "-c", "sleep 1000 & wait"], timeout=0.2)
        wait_until(
            lambda: not [pid for pid in processes() if b"sleep\x001000" in command(pid)],
            "the end of its child",
        )


def command(pid):
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def test_what_a_program_prints_is_kept_within_bounds_and_never_stops_it():
    with Network(topology()) as net:
        done = net["alice"].run(["sh", "-c", "yes | head -c 50000000; echo end >&2"], timeout=20)
        assert done.status == 0
        assert done.stdout.startswith("y\ny\n")
        assert f"\n[cut here: {50_000_000 - (1 << 20)} bytes]\n" in done.stdout
        assert len(done.stdout) < (1 << 20) + 100
        assert done.stderr == "end\n"


# The default size of the neighbor table, which all labs of a machine share.
ENTRIES, LABS_AT_ONCE = 1024, 100


def learned(net):
    """The entries that count: all but the permanent ones, of all nodes and the sandbox itself."""
    entries = []
    for entry in ([], *(node.entry for node in net)):
        command = [*entry, "ip", "-json", "neigh", "show", "nud", "all"]
        shown = subprocess.run(command, capture_output=True, text=True, check=True)
        entries += [e for e in json.loads(shown.stdout) if "PERMANENT" not in e["state"]]
    return [(entry["dst"], *entry["state"]) for entry in entries]


def test_a_hundred_labs_fit_into_the_neighbor_table():
    """What has spoken to everyone that there is, and to someone who is not there."""
    with Network(topology(engine=Engine.PYTHON)) as net:
        for pc in ("alice", "bob"):
            for target in ("198.51.100.10", "198.51.100.11", "24.9.3.7", "127.0.0.1"):
                assert net[pc].run(["ping", "-c1", "-W2", target]).status == 0
            assert net[pc].run(["ping", "-c1", "-W2", "10.0.0.77"]).status == 1
        assert net["files"].run(["ping", "-c1", "-W2", "198.51.100.11"]).status == 0
        found = learned(net)
        # No more than these: where another test fills the table, the kernel takes some away.
        assert {entry[0] for entry in found} <= {"10.0.0.1", "10.0.0.77", "192.0.2.1"}
        assert 0 < len(found) * LABS_AT_ONCE <= ENTRIES


@pytest.mark.parametrize(
    ("node", "nobody"), [("alice", "10.0.0.77"), ("napt_a", "10.0.0.77"), ("internet", "24.9.3.99")]
)
def test_an_address_without_a_host_is_asked_for_and_not_answered(node, nobody):
    with Network(topology()) as net, Wire(net) as wire:
        assert net[node].run(["ping", "-c1", "-W2", nobody]).status == 1
        seen = [c.packet for p in wire.places if p.startswith(f"{node}:") for c in wire.packets(p)]
        assert {p.destination for p in seen if p.arp == "who-has"} == {nobody}
        assert not [p for p in seen if p.arp == "is-at"]


def test_a_first_packet_goes_to_its_host_alone():
    """A bridge sends what it has not learned to all: it knows who is where from the start."""
    with Network(topology()) as net, Wire(net) as wire:
        net["internet"].run(["ping", "-c1", "-W2", "198.51.100.11"])
        assert wire.packets("relay:eth0")
        assert wire.packets("files:eth0") == []


@pytest.fixture
def overflowing(monkeypatch):
    """Every look at the neighbor table finds that it has refused one more entry."""
    real, refused = neighbor_table.read, iter(range(1000))
    monkeypatch.setattr(neighbor_table, "read", lambda: replace(real(), overflows=next(refused)))


def test_a_network_on_a_machine_at_its_limit_ends_with_an_error(overflowing):
    with (
        pytest.raises(
            LimitReached, match="neighbor table: refused 1 entries during the run"
        ) as raised,
        Network(topology()) as net,
    ):
        assert net["alice"].run(["ping", "-c1", "-W2", "24.9.3.7"]).status == 0
    (note,) = raised.value.__notes__  # for pytest
    assert note.startswith("fix: ")
    assert links() == ["lo"]


def test_an_expectation_that_fails_on_such_a_machine_is_an_error_and_the_status_3(
    overflowing, tmp_path, capsys
):
    file = tmp_path / "wrong.yaml"
    text = (TOPOLOGIES / "one-site.yaml").read_text().partition("expect:")[0]
    file.write_text(text + "expect: [pc cannot reach stackoverflow:80]\n")
    reports = Reports(None, str(tmp_path / "check.json"))
    assert run_check([load(file)], reports) == 3
    told = capsys.readouterr()
    assert "error of this machine: neighbor table: refused" in told.out
    assert "sysctl -w net.ipv4.neigh.default.gc_thresh3=" in told.err
    assert '"passed": true' not in (tmp_path / "check.json").read_text()


def test_a_lab_on_such_a_machine_is_no_pass(overflowing, tmp_path):
    stream, results, lab = Stream(), Results(tmp_path), LABS["9a"].lab()
    stream.listen(results)
    run = Play(lab, lab.parts, stream, tmp_path, None)
    assert not run.run()
    assert isinstance(run.unbuilt, LimitReached)
    assert not results.passed


def test_words_are_not_shell():
    with Network(topology()) as net:
        said = net["alice"].run(["echo", "$HOME; ls `id` > x"])
        assert said.stdout == "$HOME; ls `id` > x\n"


def test_mininets_own_shell_starts_when_it_is_used():
    with Network(topology()) as net:
        assert "10.0.0.7" in net.mininet["alice"].cmd("hostname -I")
        assert net["alice"].run(["true"]).status == 0


def test_packets_are_as_on_a_wire():
    """No segment above the MTU, and every checksum right: offload is off."""
    with Network(topology()) as net, Wire(net) as wire:
        (net["files"].home / "big").write_bytes(bytes(200_000))
        net["files"].start(["python", "-m", "http.server", "8000"])
        until_open(net["relay"], "198.51.100.10", 8000)
        fetched = net["alice"].run(["curl", "-sS", "-o", "big", "http://198.51.100.10:8000/big"])
        assert fetched.status == 0
        seen = [c for place in wire.places for c in wire.packets(place, lambda p: p.flags != 0)]
        assert max(captured.length for captured in seen) == 1514
        whole = [c for c in seen if c.length == len(c.data)]
        assert len(whole) > 100
        for captured in whole:
            ours = Ether(captured.data)
            again = Ether(captured.data)
            del again[IP].chksum, again[TCP].chksum
            assert bytes(again) == bytes(ours)


def test_a_quiet_network_is_quiet():
    with Network(topology()) as net, Wire(net) as wire:
        net["alice"].run(["ping", "-c1", "24.9.3.7"])  # its own NAPT
        seen = {c.where.split(":")[0] for place in wire.places for c in wire.packets(place)}
        assert seen == {"alice", "napt_a"}


def test_a_capture_with_a_gap_is_no_evidence(monkeypatch):
    monkeypatch.setattr("napt_lab.labs.capture.wire.FRAMES", 128)
    with Network(topology()) as net, Wire(net) as wire:
        net["alice"].run(["ping", "-c1", "24.9.3.7"])
        assert wire.packets("alice:eth0")
        with wire._changed:  # the reader of the rings stands still
            net["alice"].run(["ping", "-q", "-f", "-c", "500", "24.9.3.7"])
        with pytest.raises(CaptureIncomplete, match=r"alice:eth0 lost \d+ packets"):
            wire.packets("alice:eth0")
        assert wire.packets("bob:eth0") == []


def test_two_sites_are_up_in_no_time():
    """In processor seconds, with its end: it takes some 0.3, and on a busy machine more."""
    before = os.times()
    with Network(topology()):
        pass
    assert sum(os.times()[:4]) - sum(before[:4]) < 2


@pytest.mark.parametrize("left", [0, 8])
@pytest.mark.parametrize("watch", [Wire, lambda net: contextlib.closing(Why(net))])
def test_without_files_for_those_who_watch_it_is_the_machines_error(watch, left):
    def run():
        with Network(topology()) as net:
            most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
            resource.setrlimit(resource.RLIMIT_NOFILE, (open_files() - 1 + left, most))
            with watch(net):
                pass

    with pytest.raises(LimitReached, match="open files of one process"):
        run()
