"""The pytest plugin beside the plugins that its users have."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.network import their_project

MARK = "import pytest\npytestmark = pytest.mark.usefixtures('napt_lab')\n"
COVERED = {
    "theirs.py": "def choose(it):\n    if it:\n        return 1\n    return 2\n",
    "test_theirs.py": f"""{MARK}
import theirs
def test_one(): assert theirs.choose(True) == 1
def test_two(): assert theirs.choose(False) == 2
""",
}


def run(folder, files, *arguments):
    their_project.write(folder, files)
    return their_project.run(folder, *arguments)


def test_timeout_ends_the_test_and_not_pytest(tmp_path):
    tests = f"""{MARK}
import time
@pytest.mark.timeout(1)
def test_signal(): time.sleep(60)
@pytest.mark.timeout(1, method="thread")
def test_thread(): time.sleep(60)
@pytest.mark.timeout(1, func_only=True)
def test_function(): time.sleep(60)
def test_control(): pass
"""
    done = run(tmp_path, {"test_theirs.py": tests})
    assert their_project.counts(done) == "3 failed, 1 passed", done.stdout + done.stderr
    assert done.stdout.count("Failed: Timeout (>1.0s) from pytest-timeout.") >= 2
    assert "INTERNALERROR" not in done.stdout


@pytest.mark.parametrize("more", [(), ("-n", "2"), ("--cov-context=test",)], ids=" ".join)
def test_cov_counts_what_was_run_in_the_sandbox(more, tmp_path):
    done = run(tmp_path, COVERED, "--cov=theirs", "--cov-branch", *more)
    assert done.returncode == 0, done.stdout + done.stderr
    (row,) = [line.split() for line in done.stdout.splitlines() if line.startswith("theirs.py")]
    assert row[1:] == ["4", "0", "2", "0", "100%"]
    assert [path.name for path in tmp_path.glob(".coverage*")] == [".coverage"]


def test_coverage_without_pytest_cov(tmp_path):
    their_project.write(tmp_path, COVERED)
    done = their_project.run(tmp_path, before=("-m", "coverage", "run", "--include=theirs.py"))
    assert done.returncode == 0, done.stdout + done.stderr
    report = [sys.executable, "-m", "coverage", "report", "--fail-under=100"]
    shown = subprocess.run(report, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert shown.returncode == 0, shown.stdout + shown.stderr


FLAKY = """
from pathlib import Path
import pytest
COUNT = Path("count")

def test_flaky(napt_lab):
    alice = napt_lab("two-sites")["alice"]
    assert not (alice.home / "left").exists()
    (alice.home / "left").touch()
    count = len(COUNT.read_text()) if COUNT.exists() else 0
    COUNT.write_text("x" * (count + 1))
    assert count == 2
"""


@pytest.mark.parametrize(
    ("more", "status"),
    [(("--reruns=2",), 0), (("--reruns=1",), 1), (("--reruns=2", "-n1"), 0),
     (("--reruns=2", "--fail-on-flaky"), 7)],
    ids=str,
)  # fmt: skip
def test_rerunfailures_runs_a_test_again(more, status, tmp_path):
    done = run(tmp_path, {"test_theirs.py": FLAKY}, *more)
    assert done.returncode == status, done.stdout + done.stderr
    expected = "1 failed, 1 rerun" if status == 1 else "1 passed, 2 rerun"
    assert their_project.counts(done) == expected


def test_asyncio(tmp_path):
    tests = f"""{MARK}
import asyncio, pytest_asyncio
@pytest_asyncio.fixture
async def ready():
    await asyncio.sleep(0)
    yield "ready"
@pytest.mark.asyncio
async def test_awaits(ready):
    assert ready == "ready"
@pytest.mark.asyncio
async def test_fails():
    await asyncio.sleep(0)
    assert 0
@pytest.mark.asyncio
async def test_forgets():
    asyncio.get_running_loop().create_future().set_exception(ValueError("forgotten"))
"""
    done = run(tmp_path, {"test_theirs.py": tests})
    assert their_project.counts(done) == "1 failed, 2 passed", done.stdout + done.stderr


def test_hypothesis_with_its_statistics(tmp_path):
    tests = f"""{MARK}
from hypothesis import given, strategies
@given(strategies.integers())
def test_small(number): assert number < 1000
@given(strategies.booleans())
def test_all(it): pass
"""
    options = ("-p", "hypothesispytest", "--hypothesis-show-statistics")
    done = run(tmp_path, {"test_theirs.py": tests}, *options)
    assert their_project.counts(done) == "1 failed, 1 passed", done.stdout + done.stderr
    assert "number=1000" in done.stdout.replace("n=1000", "number=1000")
    assert "test_theirs.py::test_all:" in done.stdout


def test_xdist_and_importlib_with_subtests_and_warnings(tmp_path):
    tests = f"""{MARK}
import warnings
@pytest.mark.parametrize("number", range(4))
def test_both(subtests, number):
    warnings.warn("careful")
    with subtests.test(msg="odd"):
        assert number != 3
"""
    done = run(tmp_path, {"test_theirs.py": tests}, "-n2", "--import-mode=importlib", "-rA")
    assert done.returncode == 1, done.stdout + done.stderr
    assert their_project.failed_subtests(done) == {("test_theirs.py::test_both[3]", "odd")}
    assert done.stdout.count("UserWarning: careful") == 1  # one place, for four tests
    assert "4 warnings" in their_project.counts(done)


def test_a_test_case_of_unittest_with_a_network(tmp_path):
    tests = """
import unittest, pytest
class TestTheirs(unittest.TestCase):
    @classmethod
    def setUpClass(cls): cls.ready = True
    @pytest.fixture(autouse=True)
    def network(self, napt_lab): self.net = napt_lab("two-sites")
    def test_reaches(self):
        assert self.ready
        for host in ("198.51.100.10", "10.0.0.99"):
            with self.subTest(host):
                done = self.net["alice"].run(["ping", "-c", "1", "-W", "1", host])
                self.assertEqual(done.status, 0)
"""
    done = run(tmp_path, {"test_theirs.py": tests}, "-rA")
    assert done.returncode == 1, done.stdout + done.stderr
    test = "test_theirs.py::TestTheirs::test_reaches"
    assert their_project.failed_subtests(done) == {(test, "10.0.0.99")}


CHILDREN = """
import multiprocessing, os, pytest, time

def serve(): time.sleep(1000)

@pytest.fixture(scope="session")
def server():
    process = multiprocessing.Process(target=serve, daemon=True)  # ends with pytest's process
    process.start()
    yield process

def test_net(napt_lab): napt_lab("two-sites")

def test_has_no_children_but_its_own():
    if not os.fork(): os._exit(0)
    os.wait()
    with pytest.raises(ChildProcessError): os.wait()

def test_one_that_lives_longer_than_its_tests(server): assert server.is_alive()
"""


def test_pytest_has_no_children_of_ours_and_waits_for_none(tmp_path):
    done = run(tmp_path, {"test_theirs.py": CHILDREN})
    assert their_project.counts(done) == "3 passed", done.stdout + done.stderr


NESTED = f"""
import pytest

@pytest.fixture(scope="module")
def net(napt_lab_module): return napt_lab_module("two-sites")

def test_before(net): assert net["alice"].run(["true"]).status == 0

def test_one_pytest_in_another(pytester):
    pytester.makepyfile("def test_net(napt_lab): napt_lab('two-sites')")
    pytester.makeini("[pytest]\\nasyncio_default_fixture_loop_scope = function")
    done = pytester.runpytest_inprocess("-p", "no:cacheprovider", *{their_project.LOADED})
    done.assert_outcomes(passed=1)

def test_after(net): assert net["alice"].run(["true"]).status == 0
"""


def test_a_pytest_within_takes_nothing_from_the_one_outside(tmp_path):
    done = run(tmp_path, {"test_theirs.py": NESTED}, "-p", "pytester")
    assert their_project.counts(done) == "3 passed", done.stdout + done.stderr
