"""The pytest plugin: networks that tests share, and what a failure shows of its network."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.network import their_project

SHARED = """
import pytest

HOME = '''
internet: {server: 151.101.1.69}
sites:
  home:
    gateway: {kind: napt, public: 24.9.3.7, private: 10.0.0.1/24}
    hosts: {pc: 10.0.0.7}
'''

def note(word):
    with open("log", "a") as log: log.write(word + " ")

@pytest.fixture(scope="SCOPE")
def net(napt_lab_SCOPE):
    net = napt_lab_SCOPE(HOME)
    note("up")
    yield net
    note("down")

def passes(net):
    return net["pc"].run(["ping", "-c1", "-W2", "151.101.1.69"]).status == 0

"""
ONE = """
import os
from conftest import note, passes

def test_first(net):
    net.seen = os.getpid()
    assert passes(net)
    note("first")

def test_between():
    note("between")

def test_second(net):
    assert net.seen == os.getpid()
    assert net.napt("napt_home").rules()
    assert net.napt("napt_home").flush() == 1
    note("second")
"""
MORE = """
import os, pytest
from conftest import HOME, note, passes

def test_leaves(net):
    note("leaves")
    os._exit(3)

def test_after(net):
    assert passes(net)
    note("after")

@pytest.mark.napt_lab(timeout=1)
def test_hangs(net):
    import time; time.sleep(60)

def test_own(napt_lab):
    assert passes(napt_lab(HOME))
    note("own")

def test_two(net, napt_lab):
    napt_lab(HOME)

def test_last(): note("last")
"""
EXPECTED = {
    "module": "up first between second down up leaves up after own up last down",
    "session": "up first between second leaves up after own up last down",
}


@pytest.mark.parametrize("scope", EXPECTED)
def test_tests_share_a_network(scope, tmp_path):
    shared = SHARED.replace("SCOPE", scope)
    files = {"conftest.py": shared, "test_one.py": ONE, "test_two.py": MORE}
    their_project.write(tmp_path, files)
    done = their_project.run(tmp_path)
    assert (tmp_path / "log").read_text().split() == EXPECTED[scope].split(), done.stdout
    assert their_project.counts(done) == "3 failed, 6 passed", done.stdout
    for words in (
        "test_leaves _\n", "ended early, with status 3", "test_hangs: not done after 1 s",
        "a sandbox has one network, and topology.yaml is already built",
    ):  # fmt: skip
        assert re.sub("_+", "_", words) in re.sub("_+", "_", done.stdout), done.stdout


ENDS = """
import pytest

@pytest.fixture(scope="session")
def last(net):
    yield
    raise RuntimeError("at the end")

def test_fails(net, last): assert 0
def test_never(): open("never", "w")
"""


@pytest.mark.parametrize("more", [("-x",), ()])
def test_the_end_of_a_session_ends_its_network(more, tmp_path):
    shared = SHARED.replace("SCOPE", "session")
    their_project.write(tmp_path, {"conftest.py": shared, "test_two.py": ENDS})
    done = their_project.run(tmp_path, *more)
    assert their_project.counts(done).startswith("1 failed"), done.stdout
    assert "1 error" in their_project.counts(done), done.stdout
    assert "RuntimeError: at the end" in done.stdout
    assert (tmp_path / "never").exists() is (not more)


FAILS = """
import os, pytest, sys
CRASHES = "import sys; print('listening'); print('so long', file=sys.stderr); sys.exit(4)"

def start(net):
    server = net["files"].start([sys.executable, "-c", CRASHES])
    server.ends_within(20)
    assert net["alice"].run(["sh", "-c", "exit 9"]).status == 9
    assert net["alice"].run(["ping", "-c1", "198.51.100.10"]).status == 0

def test_fails(napt_lab):
    start(napt_lab("two-sites"))
    assert 0

@pytest.mark.napt_lab(capture=False)
def test_without_capture(napt_lab):
    start(napt_lab("two-sites"))
    assert 0

def test_passes(napt_lab):
    start(napt_lab("two-sites"))

@pytest.mark.napt_lab(capture=False)
def test_loses_its_napt(napt_lab):
    net = napt_lab("two-sites")
    napt = net["napt_a"].processes[0]
    os.killpg(napt.pid, 9)
    napt.ends_within(20)
"""


def test_a_failure_shows_what_has_fallen_and_keeps_the_packets(tmp_path):
    their_project.write(tmp_path, {"test_three.py": FAILS})
    done = their_project.run(tmp_path)
    assert their_project.counts(done) == "2 failed, 2 passed, 1 error", done.stdout
    lost = "nat_node on napt_a ended with status -9: its stderr is empty"
    assert f"{lost}; so what this test has seen proves nothing" in done.stdout
    assert "builder.py" not in done.stdout  # our own lines explain nothing
    assert done.stdout.count("ended with status 4: listening\nso long") == 2, done.stdout
    assert "status 9" not in done.stdout
    (kept,) = re.findall(
        r"^- Packets of the network -\n(.+)$", re.sub("-+", "-", done.stdout), re.M
    )
    (file,) = tmp_path.rglob("*.pcapng")
    assert Path(kept).name == file.name == "test_three.py_test_fails.pcapng"
    assert b"alice:eth0" in file.read_bytes()
