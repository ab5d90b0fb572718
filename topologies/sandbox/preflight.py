"""Checks whether this machine can run the labs: what is missing, why, and what to do.

Theory of operation. Each check looks at one thing through `Machine` (machine.py) and returns a
`Finding`: what was found and, if something is missing, the cause and the exact command to fix it.

`examine_fast` only looks (a few milliseconds) and runs before every lab. `examine` also makes a
sandbox and builds one of each thing that the labs build: only a try shows what the kernel refuses
(trial.py).
"""

from __future__ import annotations

import errno
import resource
import sys

from napt_lab.topologies.sandbox import neighbor_table, sandbox
from napt_lab.topologies.sandbox.finding import Finding
from napt_lab.topologies.sandbox.machine import Machine
from napt_lab.topologies.sandbox.refusal import explain_refusal
from napt_lab.topologies.sandbox.trial import BUILT, NEIGHBOR, NODE, TUN
from napt_lab.topologies.spec.checkout import DOCTOR, IN_CHECKOUT

FEWEST_NAMESPACES = 64  # of each kind: a node needs one, and several labs may run at once
# Of a lab at work. 100 networks of level 9a side by side took 9.9 GB, and 26 tasks each.
LAB_MEMORY, LAB_TASKS = 100 << 20, 26
PROGRAMS = {  # the programs that labs start, and their Debian packages
    "mnexec": "mininet",
    "ip": "iproute2",
    "nft": "nftables",
    "ping": "iputils-ping",
    "traceroute": "traceroute",
    "curl": "curl",
    "nc.openbsd": "netcat-openbsd",
    "iperf3": "iperf3",
    "ps": "procps",
}


def examine_fast(machine: Machine) -> list[Finding]:
    """The checks that only look: enough to stop a lab that could not run."""
    if machine.system != "Linux":
        return [check_system(machine)]
    return [
        check_system(machine),
        check_tun(machine),
        *check_programs(machine),
        check_mininet(machine),
        check_open_files(machine),
        *check_namespaces(machine),
    ]


def examine(machine: Machine) -> list[Finding]:
    """The checks of `examine_fast`, and a trial in a sandbox."""
    findings = examine_fast(machine)
    if machine.system != "Linux":
        return findings
    return [*findings, *check_trial(machine), *check_room(machine)]


def check_system(machine: Machine) -> Finding:
    """Whether the system is Linux."""
    if machine.system != "Linux":
        return Finding(
            "Linux",
            machine.system,
            "the labs need the namespaces of Linux, and this is another system",
            "run it on Linux, for example Debian 12 in a virtual machine",
        )
    release = machine.read("/proc/sys/kernel/osrelease").strip()
    where = ", in a container" if machine.container() else ""
    if "microsoft" in release.lower():
        if "wsl2" not in release.lower():
            return Finding(
                "Linux",
                f"{release}, WSL 1",
                "WSL 1 has no Linux kernel, so no namespaces",
                "wsl.exe --set-version YOUR-DISTRIBUTION 2",
            )
        where = ", WSL 2"
    return Finding("Linux", release + where)


def check_tun(machine: Machine) -> Finding:
    """Whether the TUN device file opens."""
    try:
        machine.open_tun()
    except OSError as error:
        return _tun_refused(machine, error)
    return Finding(TUN, "opens for this user")


def _tun_refused(machine: Machine, error: OSError) -> Finding:
    found = (error.strerror or str(error)).lower()
    closed = error.errno in (errno.EACCES, errno.EPERM)
    if closed and machine.uid == 0:
        return Finding(
            TUN,
            found,
            "the device file exists, but this root may not open it: it is root of a user"
            " namespace only, or a container or a mount option (nodev) forbids it",
            "start the container with: --device /dev/net/tun"
            if machine.container()
            else f"outside of the user namespace: sudo chmod 666 {TUN}",
        )
    if closed and machine.container():
        return Finding(
            TUN,
            found,
            "the container has the TUN device, but its mode does not let you open it",
            f"on the machine itself, outside of the container: sudo chmod 666 {TUN}",
        )
    if closed:
        return Finding(
            TUN,
            found,
            "the translator needs the TUN device, and this user may not open its file"
            " (most distributions let all users open it: that gives no right over any network)",
            machine.sudo(f"chmod 666 {TUN}"),
        )
    if machine.container():
        return Finding(
            TUN,
            found,
            "the container was not given the TUN device",
            "start the container with: --device /dev/net/tun",
        )
    try:
        driver = " tun\n" in machine.read("/proc/misc")
    except OSError:
        driver = False
    if driver:
        make = f"mkdir -p /dev/net && mknod -m 666 {TUN} c 10 200"
        return Finding(
            TUN,
            found,
            "the kernel has the device, but its file is missing",
            machine.sudo(f"sh -c '{make}'"),
        )
    return Finding(TUN, found, "the kernel's tun module is not loaded", machine.modprobe("tun"))


def check_programs(machine: Machine) -> list[Finding]:
    """Whether each program that a lab runs is installed."""
    paths = {program: machine.which(program) for program in PROGRAMS}
    packages = sorted({PROGRAMS[program] for program, path in paths.items() if path is None})
    return [
        Finding(program, path)
        if path
        else Finding(
            program,
            "not found",
            f"the package {PROGRAMS[program]} is missing",
            _apt(machine, packages),
        )
        for program, path in paths.items()
    ]


def check_mininet(machine: Machine) -> Finding:
    """Whether this Python can import Mininet."""
    if machine.sees_mininet() or not machine.which("mnexec"):  # reported by check_programs
        return Finding("Mininet in Python", "found" if machine.sees_mininet() else "not checked")
    return Finding(
        "Mininet in Python",
        "cannot be imported",
        f"the package mininet is installed, but {sys.executable} cannot import it",
        "make distclean doctor"
        if IN_CHECKOUT
        else "/usr/bin/python3 -m venv --system-site-packages ~/napt-lab   # and install it there",
    )


def check_open_files(machine: Machine) -> Finding:
    """Whether a lab may open as many files as it needs."""
    soft, hard = machine.open_files()
    found = f"{soft} at once; a program may raise it to {hard}"
    if hard != resource.RLIM_INFINITY and hard < sandbox.OPEN_FILES:
        return Finding(
            "open files",
            found,
            f"a lab may open {sandbox.OPEN_FILES} files at once",
            f"sudo prlimit --pid $$ --nofile={sandbox.OPEN_FILES}:{sandbox.OPEN_FILES}",
        )
    return Finding("open files", found)


def check_namespaces(machine: Machine) -> list[Finding]:
    """The namespaces of which each node needs one: a sandbox may be possible, but not its nodes."""
    bad = []
    for name in ("user.max_net_namespaces", "user.max_mnt_namespaces"):
        most = machine.setting(name)
        if most is not None and int(most) < FEWEST_NAMESPACES:
            cause = f"a lab needs one for each node; {FEWEST_NAMESPACES} are enough"
            bad.append(Finding(name, most, cause, machine.sysctl(name, "15000")))
    return bad


def check_trial(machine: Machine) -> list[Finding]:
    """Whether a sandbox can be made here, and what it was refused."""
    trial = machine.attempt()
    if trial.no_sandbox:
        return [explain_refusal(machine, trial.no_sandbox)]
    findings = [Finding("namespaces", "a sandbox can be made")]
    if TUN in trial.refused and check_tun(machine).ok:
        cause = "the device file opens, but no TUN interface can be made in a namespace"
        findings.append(
            Finding(f"{TUN} in a sandbox", trial.refused[TUN], cause, machine.modprobe("tun"))
        )
    if NODE in trial.refused and machine.which("mnexec"):
        findings.append(_node_refused(machine, trial.refused[NODE]))
    if machine.which("ip"):
        findings.append(check_neighbors(machine, trial.refused.get(NEIGHBOR)))
    for what, (command, module) in BUILT.items():
        name, why = f"{what} in a sandbox", trial.refused.get(what)
        if why is None:
            findings.append(Finding(name, "can be made"))
        elif machine.which(command[0]):  # a missing program is reported by check_programs
            cause = f"the kernel refuses it: its module {module} may not be loaded"
            findings.append(Finding(name, why, cause, machine.modprobe(module)))
    return findings


def check_neighbors(machine: Machine, refused: str | None) -> Finding:
    """The neighbor table. `refused`: why the trial could not add an entry, or None."""
    table = machine.neighbors()
    found = (
        f"{table.entries} entries, permanent ones included; at most {table.limit} may be "
        f"learned; {table.overflows} were refused since boot"
    )
    # No figure says how many were learned: only a try shows whether the table is full.
    if refused is not None and "buffer space" in refused:
        return table.full(found)
    return Finding(neighbor_table.NAME, found)


def check_room(machine: Machine) -> list[Finding]:
    """How many labs may run side by side, and what is used up first."""
    room = {
        what: max(0, free) // need
        for what, need, free in (
            ("memory", LAB_MEMORY, machine.free_memory()),
            ("processes", LAB_TASKS, machine.free_tasks()),
        )
        if free is not None
    }
    if not room:
        return []
    first = min(room, key=room.__getitem__)
    found = f"about {room[first]} side by side; {first} would be the first limit"
    cause = "" if room[first] else f"a lab needs {LAB_MEMORY >> 20} MiB and {LAB_TASKS} processes"
    return [Finding("room for labs", found, cause, "end other programs" if cause else "")]


def _node_refused(machine: Machine, found: str) -> Finding:
    """A sandbox can be made, but not the namespaces of a node in it."""
    if machine.container():
        cause = "Mininet mounts /sys for each node, and this container has only a part of /sys"
        return Finding(NODE, found, cause, "start the container with: -v /sys:/sys")
    return Finding(
        NODE, found, "the kernel refuses them to mnexec, Mininet's helper", f"sudo {DOCTOR}"
    )


def _apt(machine: Machine, packages: list[str]) -> str:
    return machine.sudo(f"apt-get install --no-install-recommends {' '.join(packages)}")
