"""Finds out why the kernel refuses a sandbox, and what to do.

Theory of operation. The kernel says only "Operation not permitted". The cause is a sysctl that
restricts users, or in a container one of the layers of its engine. Each leaves a trace in /proc:

    seccomp      a filter of system calls               Seccomp in /proc/self/status
    AppArmor     a profile that forbids every mount     /proc/self/attr/current
    masks        parts of /proc that are covered        /proc/self/mountinfo
    capability   root may not map itself                the mapping is refused
"""

from __future__ import annotations

from napt_lab.topologies.sandbox.finding import Finding
from napt_lab.topologies.sandbox.machine import Machine
from napt_lab.topologies.spec.checkout import DOCTOR

_NAMESPACE_SETTINGS = {  # the sysctl: its refusing value, an allowing value, the cause
    **{
        f"user.max_{kind}_namespaces": ("0", "15000", f"no {kind} namespace can be made")
        for kind in ("user", "net", "mnt", "pid", "uts", "ipc")
    },
    "kernel.unprivileged_userns_clone": ("0", "1", "only root may make user namespaces"),
    "kernel.apparmor_restrict_unprivileged_userns": (
        "1",
        "0",
        "AppArmor takes all rights from user namespaces of ordinary users",
    ),
}
_FILTERED = "2"  # seccomp's mode


def explain_refusal(machine: Machine, found: str) -> Finding:
    """Why the kernel refused a sandbox; the most certain causes come first."""
    for name, (refusing, allowing, cause) in _NAMESPACE_SETTINGS.items():
        only_for_users = not name.startswith("user.")
        if machine.setting(name) == refusing and not (only_for_users and machine.uid == 0):
            fix = machine.sysctl(name, allowing)
            return Finding("namespaces", found, f"{name} is {refusing}: {cause}", fix)
    if machine.container():
        return _explain_container(machine, found)
    covered = machine.mounts_on_proc()
    if "mount proc" in found and covered:
        return Finding(
            "namespaces",
            found,
            f"a user namespace gets no /proc while parts of this one are hidden: {covered}",
            machine.sudo(f"umount {covered}"),
        )
    if machine.uid == 0:
        return Finding(
            "namespaces",
            found,
            "this root lacks a right of root (CAP_SYS_ADMIN), or runs in a chroot",
            "run it outside the chroot, as an ordinary user or as root with all capabilities",
        )
    return Finding(
        "namespaces",
        found,
        "this user may not make user namespaces, and no setting that we know is the cause",
        f"sudo {DOCTOR}",
    )


def _explain_container(machine: Machine, found: str) -> Finding:
    """All causes, not only the first, so that starting the container once more is enough."""
    docker = machine.exists("/.dockerenv")
    why: dict[str, str] = {}  # the option that fixes it: the cause
    if machine.uid == 0 and "cannot be mapped" in found:
        why["--user 1000:1000"] = (
            "root without capabilities may not map itself into a user namespace"
        )
    if "refuses" in found and _line(machine, "/proc/self/status", "Seccomp:") == _FILTERED:
        profile = "labs/setup/seccomp.json" if docker else "unconfined"
        why[f"--security-opt seccomp={profile}"] = "its seccomp filter refuses namespaces"
    confined = _line(machine, "/proc/self/attr/current", "")
    if confined not in ("", "unconfined"):
        why["--security-opt apparmor=unconfined"] = f"AppArmor's {confined} forbids mounts"
    if covered := machine.mounts_on_proc():
        unmask = "systempaths=unconfined" if docker else "unmask=ALL"
        why[f"--security-opt {unmask}"] = (
            f"a user namespace gets no /proc while parts of this one are hidden: {covered}"
        )
    cause = "; ".join(why.values()) or "the container lacks the right to make namespaces"
    options = " ".join([*why, "-v /sys:/sys"]) if why else "--privileged"
    return Finding("namespaces", found, cause, f"start the container with: {options}")


def _line(machine: Machine, path: str, key: str) -> str:
    """The first word after `key` in the line that begins with it; empty if there is none."""
    try:
        lines = machine.read(path).splitlines()
    except OSError:
        return ""
    rest = [line.removeprefix(key).strip("\0 \t") for line in lines if line.startswith(key)]
    return rest[0].split()[0] if rest and rest[0] else ""
