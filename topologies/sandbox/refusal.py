"""Why a kernel refuses a sandbox, and what mends it.

Theory of operation: the kernel says only "Operation not permitted". Who said so stands elsewhere:
a sysctl that is set against users; and in a container the layers which the engine puts around it,
each of which leaves a mark in /proc:

    seccomp      a filter of system calls               Seccomp in /proc/self/status
    AppArmor     a profile that forbids every mount     /proc/self/attr/current
    masks        parts of /proc that are covered        /proc/self/mountinfo
    capability   root that may not map itself           the mapping is what is refused
"""

from __future__ import annotations

from napt_lab.topologies.network.finding import Finding
from napt_lab.topologies.sandbox.machine import Machine
from napt_lab.topologies.spec.checkout import DOCTOR

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
_FILTERED = "2"  # seccomp's mode


def explain_refusal(machine: Machine, found: str) -> Finding:
    """Why the kernel refused a sandbox, in the order of what is most certain."""
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
            "this root lacks the rights of root (CAP_SYS_ADMIN), or runs in a chroot",
            "run it outside the chroot, as an ordinary user or as root with all capabilities",
        )
    return Finding(
        "namespaces",
        found,
        "this user may not make user namespaces, and no setting we know of says why",
        f"sudo {DOCTOR}",
    )


def _explain_container(machine: Machine, found: str) -> Finding:
    """All that stands in the way, not only what was met first, so that one new start is enough."""
    docker = machine.exists("/.dockerenv")
    why: dict[str, str] = {}  # the option that mends it: the cause
    if machine.uid == 0 and "user namespace of one's own" in found:
        why["--user 1000:1000"] = "root without capabilities may not map itself into a namespace"
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
    """The first word after `key` at the beginning of a line of the file; empty if there is none."""
    try:
        lines = machine.read(path).splitlines()
    except OSError:
        return ""
    rest = [line.removeprefix(key).strip("\0 \t") for line in lines if line.startswith(key)]
    return rest[0].split()[0] if rest and rest[0] else ""
