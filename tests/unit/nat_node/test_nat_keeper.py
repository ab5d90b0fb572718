"""Who starts the translator again: when, how often, and who ends with whom."""

import signal
import subprocess
import sys

import pytest

from tests.waiting import await_death

DEADLINE = 60.0  # far more than it takes: a busy machine must not fail a test
RUN = "import os, signal, sys, time\nfrom napt_lab.nat_node.persistence.keeper import keep\n"


@pytest.fixture
def start():
    """Start a keeper of `work`, which is given `alive`; its lines come on stdout."""
    started = []

    def start(work):
        program = f"{RUN}def work(alive):\n    os.write(1, b'%d\\n' % os.getpid())\n"
        program += f"    {work}\nsys.exit(keep(work))\n"
        process = subprocess.Popen(
            [sys.executable, "-c", program],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def ended(process):
    out, err = process.communicate(timeout=DEADLINE)
    return process.returncode, [line for line in out.splitlines() if line.isdigit()], err


@pytest.mark.parametrize("status", [0, 1])
def test_whoever_ends_by_himself_is_not_started_again(start, status):
    code, workers, err = ended(start(f"return {status}"))
    assert (code, len(workers), err) == (status, 1, "")


@pytest.mark.parametrize(
    ("death", "words"),
    [
        ("os.kill(os.getpid(), signal.SIGKILL)", "killed by SIGKILL"),
        ("os.kill(os.getpid(), signal.SIGSEGV)", "killed by SIGSEGV"),
        ("raise ZeroDivisionError('a bug')", "ended by an error"),
        ("sys.exit('a word')", "ended by an error"),
    ],
)
def test_whoever_dies_is_started_again_but_not_for_ever(start, death, words):
    code, workers, err = ended(start(death))
    assert (code, len(set(workers))) == (1, 5)
    assert err.count(f"nat_node: the translator was {words}; it is started again") == 4
    assert f"the translator was {words}, the 5th time within 60 s: it is not started" in err
    assert err.count("ZeroDivisionError: a bug") == (5 if "Zero" in death else 0)


def test_asked_to_end_the_keeper_asks_its_child(start):
    stop = "signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))"
    keeper = start(f"{stop}; os.write(1, b'ready\\n'); time.sleep(60)")
    assert keeper.stdout.readline().strip().isdigit()
    assert keeper.stdout.readline() == "ready\n"
    keeper.terminate()
    assert ended(keeper) == (0, [], "")


def test_asked_to_end_before_the_child_can_hear_it_is_no_failure(start):
    keeper = start("time.sleep(60)")
    assert keeper.stdout.readline().strip().isdigit()
    keeper.terminate()
    assert ended(keeper) == (0, [], "")


def test_a_child_learns_that_its_keeper_is_gone(start):
    """No signal says so: the end of a pipe does."""
    gone = "import select; select.select([alive], [], []); os.write(1, b'gone')"
    keeper = start(f"exec({gone!r}, globals() | {{'alive': alive}}); return 1")
    child = int(keeper.stdout.readline())
    keeper.send_signal(signal.SIGKILL)
    await_death(child)
    assert keeper.stdout.read() == "gone"
