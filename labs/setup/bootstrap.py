"""What `make` runs first: install what is missing, then become `napt-lab …`.

    /usr/bin/python3 -I labs/setup/bootstrap.py lab 9c
    /usr/bin/python3 -I labs/setup/bootstrap.py --install lab     only install: for the Dockerfile

Theory of operation: two things may be missing. System packages (Mininet, nft, curl …) come from
the distribution, through apt-get, as root or with sudo; otherwise the message says what to type.
Python packages come from the lock file into `.venv`, made with the distribution's Python, which is
the one that finds the distribution's Mininet. (In a container, NAPT_LAB_VENV names another folder,
because the clone's `.venv` belongs to another machine.) Each set of Python packages leaves a stamp
when it is complete, and the next run reads only the stamp. A venv without its stamp was never
finished, and is made again.

This file needs nothing but the standard library. It ignores the PYTHON* variables (-I) and keeps
them, and whatever conda or pyenv put there, from what it starts.

Exit status: that of the command; 3 if something is missing and cannot be installed; 2 wrong usage.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

WRONG_USAGE, CANNOT_RUN = 2, 3
OLDEST_PYTHON = (3, 11)
APT_LOCK_PATIENCE = 120  # seconds to wait while another program installs packages
SHOWN_ON_FAILURE = 15  # lines of the failed command's output

ROOT = Path(__file__).resolve().parents[2]
VENV = Path(os.environ.get("NAPT_LAB_VENV", ROOT / ".venv"))
IMPORTS = VENV / "import"  # where Python finds this checkout as napt_lab
PYTHON = Path("/usr/bin/python3")
POLICY = Path("/usr/sbin/policy-rc.d")
DISTRIBUTION = Path("/usr/lib/python3/dist-packages")
RUNTIME_LOCK, TEST_LOCK = ROOT / "requirements.lock", ROOT / "requirements-dev.lock"

# What tells that a package is there (commands of which one suffices, or a file if it has a slash),
# and the package.
FOR_VENV = {f"/usr/lib/python3.{sys.version_info.minor}/ensurepip": "python3-venv"}
FOR_LABS = {
    "mnexec": "mininet",
    f"{DISTRIBUTION}/mininet": "mininet",
    "ip": "iproute2",
    "nft": "nftables",
    "ping": "iputils-ping",
    "traceroute": "traceroute",
    "curl": "curl",
    "nc.openbsd": "netcat-openbsd",
    "iperf3": "iperf3",
    "ps": "procps",
}
FOR_BENCH = {  # its peers
    "turnserver": "coturn",
    "brctl": "bridge-utils",
    "natpmpc": "natpmpc",
    "pasta": "passt",
    "slirp4netns": "slirp4netns",
    "iptables": "iptables",
}
FOR_LAB = {"9d": {"natpmpc": "natpmpc"}}  # what one lab needs, and no other
BROWSER = "chromium-headless-shell"  # takes half of chromium's processor time
FOR_TESTS = {
    "chromium-headless-shell|chromium|google-chrome": BROWSER,
    "openssl": "openssl",  # a page of docs/ makes a certificate with it
    "/var/lib/dpkg/info/python3-libtorrent.list": "python3-libtorrent",
}
OS_RELEASE = Path("/etc/os-release")
PODMAN = {  # how each family of distributions installs it
    "debian": "apt-get install podman uidmap slirp4netns",
    "fedora": "dnf install podman",
    "arch": "pacman -S podman",
    "alpine": "apk add podman",
    "suse": "zypper install podman",
}
SERVICES = {"coturn"}  # packages that start a server of that name at boot; ours need it not
ADMIN_FOLDERS = ("/usr/local/sbin", "/usr/sbin", "/sbin")  # where an ordinary user has no PATH to

# A command: the system packages and the Python packages it needs.
NEEDS = {
    **dict.fromkeys(
        ("lab", "check", "shell", "exercise", "grade", "conformance", "run-in"),
        (FOR_LABS, RUNTIME_LOCK),
    ),
    "bench": (FOR_LABS | FOR_BENCH, RUNTIME_LOCK),
    "lint": ({}, TEST_LOCK),
    "test": (FOR_LABS | FOR_BENCH | FOR_TESTS, TEST_LOCK),
    **dict.fromkeys(("test-fast", "coverage"), (FOR_LABS, TEST_LOCK)),
}
NEEDS_OF_OTHERS: tuple[dict[str, str], Path] = ({}, RUNTIME_LOCK)


class CannotRun(Exception):
    """Something is missing; the text says what, and what to type."""


def main(arguments: list[str]) -> NoReturn:
    only_install = arguments[:1] == ["--install"]
    arguments = arguments[only_install:]
    if not arguments:
        say("usage: bootstrap.py [--install] COMMAND…")
        sys.exit(WRONG_USAGE)
    os.chdir(ROOT)
    environment = clean_environment()
    command, _, argument = arguments[0].partition("-")
    if arguments[0] not in NEEDS and command in NEEDS and argument:
        arguments = [command, argument, *arguments[1:]]  # `lab-9c`, as make says it
    packages, lock = NEEDS.get(arguments[0], NEEDS_OF_OTHERS)
    if arguments[0] == "lab":
        for lab in FOR_LAB if only_install else arguments[1:2]:
            packages = packages | FOR_LAB.get(lab, {})
    try:
        if os.pathsep in str(ROOT):  # PYTHONPATH has no way to say it, and the venv module refuses
            raise CannotRun(f"{ROOT} has a colon in its name: move the clone to a folder without")
        if sys.version_info < OLDEST_PYTHON:
            wanted = ".".join(map(str, OLDEST_PYTHON))
            raise CannotRun(
                f"{PYTHON} is older than Python {wanted}: use Debian 12 or newer, Ubuntu 24.04\n"
                f"or newer, or a container. Type\n    {how_to_get_a_container()}"
            )
        if missing(packages, environment) or not stamped(lock):
            with one_at_a_time():  # and look again: the one before us may have done it all
                if not stamped(lock):
                    packages = packages | FOR_VENV
                install_packages(packages, environment)
                if not stamped(lock):
                    install_python_packages(lock, environment)
        link_packages()
    except (CannotRun, OSError) as problem:
        say(str(problem))
        sys.exit(CANNOT_RUN)
    except KeyboardInterrupt:
        sys.exit(128 + signal.SIGINT)
    if only_install:
        sys.exit()
    python = str(VENV / "bin/python")  # its whole path, by which Python knows that it is in a venv
    os.execve(python, [python, "-P", "-m", "napt_lab.labs", *arguments], environment)


def clean_environment() -> dict[str, str]:
    """The environment without other Pythons in it, and with the administrators' programs."""
    dropped = ("PYTHON", "CONDA", "VIRTUAL_ENV", "_PYTHON", "__PYVENV")
    environment = {k: v for k, v in os.environ.items() if not k.startswith(dropped)}
    path = environment.get("PATH", os.defpath).split(os.pathsep)
    path += [folder for folder in ADMIN_FOLDERS if folder not in path]
    environment["PATH"] = os.pathsep.join(path)
    if os.geteuid() == 0 and owner() != 0:
        environment["PYTHONDONTWRITEBYTECODE"] = "1"  # no root's files in someone's clone
    if sys.version_info < (3, 12):
        # Mininet compares versions with distutils, for which setuptools would load all of itself.
        environment["SETUPTOOLS_USE_DISTUTILS"] = "stdlib"
    return environment


def missing(needed: dict[str, str], environment: dict[str, str]) -> list[str]:
    """The packages, sorted, whose command or file is not there."""

    def present(sign: str) -> bool:
        if "/" in sign:
            return Path(sign).exists()
        return any(shutil.which(command, path=path) for command in sign.split("|"))

    path = environment["PATH"]
    return sorted({package for sign, package in needed.items() if not present(sign)})


# --- system packages -----------------------------------------------------------------------


def install_packages(needed: dict[str, str], environment: dict[str, str]) -> None:
    packages = missing(needed, environment)
    if not packages:
        return
    install = ["apt-get", "install", "--yes", "--no-install-recommends", *packages]
    if not shutil.which("apt-get", path=environment["PATH"]):
        raise CannotRun(
            f"missing: {' '.join(packages)}\n"
            "These come from Debian (12 or newer) or Ubuntu (24.04 or newer), and this is another\n"
            "system, without apt-get. It can run the labs in a container. Type\n"
            f"    {how_to_get_a_container()}"
        )
    become_root = how_to_become_root(environment)
    if become_root is None:
        # Name all that the labs need, so that the next command does not stop for another package.
        install[4:] = missing(needed | FOR_LABS, environment)
        raise CannotRun(
            "these system packages are missing, and only root can install them. Type\n"
            f"    sudo apt-get update && sudo {shlex.join(install)}\n"
            "(as root: the same without sudo), then try again. If you may not, a container may do\n"
            "without: add ENGINE=podman (or docker) to your make command"
            f"{about_the_browser(install)}"
        )
    apt = [*become_root, "env", "DEBIAN_FRONTEND=noninteractive", install[0]]
    apt += ["-o", f"DPkg::Lock::Timeout={APT_LOCK_PATIENCE}"]
    with no_services_started(become_root):
        try:
            run("updating the list of system packages", [*apt, "update"], environment)
        except CannotRun as problem:  # one source out of reach need not matter
            say(f"{problem}going on with the lists there are")
        try:
            run(f"installing {' '.join(packages)}", [*apt, *install[1:]], environment)
        except CannotRun as problem:
            raise CannotRun(f"{problem}{about_the_browser(packages)}") from None
        for service in SERVICES.intersection(packages):
            disable = [*become_root, "update-rc.d", service, "disable"]
            subprocess.run(disable, env=environment, check=False, capture_output=True)
    if lacking := missing(needed, environment):
        raise CannotRun(f"installed, but not where expected: {' '.join(lacking)}")


def about_the_browser(packages: list[str]) -> str:
    """What to do where apt does not have it."""
    if BROWSER not in packages:
        return ""
    return (
        f"\nIf there is no {BROWSER} (Ubuntu has its browser as a snap, which no sandbox can\n"
        "run), install Google's package google-chrome-stable, or use a container (ENGINE=podman)"
    )


def how_to_get_a_container() -> str:
    """What to type for one, with the words of this distribution."""
    try:
        lines = OS_RELEASE.read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    said = dict(line.partition("=")[::2] for line in lines)
    family = " ".join(said.get(key, "").strip("'\"") for key in ("ID", "ID_LIKE")).split()
    install = next((PODMAN[name] for name in family if name in PODMAN), None)
    lab = "make lab-9c ENGINE=podman"
    return f"sudo {install or 'PACKAGE-MANAGER install podman'} && {lab}"


def how_to_become_root(environment: dict[str, str]) -> list[str] | None:
    """The words to put before a command so that root runs it; None if there are none."""
    if os.geteuid() == 0:
        return []
    sudo = shutil.which("sudo", path=environment["PATH"])
    if sudo is None:
        return None
    quiet = subprocess.run([sudo, "-n", "true"], capture_output=True, check=False)
    if quiet.returncode == 0:
        return [sudo, "-n"]
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        return None
    say("system packages are missing; sudo may ask for your password to install them")
    return [sudo] if subprocess.run([sudo, "-v"], check=False).returncode == 0 else None


@contextmanager
def no_services_started(become_root: list[str]) -> Iterator[None]:
    """Keep packages that bring a server from starting it, by Debian's policy-rc.d.

    The policy speaks only while this process lives, for the case that it is killed before it can
    remove the file. An administrator's own policy stays in force, untouched.
    """
    if POLICY.exists():
        yield
        return
    text = f'#!/bin/sh\nif test -d /proc/{os.getpid()}; then exit 101; else rm -f "$0"; fi\n'
    path = shlex.quote(str(POLICY))
    write = f"printf %s {shlex.quote(text)} > {path} && chmod 755 {path}"
    subprocess.run([*become_root, "sh", "-c", write], check=True)
    try:
        yield
    finally:
        subprocess.run([*become_root, "rm", "-f", str(POLICY)], check=False)


# --- Python packages -----------------------------------------------------------------------


def stamp(lock: Path) -> Path:
    return VENV / f"{lock.name}.installed"


def key(lock: Path) -> str:
    """What an installed lock is known by: its content, this file's, Python's version, and where.

    Programs in a venv name its path, so in a folder that was copied or moved they are another's.
    """
    content = lock.read_bytes() + Path(__file__).read_bytes()
    # Not the whole sys.version: apt may just have renewed the very Python that runs this.
    python = ".".join(map(str, sys.version_info[:3]))
    return f"{hashlib.sha256(content).hexdigest()} {python} {VENV}\n"


def stamped(lock: Path) -> bool:
    try:
        return stamp(lock).read_text(encoding="utf-8") == key(lock)
    except OSError:
        # The tests' packages contain the labs'.
        return lock == RUNTIME_LOCK and stamp(TEST_LOCK).exists() and stamped(TEST_LOCK)


def install_python_packages(lock: Path, environment: dict[str, str]) -> None:
    if not os.access(ROOT, os.W_OK):
        raise CannotRun(f"you may not write to {ROOT}; make a clone of your own")
    begun = stamped(RUNTIME_LOCK)
    for one in (RUNTIME_LOCK, TEST_LOCK):
        stamp(one).unlink(missing_ok=True)  # if we are killed, all is made anew
    if not begun:
        if VENV.exists():
            shutil.rmtree(VENV)
        make = [str(PYTHON), "-m", "venv", str(VENV)]
        run("making .venv with the distribution's Python", make, environment)
        (found,) = VENV.glob("lib/python3*/site-packages")
        # Mininet alone, not all that the distribution has: the rest is the lock file's to say.
        (found / "mininet").symlink_to(DISTRIBUTION / "mininet")
        # From there, so that it is true in a copy as well.
        pth = f"{os.path.relpath(IMPORTS, found)}\n"
        (found / "napt_lab.pth").write_text(pth, encoding="utf-8")
        write_command()
    pip = [str(VENV / "bin/python"), "-m", "pip", "install", "--quiet", "--require-hashes"]
    pip += ["--disable-pip-version-check", "--no-deps", "--requirement", str(lock)]
    run(f"installing the Python packages of {lock.name}", pip, environment)
    stamp(lock).write_text(key(lock), encoding="utf-8")
    give_to_owner(VENV)


def write_command() -> None:
    """Write .venv/bin/napt-lab, which is what pip makes of an installed package."""
    command = VENV / "bin/napt-lab"
    command.write_text(
        '#!/bin/sh\nexec "$(dirname "$0")/python" -P -m napt_lab.labs "$@"\n', encoding="utf-8"
    )
    command.chmod(0o755)


def link_packages() -> None:
    """Make this checkout importable as `napt_lab`, by the lines that say so to setuptools.

    Looked at each time, because a container has .venv at one place and the checkout at any.
    """
    import tomllib  # not at the top: an older Python must get as far as its error message

    description = ROOT / "pyproject.toml"
    if not description.exists():  # an image without the project, which is mounted later
        return
    project = tomllib.loads(description.read_text(encoding="utf-8"))
    for name, folder in project["tool"]["setuptools"]["package-dir"].items():
        link = IMPORTS.joinpath(*name.split("."))
        target = os.path.relpath(ROOT / folder, link.parent)
        if not link.is_symlink() or str(link.readlink()) != target:
            link.parent.mkdir(parents=True, exist_ok=True)
            fresh = link.with_name(f".{link.name}.{os.getpid()}")  # two may start at once
            fresh.symlink_to(target)
            fresh.replace(link)
            give_to_owner(IMPORTS)


def owner() -> int:
    return ROOT.stat().st_uid


def give_to_owner(folder: Path) -> None:
    """Give files that root has made in a user's clone to that user."""
    if os.geteuid() != 0 or owner() == 0:
        return
    group = ROOT.stat().st_gid
    os.chown(folder, owner(), group, follow_symlinks=False)  # a single file is not walked
    for parent, folders, files in os.walk(folder):
        for name in (*folders, *files):
            os.chown(Path(parent, name), owner(), group, follow_symlinks=False)


@contextmanager
def one_at_a_time() -> Iterator[None]:
    """Hold a lock on this folder, so that of two runs at once one installs and one waits.

    What we start inherits the lock, so that it is held until pip has ended even if we are killed.
    """
    folder = os.open(ROOT, os.O_RDONLY)
    os.set_inheritable(folder, True)
    try:
        try:
            fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("another make is installing; waiting for it")
            fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)


# --- telling -------------------------------------------------------------------------------


def say(text: str) -> None:
    print(f"napt-lab: {text}", file=sys.stderr, flush=True)


def run(what: str, command: list[str], environment: dict[str, str]) -> None:
    """Run one step of the installation; show that time passes, and its output if it fails."""
    say(f"{what} …")
    started = time.monotonic()
    with tempfile.TemporaryFile("w+", errors="replace") as output:
        step = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=environment,
            close_fds=False,
        )
        while True:
            try:
                step.wait(timeout=1)
                break
            except subprocess.TimeoutExpired:
                if sys.stderr.isatty():
                    passed = time.monotonic() - started
                    print(f"\r  {passed:.0f} s ", end="", file=sys.stderr, flush=True)
        if sys.stderr.isatty():
            print("\r          \r", end="", file=sys.stderr)
        if step.returncode:
            output.seek(0)
            last = "".join(output.readlines()[-SHOWN_ON_FAILURE:])
            raise CannotRun(f"this failed: {shlex.join(command)}\n{last}")
    say(f"  done in {time.monotonic() - started:.0f} s")


if __name__ == "__main__":
    main(sys.argv[1:])
