"""The pytest plugin: what a test says in its sandbox is heard as if it ran in pytest's process."""

from __future__ import annotations

import re

import pytest

from tests.network import their_project

# Run twice: with the fixture, in a sandbox for each test, and without it.
SAYS = """
import logging, os, sys, threading, unittest, warnings
import pytest

MARK

def test_whose_subtest_fails(subtests):
    for number in range(3):
        with subtests.test(msg=str(number)):
            assert number != 1

def test_whose_subtests_pass(subtests):
    with subtests.test("fine"):
        pass

class TestCase(unittest.TestCase):
    def test_whose_subtest_fails(self):
        for number in range(3):
            with self.subTest(str(number)):
                self.assertNotEqual(number, 1)

    @unittest.skip("not today")
    def test_skipped(self):
        pass

    @unittest.expectedFailure
    def test_expected_failure(self):
        self.fail()

class Own(UserWarning):
    pass

def test_warnings():
    warnings.warn("be careful", Own)
    warnings.warn("it is old", DeprecationWarning)

def test_thread():
    thread = threading.Thread(target=lambda: 1 / 0, name="divider")
    thread.start()
    thread.join()

def test_unraisable():
    class Noisy:
        def __del__(self):
            raise ValueError("in __del__")
    noisy = Noisy()
    del noisy

def test_properties(record_property, record_testsuite_property, record_xml_attribute):
    record_property("number", 1)
    record_testsuite_property("machine", "here")
    record_xml_attribute("requirement", "REQ-1")

def test_output():
    print("to stdout")
    print("to stderr", file=sys.stderr)
    logging.warning("to the log")
    os.system("echo of a child")
    assert 0

@pytest.fixture
def bad_teardown():
    yield
    raise RuntimeError("at teardown")

def test_bad_teardown(bad_teardown):
    pass

@pytest.fixture
def bad_setup():
    raise RuntimeError("at set-up")

def test_bad_setup(bad_setup):
    pass

@pytest.mark.parametrize("number", [1, 2, 3])
def test_parameters(number):
    assert number != 2

@pytest.mark.skip(reason="marked")
def test_skip():
    pass

def test_skip_inside():
    pytest.skip("inside")

@pytest.mark.xfail(reason="known")
def test_xfail():
    assert 0

@pytest.mark.xfail(reason="known", strict=True)
def test_xpass_strict():
    pass

@pytest.mark.xfail(reason="known")
def test_xpass():
    pass

def test_system_exit():
    sys.exit(0)
"""
PLACES = {"sandbox": "pytestmark = pytest.mark.usefixtures('napt_lab')", "process": ""}


def without_what_varies(text):
    """Text without times, addresses and numbers of lines and folders, or empty lines.

    Pytest prints letters of subtests into the captured output of the test, and a heading above
    them; those of a sandbox are seen as those of other tests are.
    """
    text = re.sub(r' time="[\d.]+"| timestamp="[^"]*"', "", text)
    text = re.sub(r"0x[0-9a-f]+|\b[\d.]+s\b|pytest-\d+|line \d+|:\d+:", "#", text)
    letters = (
        r"test_theirs\.py [a-zA-Z.,]+ .*",
        "[u,]+",
        "-+ Captured stdout call -+",
        "_+ .* _+",
        "",
    )
    return {line for line in text.split("\n") if not re.fullmatch("|".join(letters), line)}


def test_all_that_a_test_says_is_heard(tmp_path):
    heard, lines = {}, {}
    for place, mark in PLACES.items():
        their_project.write(tmp_path, {"test_theirs.py": SAYS.replace("MARK", mark)})
        more = ("-rA", "--junitxml=junit.xml", "-o", "junit_family=xunit1")
        done = heard[place] = their_project.run(tmp_path, *more)
        done.stdout += (tmp_path / "junit.xml").read_text(encoding="utf-8")
        lines[place] = without_what_varies(done.stdout)
    there, here = heard["sandbox"], heard["process"]
    assert lines["sandbox"] == lines["process"]
    assert there.returncode == here.returncode == 1
    tests = {f"test_theirs.py::{each}test_whose_subtest_fails" for each in ("", "TestCase::")}
    assert their_project.failed_subtests(there) == {(test, "1") for test in tests}
    for part in (
        "Own: be careful", "DeprecationWarning: it is old",
        "PytestUnhandledThreadExceptionWarning: Exception in thread divider",
        "PytestUnraisableExceptionWarning: Exception ignored in: ",
        '<property name="machine" value="here" />', '<property name="number" value="1" />',
        'requirement="REQ-1"', "of a child", "FAILED test_theirs.py::test_system_exit",
        "ERROR test_theirs.py::test_bad_teardown - RuntimeError: at teardown",
    ):  # fmt: skip
        assert part in there.stdout, part


ENDS = {
    "exit": ("def test_end(): pytest.exit('enough', 9)", (), 9, "Exit: enough"),
    "interrupt": ("def test_end(): raise KeyboardInterrupt", (), 2, "! KeyboardInterrupt !"),
    "stop": (
        "def test_end(request): request.session.shouldstop = 'no more'", (), 2,
        "Interrupted: no more",
    ),
    "first failure": ("def test_end(): assert 0", ("-x",), 1, "stopping after 1 failures"),
    "subtest": (
        "def test_end(subtests):\n with subtests.test('one'): assert 0\n print('went on')",
        ("-x",), 1, "stopping after",
    ),
    "capture of the mark": (
        "@pytest.mark.napt_lab(capture='no')\ndef test_end(): pass", ("-x",), 1,
        "napt_lab(capture='no') is not valid",
    ),
    "timeout of the mark": (
        "@pytest.mark.napt_lab(timeout=0)\ndef test_end(): pass", ("-x",), 1,
        "napt_lab(timeout=0) is not valid: write napt_lab(timeout=SECONDS, capture=True or False)",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("test", "arguments", "status", "words"), ENDS.values(), ids=ENDS)
def test_the_session_ends_where_the_test_ends_it(test, arguments, status, words, tmp_path):
    fixture = "@pytest.fixture(autouse=True)\ndef left():\n yield\n open('torn-down', 'a')\n"
    before, after = "def test_before(): pass\n", "\ndef test_after(): open('after', 'w')\n"
    mark = f"import pytest\n{PLACES['sandbox']}\n"
    their_project.write(tmp_path, {"test_theirs.py": mark + fixture + before + test + after})
    done = their_project.run(tmp_path, *arguments)
    assert done.returncode == status, done.stdout + done.stderr
    assert words in done.stdout
    assert (tmp_path / "torn-down").exists()
    assert "went on" not in done.stdout
    assert not (tmp_path / "after").exists()


DIES = """
import ctypes, os, pytest, signal
pytestmark = pytest.mark.usefixtures("napt_lab")

def test_leaves(): os._exit(0)
def test_crashes(): ctypes.string_at(0)
@pytest.mark.xfail
def test_is_killed(): os.kill(os.getpid(), signal.SIGKILL)
def test_says_what_cannot_be_said(record_property): record_property("what", lambda: None)
def test_closes_all_files(): os.closerange(3, 256)
def test_ends_badly():
    end = os._exit
    os._exit = lambda status: end(7)  # after its last report
def test_control(): pass
"""


def test_a_test_that_is_not_heard_to_the_end_is_an_error(tmp_path):
    their_project.write(tmp_path, {"test_theirs.py": DIES})
    done = their_project.run(tmp_path)
    assert their_project.counts(done) == "5 failed, 2 passed, 1 error", done.stdout + done.stderr
    for words in (
        "ended early, with status 0", "signal 11", "signal 9", "cannot be pickled",
        "the test's process ended with status 7 after its last report",
    ):  # fmt: skip
        assert words in done.stdout


FORKS = """
import os, pytest
pytestmark = pytest.mark.usefixtures("napt_lab")

def end_of(child):
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

@pytest.fixture
def resource():
    yield
    with open("log", "a") as log: log.write("down ")

def test_child_returns(resource):
    if not (child := os.fork()): return
    assert end_of(child) == 0
    assert False, "the parent fails"

def test_child_returns_from_an_exception():
    if not (child := os.fork()):
        try: raise RuntimeError
        finally: return
    assert end_of(child) == 0
    assert False, "the parent fails"

def test_child_fails():
    if not (child := os.fork()): assert False, "the child fails"
    assert end_of(child) == 1
    assert False, "the parent fails"

@pytest.mark.parametrize("code, status", [(None, 0), (3, 3), ("words", 1)])
def test_child_exits(code, status):
    if not (child := os.fork()): raise SystemExit(code)
    assert end_of(child) == status

@pytest.fixture
def forking():
    if child := os.fork(): assert end_of(child) == 0
    yield
    if child := os.fork(): assert end_of(child) == 0

def test_forks_in_a_fixture(forking):
    with open("log", "a") as log: log.write("once ")
"""


def test_only_the_process_of_the_test_reports_of_it(tmp_path):
    """A child that the test has forked returns into pytest before its parent's test is over."""
    their_project.write(tmp_path, {"test_theirs.py": FORKS})
    done = their_project.run(tmp_path)
    assert their_project.counts(done) == "3 failed, 4 passed", done.stdout + done.stderr
    assert len(re.findall("^E +AssertionError: the parent fails", done.stdout, re.M)) == 3
    assert "AssertionError: the child fails" in done.stdout.partition("Captured stderr call")[2]
    assert (tmp_path / "log").read_text(encoding="ascii") == "down once "


THREADS = """
import concurrent.futures, pytest, threading, time
pytestmark = [pytest.mark.usefixtures("napt_lab"), pytest.mark.napt_lab(timeout=5)]
over = threading.Event()

@pytest.fixture
def resource():
    yield
    over.set()

def wait_and_fail():
    over.wait()
    time.sleep(0.2)  # it outlives pytest's own last look
    1 / 0

def test_late(resource):
    threading.Thread(target=wait_and_fail, name="divider").start()

executor = concurrent.futures.ThreadPoolExecutor()

def test_executor():
    executor.submit(int).result()

def test_endless():
    threading.Thread(target=threading.Event().wait).start()
"""


def test_a_thread_that_outlives_the_test_is_heard(tmp_path):
    """Python waits for such threads where a program ends, and here the test's process ends."""
    their_project.write(tmp_path, {"test_theirs.py": THREADS})
    done = their_project.run(tmp_path)
    assert their_project.counts(done) == "3 passed, 1 warning, 1 error", done.stdout + done.stderr
    assert "PytestUnhandledThreadExceptionWarning: Exception in thread divider" in done.stdout
    assert "ERROR test_theirs.py::test_endless" in done.stdout
    assert "not done after 5 s" in done.stdout


SILENT = """
import pytest
@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item):
    if item.config.pluginmanager.hasplugin("napt_lab_sender"):
        return True  # some plugin has run the test, and says nothing of it
"""


def test_a_test_without_a_report_is_an_error(tmp_path):
    test = "import pytest\n@pytest.mark.usefixtures('napt_lab')\ndef test_silent(): pass\n"
    their_project.write(tmp_path, {"conftest.py": SILENT, "test_theirs.py": test})
    done = their_project.run(tmp_path)
    assert their_project.counts(done) == "1 failed", done.stdout + done.stderr
    assert "ended without a report of its setup" in done.stdout


SHARED = """
import pytest

def note(word):
    with open("log", "a") as log: log.write(word + " ")

@pytest.fixture(scope="session")
def resource():
    note("up")
    try:
        yield
    finally:  # also where its generator is closed
        note("down")

@pytest.fixture(scope="module", params=[1, 2])
def module(request):
    note(f"set{request.param}")
    yield
    note(f"end{request.param}")
    if request.param == 2: raise RuntimeError("module's end")

@pytest.fixture
def later(request): return request.getfixturevalue("resource")

def test_plain(resource, module): note("plain")
@pytest.mark.usefixtures("napt_lab")
def test_inside(resource, module): note("inside")
@pytest.mark.usefixtures("napt_lab")
def test_dynamic(later): note("dynamic")
def test_plain_again(resource): note("again")
@pytest.mark.usefixtures("napt_lab")
def test_last(resource): pass
"""


def test_each_process_tears_down_what_it_has_set_up(tmp_path):
    their_project.write(tmp_path, {"test_theirs.py": SHARED})
    done = their_project.run(tmp_path)
    expected = "up set1 plain inside end1 set2 plain inside dynamic again end2 down"
    assert (tmp_path / "log").read_text().split() == expected.split(), done.stdout
    assert their_project.counts(done) == "7 passed, 1 error"
    assert "RuntimeError: module's end" in done.stdout


HANGS = """
import asyncio, pytest, threading, time, unittest
pytestmark = [pytest.mark.usefixtures("napt_lab"), pytest.mark.napt_lab(timeout=1)]

def helper():
    time.sleep(60)

def test_function():
    helper()  # line 9

@pytest.fixture
def slow():
    time.sleep(60)  # line 13

def test_fixture(slow):
    pass

class TestCase(unittest.TestCase):
    def test_method(self):
        helper()  # line 20

@pytest.mark.asyncio
async def test_coroutine():  # line 23, after its decorator
    await asyncio.sleep(60)

@pytest.fixture
def slow_end():
    yield
    time.sleep(60)  # line 29

def test_teardown(slow_end):
    threading.Thread(target=time.sleep, args=[60], daemon=True).start()

def test_failed_before(slow_end):
    assert 0
"""


def test_a_hang_is_told_by_the_tests_own_line(tmp_path):
    their_project.write(tmp_path, {"test_theirs.py": HANGS})
    done = their_project.run(tmp_path)
    assert their_project.counts(done) == "5 failed, 1 passed, 2 errors", done.stdout
    told = re.findall(r"^_+ (.+) _+\n(.+: not done after 1 s)$", done.stdout, re.MULTILINE)
    place = "test_theirs.py:{}: in {}: not done after 1 s"
    assert dict(told) == {
        "test_function": place.format(9, "test_function"),
        "test_fixture": place.format(13, "slow"),
        "TestCase.test_method": place.format(20, "test_method"),
        "test_coroutine": place.format(22, "test_coroutine"),
        "ERROR at teardown of test_teardown": place.format(29, "slow_end"),
        "ERROR at teardown of test_failed_before": place.format(29, "slow_end"),
    }


def test_a_fixture_that_is_asked_for_too_late_says_so(tmp_path):
    late = "def test_late(request): request.getfixturevalue('napt_lab')('two-sites')\n"
    their_project.write(tmp_path, {"test_theirs.py": late})
    done = their_project.run(tmp_path)
    assert done.returncode == 1
    assert "request.getfixturevalue comes too late" in done.stdout
