"""Preflight: can this machine run the labs, and if not, why not, and what mends it.

Theory of operation: each check looks at one thing through `Machine`, whose fields are the only
way it has to look, so that a test can show a check any broken machine. It gives a `Finding`:
what was found and, unless all is well, the cause and the exact command that mends it.

`examine_fast` looks without trying (a few milliseconds), and runs before every lab.
`examine` also enters a sandbox and builds in it one of each thing that the labs build, for what
a kernel refuses shows only when it is asked (trial.py).
"""

from __future__ import annotations

import errno
import importlib.util
import os
import platform
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from topologies import sandbox
from topologies.trial import BUILT, TUN

TRIAL_TIMEOUT = 20.0  # seconds
FEWEST_NAMESPACES = 64  # of a kind: one for each node, and several labs at once
PROGRAMS = {  # what the labs start, and the Debian package it comes in
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
_NAMESPACE_SETTINGS = {  # what a sysctl says when it keeps this user from namespaces
    **{
        f"user.max_{kind}_namespaces": ("0", "15000", f"no {kind} namespace may be made at all")
        for kind in ("user", "net", "mnt", "pid", "uts", "ipc")
    },
    "kernel.unprivileged_userns_clone": ("0", "1", "only root may make user namespaces"),
    "kernel.apparmor_restrict_unprivileged_userns": (
        "1",
        "0",
        "AppArmor takes all rights from user namespaces that ordinary users make",
    ),
}


@dataclass(frozen=True)
class Finding:
    """What one check found; `cause` and `mend` are empty if all is well."""

    name: str
    found: str
    cause: str = ""
    mend: str = ""

    @property
    def ok(self) -> bool:
        return not self.cause


@dataclass(frozen=True)
class Trial:
    """What came of building in a sandbox: why there is no sandbox, or what was refused in it."""

    no_sandbox: str = ""
    refused: dict[str, str] = field(default_factory=dict)


def _read(path: str) -> str:
    return Path(path).read_text(encoding="utf-8", errors="replace")


def _open_tun() -> None:
    os.close(os.open(TUN, os.O_RDWR | os.O_CLOEXEC))


def _which(program: str) -> str | None:
    return shutil.which(program, path=sandbox.administrators_path())


def _sees_mininet() -> bool:
    return importlib.util.find_spec("mininet") is not None


def _try() -> Trial:
    command = [sys.executable, "-m", "topologies.trial"]
    root = Path(__file__).resolve().parent.parent
    try:
        tried = subprocess.run(
            command, cwd=root, capture_output=True, text=True, timeout=TRIAL_TIMEOUT, check=False
        )
    except subprocess.TimeoutExpired:
        return Trial(no_sandbox=f"the trial was not done after {TRIAL_TIMEOUT:g} s")
    if tried.returncode:
        return Trial(no_sandbox=tried.stderr.partition("\n")[0].removeprefix("napt-lab: "))
    lines = (line.partition("\t")[::2] for line in tried.stdout.splitlines())
    return Trial(refused=dict(lines))


@dataclass(frozen=True)
class Machine:
    """The ways a check may look at the machine."""

    system: str = platform.system()
    uid: int = field(default_factory=os.geteuid)
    read: Callable[[str], str] = _read  # raises OSError
    exists: Callable[[str], bool] = os.path.exists
    open_tun: Callable[[], None] = _open_tun  # raises OSError
    which: Callable[[str], str | None] = _which
    sees_mininet: Callable[[], bool] = _sees_mininet
    open_files: Callable[[], tuple[int, int]] = lambda: resource.getrlimit(resource.RLIMIT_NOFILE)
    attempt: Callable[[], Trial] = _try

    def setting(self, name: str) -> str | None:
        """The sysctl's value, or None if this kernel does not have it."""
        try:
            return self.read(f"/proc/sys/{name.replace('.', '/')}").strip()
        except OSError:
            return None

    def mounts_on_proc(self) -> str:
        """What is mounted over parts of /proc, other than where distributions do it."""
        try:
            lines = self.read("/proc/self/mountinfo").splitlines()
        except OSError:
            return ""
        places = dict.fromkeys(line.split()[4] for line in lines)
        usual = "/proc/sys/fs/binfmt_misc"
        return " ".join(p for p in places if p.startswith("/proc/") and p != usual)

    def container(self) -> bool:
        return any(
            map(self.exists, ("/.dockerenv", "/run/.containerenv", "/run/systemd/container"))
        )

    def sudo(self, command: str) -> str:
        return command if self.uid == 0 else f"sudo {command}"


def examine_fast(machine: Machine) -> list[Finding]:
    """What can be seen without a try: enough to stop a lab that could not run."""
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
    """Everything `examine_fast` looks at, and a trial in a sandbox."""
    findings = examine_fast(machine)
    if machine.system != "Linux":
        return findings
    return [*findings, *check_trial(machine)]


def check_system(machine: Machine) -> Finding:
    if machine.system != "Linux":
        return Finding(
            "Linux",
            machine.system,
            "namespaces are Linux's; this is another system",
            "run it on Linux, for example Debian 12 in a virtual machine",
        )
    release = machine.read("/proc/sys/kernel/osrelease").strip()
    where = ", in a container" if machine.container() else ""
    if "microsoft" in release.lower():
        if "wsl2" not in release.lower():
            return Finding(
                "Linux",
                f"{release}, WSL 1",
                "WSL 1 only imitates Linux: it has no namespaces",
                "wsl.exe --set-version YOUR-DISTRIBUTION 2",
            )
        where = ", WSL 2"
    return Finding("Linux", release + where)


def check_tun(machine: Machine) -> Finding:
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
            "the device's file is there, but this root may not open it: it is root of a user"
            " namespace only, or a container or a mount without devices forbids it",
            "start the container with: --device /dev/net/tun"
            if machine.container()
            else f"outside of the user namespace: sudo chmod 666 {TUN}",
        )
    if closed:
        return Finding(
            TUN,
            found,
            "the translator needs the TUN device, and its file is closed to this user"
            " (to open it to all is what distributions do: it gives no right over any network)",
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
            "the kernel has the device, its file is missing",
            machine.sudo(f"sh -c '{make}'"),
        )
    return Finding(
        TUN, found, "the kernel's tun module is not loaded", machine.sudo("modprobe tun")
    )


def check_programs(machine: Machine) -> list[Finding]:
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
    if machine.sees_mininet() or not machine.which("mnexec"):  # the latter is told already
        return Finding("Mininet in Python", "found" if machine.sees_mininet() else "not looked for")
    return Finding(
        "Mininet in Python",
        "cannot be imported",
        f"the package mininet is installed, but {sys.executable} does not see it",
        "make distclean doctor",
    )


def check_open_files(machine: Machine) -> Finding:
    soft, hard = machine.open_files()
    found = f"{soft} at once, {hard} if asked for"
    if hard != resource.RLIM_INFINITY and hard < sandbox.OPEN_FILES:
        return Finding(
            "open files",
            found,
            f"a lab may need {sandbox.OPEN_FILES} at once",
            f"sudo prlimit --pid $$ --nofile={sandbox.OPEN_FILES}:{sandbox.OPEN_FILES}",
        )
    return Finding("open files", found)


def check_namespaces(machine: Machine) -> list[Finding]:
    """The kinds of which each node needs one: the sandbox itself may still fit, and they not."""
    bad = []
    for name in ("user.max_net_namespaces", "user.max_mnt_namespaces"):
        most = machine.setting(name)
        if most is not None and int(most) < FEWEST_NAMESPACES:
            cause = f"a lab needs one for each node, and {FEWEST_NAMESPACES} are enough"
            bad.append(Finding(name, most, cause, _sysctl(machine, name, "15000")))
    return bad


def check_trial(machine: Machine) -> list[Finding]:
    trial = machine.attempt()
    if trial.no_sandbox:
        return [explain_refusal(machine, trial.no_sandbox)]
    findings = [Finding("namespaces", "a sandbox can be made")]
    if TUN in trial.refused and check_tun(machine).ok:
        cause = "the device's file opens, but no TUN interface may be made in a namespace"
        findings.append(
            Finding(f"{TUN} in a sandbox", trial.refused[TUN], cause, machine.sudo("modprobe tun"))
        )
    for what, (command, module) in BUILT.items():
        name, why = f"{what} in a sandbox", trial.refused.get(what)
        if why is None:
            findings.append(Finding(name, "can be made"))
        elif machine.which(command[0]):  # else that is what is missing, and told already
            cause = f"the kernel refuses it; its module {module} may not be loaded"
            findings.append(Finding(name, why, cause, machine.sudo(f"modprobe {module}")))
    return findings


def explain_refusal(machine: Machine, found: str) -> Finding:
    """Why the kernel refused a sandbox, in the order of what is most certain."""
    for name, (refusing, allowing, cause) in _NAMESPACE_SETTINGS.items():
        only_for_users = not name.startswith("user.")
        if machine.setting(name) == refusing and not (only_for_users and machine.uid == 0):
            return Finding(
                "namespaces",
                found,
                f"{name} is {refusing}: {cause}",
                _sysctl(machine, name, allowing),
            )
    covered = machine.mounts_on_proc()
    if "mount proc" in found and covered:
        container = machine.container()
        return Finding(
            "namespaces",
            found,
            f"a user namespace gets no /proc while parts of this one are hidden: {covered}",
            "start the container with: --privileged"
            if container
            else machine.sudo(f"umount {covered}"),
        )
    if machine.container():
        return Finding(
            "namespaces",
            found,
            "the container lacks the right to make namespaces and to mount in them",
            "start the container with: --privileged",
        )
    if machine.uid == 0:
        return Finding(
            "namespaces",
            found,
            "this root lacks the rights of root (CAP_SYS_ADMIN), or runs in a chroot",
            "run it outside the chroot, as an ordinary user or as root with all capabilities",
        )
    return Finding(
        "namespaces",
        found,
        "this user may not make user namespaces, and no setting we know of says why",
        "sudo make doctor",
    )


def _sysctl(machine: Machine, name: str, value: str) -> str:
    return machine.sudo(f"sysctl -w {name}={value}")


def _apt(machine: Machine, packages: list[str]) -> str:
    return machine.sudo(f"apt-get install --no-install-recommends {' '.join(packages)}")
