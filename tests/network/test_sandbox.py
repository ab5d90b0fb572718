"""The sandbox from outside: what it hides, how it ends, and that it leaves nothing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

from napt_lab.topologies.sandbox import sandbox
from tests.network.sandbox_host import (
    BUILDING,
    BUILT,
    ROOT,
    WAITING,
    await_same,
    host,
    processes_of,
    start,
)

pytestmark = pytest.mark.network(timeout=60)


def test_the_probe_sees_what_is_left_behind(tmp_path):
    before = host()
    left = subprocess.Popen(["sleep", "1000"])
    subprocess.run(["ip", "link", "add", "left", "type", "bridge"], check=True)
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", str(tmp_path)], check=True)
    after = host()
    assert {key for key in before if before[key] != after[key]} >= {"processes", "links", "mounts"}
    left.kill()


def test_a_sandbox_hides_what_it_builds_and_leaves_nothing():
    before = host()
    lab = start(WAITING)
    assert lab.stdout.readline() == "built\n"
    during = host()
    del before["processes"], during["processes"]
    assert during == before
    lab.stdin.close()
    assert lab.wait(10) == 0
    before["processes"] = host()["processes"]
    assert len(processes_of(os.getpid())) == 1
    await_same(before)


@pytest.mark.parametrize("victim", [0, 1, 2], ids=["outer", "init", "work"])
def test_killing_one_process_ends_everything(victim):
    before = host()
    lab = start(WAITING)
    assert lab.stdout.readline() == "built\n"
    family = processes_of(lab.pid)
    assert len(family) == 6
    os.kill(family[victim], signal.SIGKILL)
    status = lab.wait(10)
    assert status == (-signal.SIGKILL if victim == 0 else 128 + signal.SIGKILL)
    await_same(before)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_to_the_outer_process_ends_the_work_in_order(number):
    before = host()
    lab = start(f"""{BUILDING}
try:
    {BUILT}
    sys.stdin.read()
finally:
    print('left in order', flush=True)
""")
    assert lab.stdout.readline() == "built\n"
    started = time.monotonic()
    lab.send_signal(number)
    status = lab.wait(10)
    assert time.monotonic() - started < sandbox.GRACE / 2
    assert lab.stdout.read() == "left in order\n"
    # Python turns SIGINT into an exception, and an exception nobody catches into this status.
    assert status == 128 + number
    await_same(before)


def test_work_that_will_not_leave_is_killed():
    before = host()
    lab = start(f"""{BUILDING}
import signal
signal.signal(signal.SIGTERM, lambda *_: None)
{BUILT}
while True:
    signal.pause()
""")
    assert lab.stdout.readline() == "built\n"
    lab.terminate()
    assert lab.wait(sandbox.GRACE + 5) == 128 + signal.SIGTERM  # which it does not heed
    await_same(before)


@pytest.mark.parametrize("status", [0, 1, 2, 3, 77])
def test_the_status_of_the_work_is_the_status_outside(status):
    lab = start(f"{BUILDING}\nsys.exit({status})")
    assert lab.wait(10) == status


def test_inside():
    shown = start("""
import os, socket, subprocess
from pathlib import Path
from napt_lab.topologies.sandbox import sandbox
sandbox.enter()
print(sandbox.inside(), os.getuid(), socket.gethostname())
print(sorted(os.listdir("/sys/class/net")), sorted(os.listdir("/run")))
socket.create_server(("127.0.0.1", 80)).close()
print(sum(entry.isdigit() for entry in os.listdir("/proc")))
""")
    output, errors = shown.communicate(timeout=10)
    assert errors == ""
    assert output.splitlines() == ["True 0 napt-lab", "['lo'] ['napt-lab']", "2"]


def test_settings_that_all_namespaces_share_cannot_be_changed():
    tried = start("""
from pathlib import Path
from napt_lab.topologies.sandbox import sandbox
sandbox.enter()
for name in ("fs/file-max", "kernel/panic", "vm/swappiness", "net/ipv4/ip_forward"):
    setting = Path("/proc/sys", name)
    try:
        setting.write_text(setting.read_text())
        print(name)
    except OSError:
        pass
""")
    assert tried.communicate(timeout=10)[0] == "net/ipv4/ip_forward\n"


def test_a_low_limit_of_open_files_is_raised_inside():
    raised = start("""
import resource
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 1_024))
from napt_lab.topologies.sandbox import sandbox
sandbox.enter()
print(resource.getrlimit(resource.RLIMIT_NOFILE))
""")
    assert raised.communicate(timeout=10)[0] == "(1024, 1024)\n"


def test_orphans_are_reaped():
    reaped = start("""
import subprocess
from pathlib import Path
from napt_lab.topologies.sandbox import sandbox
from tests.waiting import wait_until
sandbox.enter()
subprocess.run(["sh", "-c", "sleep 0 & echo $! > /run/napt-lab/orphan"], check=True)
orphan = Path("/proc", Path("/run/napt-lab/orphan").read_text().strip())
wait_until(lambda: not orphan.exists(), "the orphan's end", 5)
print(orphan.exists())
""")
    assert reaped.communicate(timeout=10)[0] == "False\n"


def test_sandboxes_side_by_side_do_not_notice_each_other():
    labs = [start(WAITING) for _ in range(4)]
    assert [lab.stdout.readline() for lab in labs] == ["built\n"] * 4
    for lab in labs:
        lab.stdin.close()
    assert [lab.wait(10) for lab in labs] == [0] * 4


def test_refusal_changes_nothing():
    """A user namespace may set limits for itself, and so imitate a kernel that refuses."""
    subprocess.run(["umount", "/proc/sys/user"], check=False, capture_output=True)
    program = """
import os
from pathlib import Path
from napt_lab.topologies.sandbox import sandbox
Path("/proc/sys/user/max_net_namespaces").write_text("0")
before = os.readlink("/proc/self/ns/mnt")
try:
    sandbox.enter()
except sandbox.SandboxError as error:
    print(error, before == os.readlink("/proc/self/ns/mnt"))
"""
    limited = ["unshare", "--user", "--map-root-user", sys.executable, "-c", program]
    asked = subprocess.run(limited, cwd=ROOT, capture_output=True, text=True, timeout=10)
    assert asked.stdout == "the kernel refuses new namespaces: No space left on device True\n"
