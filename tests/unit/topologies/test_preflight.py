"""Preflight names the cause and the command that fixes it, on machines that lack things.

Most machines here are imagined, by replacing the ways in which a check looks. The last tests are
real: a closed TUN device, a PATH without mnexec, a user who may make no namespaces.
"""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from napt_lab.topologies.sandbox import preflight, sandbox
from napt_lab.topologies.sandbox.finding import Finding
from napt_lab.topologies.sandbox.machine import Machine, Trial
from napt_lab.topologies.sandbox.neighbor_table import NeighborTable
from napt_lab.topologies.sandbox.trial import NEIGHBOR, NODE, TUN

ROOT = Path(__file__).parents[3]
SETTINGS = "/proc/sys/"


def files(**contents: str) -> Callable[[str], str]:
    """A file system with only these: whole paths, or sysctls with `__` for a slash."""
    known = {
        name if name.startswith("/") else SETTINGS + name.replace("__", "/"): text
        for name, text in contents.items()
    }
    known.setdefault(SETTINGS + "kernel/osrelease", "6.1.0-18-amd64\n")

    def read(path: str) -> str:
        if path not in known:
            raise FileNotFoundError(errno.ENOENT, "No such file or directory", path)
        return known[path]

    return read


def refuse_tun(number: int) -> Callable[[], None]:
    def open_tun() -> None:
        raise OSError(number, os.strerror(number), TUN)

    return open_tun


HEALTHY = Machine(
    system="Linux",
    uid=1000,
    read=files(),
    exists=lambda path: False,
    open_tun=lambda: None,
    which=lambda program: f"/usr/bin/{program}",
    sees_mininet=lambda: True,
    open_files=lambda: (1024, 1048576),
    neighbors=lambda: NeighborTable(entries=12, limit=1024, overflows=0),
    attempt=Trial,
    job=False,
)


def only_problem(machine: Machine) -> Finding:
    (bad,) = [finding for finding in preflight.examine(machine) if not finding.ok]
    return bad


def test_a_healthy_machine_has_no_problem():
    findings = preflight.examine(HEALTHY)
    assert all(finding.ok for finding in findings)
    assert {f.name for f in findings} >= {"Linux", TUN, "mnexec", "namespaces", "open files"}


def test_a_machine_is_healthy_as_root_too():
    assert all(finding.ok for finding in preflight.examine(replace(HEALTHY, uid=0)))


@pytest.mark.parametrize(
    ("name", "value", "cause", "fix"),
    [
        ("user__max_user_namespaces", "0", "max_user_namespaces is 0",
         "sudo sysctl -w user.max_user_namespaces=15000"),
        ("user__max_pid_namespaces", "0", "max_pid_namespaces is 0",
         "sudo sysctl -w user.max_pid_namespaces=15000"),
        ("kernel__unprivileged_userns_clone", "0", "only root",
         "sudo sysctl -w kernel.unprivileged_userns_clone=1"),
        ("kernel__apparmor_restrict_unprivileged_userns", "1", "AppArmor",
         "sudo sysctl -w kernel.apparmor_restrict_unprivileged_userns=0"),
    ],
)  # fmt: skip
def test_settings_that_forbid_namespaces(name, value, cause, fix):
    refused = Trial(no_sandbox="the kernel refuses a user namespace: Operation not permitted")
    machine = replace(HEALTHY, read=files(**{name: value + "\n"}), attempt=lambda: refused)
    problem = only_problem(machine)
    assert problem.name == "namespaces"
    assert cause in problem.cause
    assert problem.fix == fix


@pytest.mark.parametrize("kind", ["net", "mnt"])
def test_too_few_namespaces_for_the_nodes(kind):
    name = f"user__max_{kind}_namespaces"
    problem = only_problem(replace(HEALTHY, read=files(**{name: "4\n"})))
    assert problem.name == f"user.max_{kind}_namespaces"
    assert problem.fix == f"sudo sysctl -w user.max_{kind}_namespaces=15000"
    enough = replace(HEALTHY, read=files(**{name: f"{preflight.FEWEST_NAMESPACES}\n"}))
    assert all(finding.ok for finding in preflight.examine(enough))


def test_a_setting_is_no_problem_where_the_sandbox_can_be_made_all_the_same():
    limited = files(kernel__apparmor_restrict_unprivileged_userns="1\n")
    assert all(finding.ok for finding in preflight.examine(replace(HEALTHY, read=limited)))


MOUNTS = "".join(
    f"1 1 0:1 / {place} rw - tmpfs tmpfs rw\n"
    for place in ("/", "/proc", "/proc/sys/fs/binfmt_misc", "/proc/fs")
)
NO_PROC = "the sandbox cannot be furnished: mount proc: Operation not permitted"
NO_NAMESPACE = "the kernel refuses a user namespace with namespaces in it: Operation not permitted"
NO_MAPPING = "root cannot be mapped in a user namespace: Operation not permitted"
DOCKER, PODMAN = "/.dockerenv", "/run/.containerenv"


def refusing(found: str, mark: str = "", uid: int = 1000, **shown: str) -> Machine:
    """A machine (a container, if it has its `mark`) that refuses, and shows these in /proc/self."""
    read = files()
    places = {"attr": "/proc/self/attr/current"}
    known = {places.get(name, f"/proc/self/{name}"): text for name, text in shown.items()}
    return replace(
        HEALTHY,
        uid=uid,
        read=lambda path: known[path] if path in known else read(path),
        exists=lambda path: path == mark,
        attempt=lambda: Trial(no_sandbox=found),
    )


def test_a_proc_with_hidden_parts():
    problem = only_problem(refusing(NO_PROC, mountinfo=MOUNTS))
    assert problem.cause.endswith(": /proc/fs")
    assert problem.fix == "sudo umount /proc/fs"


@pytest.mark.parametrize(
    ("machine", "causes", "options"),
    [
        (refusing(NO_PROC, DOCKER, mountinfo=MOUNTS), ["/proc/fs"],
         "--security-opt systempaths=unconfined -v /sys:/sys"),
        (refusing(NO_PROC, PODMAN, mountinfo=MOUNTS), ["/proc/fs"],
         "--security-opt unmask=ALL -v /sys:/sys"),
        (refusing(NO_NAMESPACE, DOCKER, status="Name:\tpython\nSeccomp:\t2\n"), ["seccomp filter"],
         "--security-opt seccomp=labs/setup/seccomp.json -v /sys:/sys"),
        (refusing(NO_NAMESPACE, DOCKER, status="Seccomp:\t2\n", mountinfo=MOUNTS,
                  attr="docker-default (enforce)\n"),
         ["seccomp filter", "AppArmor's docker-default", "/proc/fs"],
         "--security-opt seccomp=labs/setup/seccomp.json --security-opt apparmor=unconfined"
         " --security-opt systempaths=unconfined -v /sys:/sys"),
        (refusing(NO_MAPPING, PODMAN, 0, status="Seccomp:\t2\n", attr="unconfined\n"),
         ["root without capabilities"], "--user 1000:1000 -v /sys:/sys"),
        (refusing(NO_NAMESPACE, DOCKER, status="Seccomp:\t0\n"),
         ["lacks the right to make namespaces"], "--privileged"),
    ],
)  # fmt: skip
def test_a_container_is_told_all_that_it_lacks_at_once(machine, causes, options):
    problem = only_problem(machine)
    assert problem.fix == f"start the container with: {options}"
    for cause in causes:
        assert cause in problem.cause


def test_a_container_whose_nodes_get_no_sys():
    refused = Trial(refused={NODE: "mount: Operation not permitted"})
    machine = replace(HEALTHY, attempt=lambda: refused, exists=lambda path: path == DOCKER)
    assert only_problem(machine).fix == "start the container with: -v /sys:/sys"


def test_root_without_roots_rights():
    machine = replace(HEALTHY, uid=0, attempt=lambda: Trial(no_sandbox="refused"))
    assert "CAP_SYS_ADMIN" in only_problem(machine).cause


@pytest.mark.parametrize(
    ("number", "proc_misc", "container", "fix"),
    [
        (errno.EACCES, "", False, "sudo chmod 666 /dev/net/tun"),
        (errno.ENOENT, "", False, "sudo modprobe tun"),
        (errno.ENODEV, "", False, "sudo modprobe tun"),
        (errno.ENOENT, "200 tun\n", False,
         "sudo sh -c 'mkdir -p /dev/net && mknod -m 666 /dev/net/tun c 10 200'"),
        (errno.ENOENT, "200 tun\n", True, "start the container with: --device /dev/net/tun"),
        (errno.EACCES, "", True,
         "on the machine itself, outside of the container: sudo chmod 666 /dev/net/tun"),
    ],
)  # fmt: skip
def test_the_tun_device(number, proc_misc, container, fix):
    read = files()
    machine = replace(
        HEALTHY,
        open_tun=refuse_tun(number),
        exists=lambda path: container and path == "/.dockerenv",
        read=lambda path: proc_misc if path == "/proc/misc" else read(path),
    )
    problem = only_problem(machine)
    assert problem.name == TUN
    assert problem.fix == fix


@pytest.mark.parametrize("number", [errno.EACCES, errno.EPERM])
def test_a_tun_device_that_root_may_not_open_is_not_called_missing(number):
    problem = only_problem(replace(HEALTHY, uid=0, open_tun=refuse_tun(number)))
    assert "root of a user namespace only" in problem.cause
    assert "modprobe" not in problem.fix
    assert "mknod" not in problem.fix


def test_all_missing_programs_are_fixed_by_one_command():
    missing = {"mnexec", "nft", "curl"}
    machine = replace(HEALTHY, which=lambda p: None if p in missing else f"/usr/bin/{p}")
    bad = [finding for finding in preflight.examine(machine) if not finding.ok]
    assert {finding.name for finding in bad} == missing
    (fix,) = {finding.fix for finding in bad}
    assert fix == "sudo apt-get install --no-install-recommends curl mininet nftables"


def test_mininet_that_this_python_does_not_see():
    problem = only_problem(replace(HEALTHY, sees_mininet=lambda: False))
    assert sys.executable in problem.cause


def test_too_few_open_files():
    problem = only_problem(replace(HEALTHY, open_files=lambda: (256, 512)))
    assert problem.name == "open files"


def test_what_the_kernel_refuses_inside():
    refused = {"a veth pair": "RTNETLINK answers: Operation not supported"}
    problem = only_problem(replace(HEALTHY, attempt=lambda: Trial(refused=refused)))
    assert problem.fix == "sudo modprobe veth"
    assert "not supported" in problem.found


GIBIBYTE = 1 << 30


@pytest.mark.parametrize(
    ("there", "found"),
    [
        ({}, None),
        (
            {"/proc/meminfo": "MemTotal: 9 kB\nMemAvailable:  2097152 kB\n"},
            "about 20 side by side; memory would be the first limit",
        ),
        (
            {
                "/proc/meminfo": "MemAvailable: 2097152 kB\n",
                "/sys/fs/cgroup/memory.max": f"{GIBIBYTE}\n",
                "/sys/fs/cgroup/memory.current": f"{GIBIBYTE // 2}\n",
            },
            "about 5 side by side; memory would be the first limit",
        ),
        (
            {
                "/proc/meminfo": "MemAvailable: 2097152 kB\n",
                "/sys/fs/cgroup/pids.max": "100\n",
                "/sys/fs/cgroup/pids.current": "40\n",
                "/proc/sys/kernel/threads-max": "9000\n",
            },
            "about 2 side by side; processes would be the first limit",
        ),
        ({"/sys/fs/cgroup/memory.max": "max\n", "/sys/fs/cgroup/memory.current": "7\n"}, None),
    ],
)
def test_how_many_labs_have_room(there, found):
    machine = replace(HEALTHY, read=files(**there))
    shown = [f.found for f in preflight.examine(machine) if f.name == "room for labs"]
    assert shown == ([found] if found else [])


def test_no_room_for_one_lab():
    machine = replace(HEALTHY, read=files(**{"/proc/meminfo": "MemAvailable: 2048 kB\n"}))
    problem = only_problem(machine)
    assert problem.cause == "a lab needs 100 MiB and 26 processes"


def test_the_size_of_the_neighbor_table_is_shown():
    (shown,) = [f for f in preflight.examine(HEALTHY) if f.name == "neighbor table"]
    assert shown.found == (
        "12 entries, permanent ones included; at most 1024 may be learned; "
        "0 were refused since boot"
    )


@pytest.mark.parametrize(("limit", "enough"), [(1024, 8192), (8192, 16384)])
def test_a_full_neighbor_table(limit, enough):
    """Permanent entries do not count, so its size says nothing: only the trial does."""
    machine = replace(HEALTHY, neighbors=lambda: NeighborTable(limit + 900, limit, 7))
    assert all(finding.ok for finding in preflight.examine(machine))
    refused = Trial(refused={NEIGHBOR: "RTNETLINK answers: No buffer space available"})
    problem = only_problem(replace(machine, attempt=lambda: refused))
    assert problem.found == (
        f"{limit + 900} entries, permanent ones included; at most {limit} may be learned; "
        "7 were refused since boot"
    )
    assert problem.fix.endswith(f"sysctl -w net.ipv4.neigh.default.gc_thresh3={enough}")


@pytest.mark.parametrize(
    ("system", "release", "fix"),
    [
        ("Darwin", "", "run it on Linux"),
        ("Linux", "4.4.0-19041-Microsoft\n", "wsl.exe --set-version"),
    ],
)
def test_other_systems(system, release, fix):
    machine = replace(HEALTHY, system=system, read=files(kernel__osrelease=release))
    assert only_problem(machine).fix.startswith(fix)


def test_wsl_2_is_fine():
    read = files(kernel__osrelease="5.15.90.1-microsoft-standard-WSL2\n")
    machine = replace(HEALTHY, read=read)
    assert "WSL 2" in preflight.check_system(machine).found
    assert all(finding.ok for finding in preflight.examine(machine))


def test_an_old_kernel_of_wsl_is_fixed_by_a_new_one():
    read = files(kernel__osrelease="5.4.72-microsoft-standard-WSL2\n")
    refused = Trial(refused={"an nftables table": "Operation not supported"})
    problem = only_problem(replace(HEALTHY, read=read, attempt=lambda: refused))
    assert problem.fix == "sudo modprobe nf_tables || wsl.exe --update"


def test_on_a_runner_the_fix_is_a_step_of_the_workflow():
    command = "sudo sysctl -w kernel.apparmor_restrict_unprivileged_userns=0"
    machine = replace(
        HEALTHY,
        job=True,
        read=files(kernel__apparmor_restrict_unprivileged_userns="1\n"),
        attempt=lambda: Trial(no_sandbox=NO_PROC),
    )
    assert only_problem(machine).fix == f"- run: {command}   # a step before this one"


# --- real machines -------------------------------------------------------------------------


def test_a_path_without_mnexec(tmp_path, monkeypatch):
    for program in set(preflight.PROGRAMS) - {"mnexec"}:
        (tmp_path / program).symlink_to("/bin/true")
    monkeypatch.setattr(sandbox, "administrators_path", lambda: str(tmp_path))
    bad = [finding for finding in preflight.check_programs(Machine()) if not finding.ok]
    assert [finding.name for finding in bad] == ["mnexec"]


def run(command: list[str], script: str) -> subprocess.CompletedProcess[str]:
    program = [*command, sys.executable, "-c", script]
    return subprocess.run(program, cwd=ROOT, capture_output=True, text=True, timeout=30)


@pytest.mark.network
def test_a_tun_device_closed_to_this_user():
    """A device file of the test's own; who lacks the right to pass over modes is like any user."""
    if Path("/proc/self/uid_map").read_text().split()[2] != "4294967295":
        pytest.skip("only true root may make a device file")
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", "/dev/net"], check=True)
    subprocess.run(["mknod", "-m", "600", TUN, "c", "10", "200"], check=True)
    subprocess.run(["chown", "daemon", TUN], check=True)
    script = (
        "from napt_lab.topologies.sandbox.preflight import *; print(check_tun(Machine(uid=1000)))"
    )
    like_any_user = ["setpriv", "--bounding-set=-dac_override"]
    assert "opens for this user" in run([], script).stdout
    found = run(like_any_user, script)
    assert "sudo chmod 666 /dev/net/tun" in found.stdout, found.stderr
    subprocess.run(["chmod", "666", TUN], check=True)
    assert "opens for this user" in run(like_any_user, script).stdout


@pytest.mark.network
def test_a_user_who_may_make_no_namespaces():
    """A user namespace may set limits for itself, and so imitate a kernel that refuses."""
    subprocess.run("umount /proc/sys/* 2> /dev/null", shell=True, check=False)
    script = "from napt_lab.topologies.sandbox.preflight import *; print(check_trial(Machine()))"
    for most, expected in ((100, "a sandbox can be made"), (0, "user.max_user_namespaces is 0")):
        limit = f'echo {most} > /proc/sys/user/max_user_namespaces && exec "$@"'
        in_limited = ["unshare", "--user", "--map-root-user", "sh", "-c", limit, "sh"]
        tried = run([*in_limited, "setpriv", "--bounding-set=-sys_admin"], script)
        assert expected in tried.stdout, tried.stderr


@pytest.mark.network
def test_a_user_whose_proc_has_hidden_parts():
    """The sandbox's own /proc is refused, which only PID 1 of the sandbox hears."""
    enter = "import napt_lab.labs.cli.gate; napt_lab.labs.cli.gate.enter_sandbox()"
    as_user = ["unshare", "--user", "--map-root-user"]
    subprocess.run("umount /proc/sys/* 2> /dev/null", shell=True, check=False)
    assert run([*as_user, "setpriv", "--bounding-set=-sys_admin"], enter).returncode == 0
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", "/proc/fs"], check=True)
    refused = run([*as_user, "setpriv", "--bounding-set=-sys_admin"], enter)
    assert refused.returncode == 3
    assert "while parts of this one are hidden: /proc/fs" in refused.stderr
    assert "fix: " in refused.stderr


def test_the_command_line_says_so_and_exits_with_3(tmp_path):
    """Without mnexec anywhere: stopped before anything is built, whoever runs it."""
    bin_folder = tmp_path / "bin"
    bin_folder.mkdir()
    for program in set(preflight.PROGRAMS) - {"mnexec"}:
        if path := shutil.which(program, path=sandbox.administrators_path()):
            (bin_folder / program).symlink_to(path)
    script = (
        "import sys; from napt_lab.topologies.sandbox import sandbox; sandbox._ADMIN_FOLDERS = ();"
        "sys.argv = ['labs', 'bench']; import napt_lab.labs.cli.main; napt_lab.labs.cli.main.run()"
    )
    stopped = run(["env", f"PATH={bin_folder}"], script)
    assert stopped.returncode == 3
    assert "mnexec: not found" in stopped.stderr
    assert "apt-get install --no-install-recommends mininet" in stopped.stderr


@pytest.mark.parametrize(
    ("status", "said", "found"),
    [
        (3, "the kernel refuses new namespaces\n", "the kernel refuses new namespaces"),
        (1, "Traceback:\n  line 1\nOSError: broken\n", "OSError: broken"),
        (-9, "", "the trial ended with status -9"),
    ],
)
def test_a_trial_that_failed_is_no_trial_passed(monkeypatch, status, said, found):
    ended = subprocess.CompletedProcess([], status, stdout="", stderr=said)
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: ended)
    assert Machine().attempt() == Trial(no_sandbox=found)
