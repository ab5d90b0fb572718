"""Lab 9b, played in silence, what it leaves behind, and how it looks at what a server keeps."""

from __future__ import annotations

import os
import sys

import pytest
from scapy.utils import RawPcapNgReader

from napt_lab.labs.level_9b.footprint import confine, footprint, open_files
from napt_lab.labs.level_9b.lab import LAB
from napt_lab.topologies.network.builder import Network
from napt_lab.topologies.spec.checkout import TOPOLOGIES
from napt_lab.topologies.spec.loader import load
from tests.network.lab_run import assert_all_hold, evidence, play

pytestmark = pytest.mark.network(timeout=60)

KEEPER = """
import json, mmap, os, subprocess, sys, tempfile
def tell(event): print(json.dumps({"event": event}), flush=True)
kept = bytes(10_000_000)
nameless = tempfile.TemporaryFile(dir=".")
nameless.write(kept)
open("named", "wb").write(kept[:1000])
mapped = os.open("/dev/shm/mapped", os.O_RDWR | os.O_CREAT)
os.ftruncate(mapped, 5_000_000)
with mmap.mmap(mapped, 5_000_000) as memory:
    memory[:] = bytes(5_000_000)
os.close(mapped)
child = "import time; kept = b'x' * 20_000_000; print(flush=True); time.sleep(60)"
child = subprocess.Popen([sys.executable, "-c", child], stdout=subprocess.PIPE)
child.stdout.readline()
tell("kept")
import time
time.sleep(60)
"""


def test_all_claims_hold(tmp_path):
    results, records = play(LAB, tmp_path)
    assert_all_hold(results, {"9b.relay", "9b.turn", "9b.nothing-held"})
    assert (results["lab"], results["topology"]) == ("9b", "two-sites-relay")
    assert "permission: 203.0.113.77 may use 198.51.100.11:" in evidence(results, "9b.turn")
    passed = [r["fields"] for r in records if r["event"] == "program" and r["name"] == "ended"]
    assert next(f["bytes_forth"] for f in passed if "bytes_forth" in f) == 1 << 18
    assert largest_frame(tmp_path / "capture-meeting.pcapng") == 1514
    assert largest_frame(tmp_path / "capture-held.pcapng") > 1514  # its links may carry more


def test_a_confined_node_writes_only_where_it_is_looked_for():
    with Network(load(TOPOLOGIES / "one-site.yaml")) as net:
        node, other = net["pc"], "/dev/pts"  # any folder: only the node sees what it mounts there
        assert node.run(["mount", "-t", "tmpfs", "-o", "nodev", "tmpfs", other]).status == 0
        assert node.run(["touch", f"{other}/file"]).status == 0
        confine(node)
        assert "Read-only" in node.run(["touch", f"{other}/file"]).stderr
        assert node.run(["touch", "/dev/shm/file", "file"]).status == 0


def largest_frame(capture):
    with RawPcapNgReader(str(capture)) as reader:
        return max(meta.wirelen for _, meta in reader)


def test_what_a_program_keeps_is_found():
    with Network(load(TOPOLOGIES / "one-site.yaml")) as net:
        node = net["pc"]
        before = footprint(node)
        keeper = node.start_program([sys.executable, "-c", KEEPER], name="keeper")
        keeper.wait_for("kept", deadline=10)
        look = footprint(node)
        assert look.folder == 1000
        # With nobody on the node yet nothing was looked at: the NAPT's own file is in it, too.
        assert 15_001_000 <= look.in_memory - before.in_memory < 15_200_000
        assert look.written >= 10_001_000
        assert look.most_resident >= look.resident - 4096 > 30_000_000
        (nameless,) = open_files(node)
        assert "deleted" in nameless
        assert look.came_in == 0


def test_what_a_program_only_passes_on_is_not_taken_for_kept():
    with Network(load(TOPOLOGIES / "one-site.yaml")) as net:
        node = net["pc"]
        idle = node.start_program([sys.executable, "-c", IDLE], name="idle")
        idle.wait_for("ready", deadline=10)
        look = footprint(node)
        assert (look.folder, open_files(node)) == (0, set())
        assert look.written < 1000
        assert os.sysconf("SC_PAGE_SIZE") <= look.resident < 100_000_000


IDLE = 'import json, time; print(json.dumps({"event": "ready"}), flush=True); time.sleep(60)'
