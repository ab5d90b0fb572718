"""Bootstrap: installs what is missing, once, and is not led astray by the environment."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from napt_lab.labs.setup import bootstrap
from napt_lab.topologies.sandbox import preflight

ROOT = Path(__file__).parents[3]


@pytest.fixture
def commands(monkeypatch):
    """The installation steps that would be run; a venv is made as far as this file needs one."""
    run: list[list[str]] = []

    def pretend(what, command, environment):
        run.append(command)
        if command[1:3] == ["-m", "venv"]:
            (bootstrap.VENV / "lib/python3.11/site-packages").mkdir(parents=True)
            (bootstrap.VENV / "bin").mkdir()

    monkeypatch.setattr(bootstrap, "run", pretend)
    return run


@pytest.fixture
def clone(monkeypatch, tmp_path):
    """A clone of the project in a folder with a space in its name, where nothing is installed."""
    root = tmp_path / "napt lab"
    root.mkdir()
    for name in ("requirements.lock", "requirements-dev.lock"):
        (root / name).write_text(f"# {name}\n")
    monkeypatch.setattr(bootstrap, "ROOT", root)
    monkeypatch.setattr(bootstrap, "VENV", root / ".venv")
    monkeypatch.setattr(bootstrap, "IMPORTS", root / ".venv/import")
    monkeypatch.setattr(bootstrap, "RUNTIME_LOCK", root / "requirements.lock")
    monkeypatch.setattr(bootstrap, "TEST_LOCK", root / "requirements-dev.lock")
    return root


def test_the_environment_of_other_pythons_is_dropped(monkeypatch):
    for name in ("PYTHONPATH", "PYTHONHOME", "CONDA_PREFIX", "VIRTUAL_ENV"):
        monkeypatch.setenv(name, "/elsewhere")
    monkeypatch.setenv("PATH", "/usr/bin")
    monkeypatch.setenv("STEP", "1")
    environment = bootstrap.clean_environment()
    assert "/elsewhere" not in environment.values()
    assert environment["STEP"] == "1"
    assert environment["PATH"] == "/usr/bin:/usr/local/sbin:/usr/sbin:/sbin"


def test_missing_packages_are_told_by_command_and_by_file(tmp_path):
    (tmp_path / "there").touch(mode=0o755)
    needed = {
        "there": "package-a",
        "not-there": "package-b",
        str(tmp_path / "there"): "package-c",
        str(tmp_path / "nothing"): "package-d",
        "nor-this": "package-b",
        "not-there|there": "package-e",
    }
    found = bootstrap.missing(needed, {"PATH": str(tmp_path)})
    assert found == ["package-b", "package-d"]


def test_what_is_installed_is_what_preflight_looks_for():
    commands = {sign: package for sign, package in bootstrap.FOR_LABS.items() if "/" not in sign}
    assert commands == preflight.PROGRAMS


def test_without_root_it_says_what_to_type(monkeypatch, commands):
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    which = shutil.which
    monkeypatch.setattr(
        shutil, "which", lambda c, path: None if c == "sudo" else which(c, path=path)
    )
    monkeypatch.setattr(bootstrap, "FOR_LABS", {"no-such-command": "mininet"})
    with pytest.raises(bootstrap.CannotRun) as stopped:
        bootstrap.install_packages({"nor-this": "curl"}, dict(os.environ))
    expected = "sudo apt-get install --yes --no-install-recommends curl mininet\n"
    assert expected in str(stopped.value)
    assert "google-chrome" not in str(stopped.value)
    assert commands == []
    with pytest.raises(bootstrap.CannotRun, match="google-chrome-stable"):
        bootstrap.install_packages({"nor-this": bootstrap.BROWSER}, dict(os.environ))


def test_what_is_installed_and_not_there_is_told(monkeypatch, commands):
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(bootstrap, "POLICY", Path(os.devnull))
    with pytest.raises(bootstrap.CannotRun, match="not where expected: curl"):
        bootstrap.install_packages({"no-such-command": "curl"}, dict(os.environ))
    assert [command[-1] for command in commands] == ["update", "curl"]


@pytest.mark.parametrize(
    ("release", "words"),
    [
        ('ID=rocky\nID_LIKE="rhel centos fedora"\n', "sudo dnf install podman && make lab-9c"),
        ("NAME=Arch\nID=arch\n", "sudo pacman -S podman && make lab-9c ENGINE=podman"),
        ("ID=alpine\n", "sudo apk add podman && make lab-9c ENGINE=podman"),
        ("ID=slackware\n", "sudo PACKAGE-MANAGER install podman && make lab-9c ENGINE=podman"),
        (None, "sudo PACKAGE-MANAGER install podman && make lab-9c ENGINE=podman"),
    ],
)
def test_where_there_is_no_apt_it_names_a_container(
    monkeypatch, tmp_path, commands, release, words
):
    monkeypatch.setattr(bootstrap, "OS_RELEASE", tmp_path / "os-release")
    if release is not None:
        bootstrap.OS_RELEASE.write_text(release)
    with pytest.raises(bootstrap.CannotRun) as stopped:
        bootstrap.install_packages({"no-such-command": "mininet"}, {"PATH": str(tmp_path)})
    assert str(stopped.value).startswith("missing: mininet\n")
    assert words in str(stopped.value)
    assert commands == []


def test_where_the_browser_is_no_package_it_names_another(monkeypatch, commands):
    """Ubuntu has only a snap."""

    def fail(_what, command, _environment):
        if command[-1] == bootstrap.BROWSER:
            raise bootstrap.CannotRun("E: Unable to locate package\n")

    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(bootstrap, "POLICY", Path(os.devnull))
    monkeypatch.setattr(bootstrap, "run", fail)
    with pytest.raises(bootstrap.CannotRun, match=r"Unable to locate(?s:.*)google-chrome-stable"):
        bootstrap.install_packages({"no-such-command": bootstrap.BROWSER}, dict(os.environ))


@pytest.fixture
def wanted(monkeypatch):
    """What main() would see to and become; nothing is missing and nothing is installed."""
    seen: dict[str, object] = {}
    monkeypatch.setattr(bootstrap, "stamped", lambda lock: seen.update(lock=lock.name) or True)
    monkeypatch.setattr(bootstrap, "missing", lambda needed, _: seen.update(needed=needed))

    def become(program, arguments, environment):
        seen["became"] = arguments[1:]
        sys.exit()

    monkeypatch.setattr(os, "execve", become)
    monkeypatch.chdir(ROOT)
    return seen


@pytest.mark.parametrize(
    ("typed", "became"),
    [
        (["lab-9d"], ["lab", "9d"]),
        (["lab", "9d"], ["lab", "9d"]),
        (["run-in", "home", "pc"], ["run-in", "home", "pc"]),
        (["no-such"], ["no-such"]),
    ],
)
def test_a_command_may_be_said_as_make_says_it(wanted, typed, became):
    with pytest.raises(SystemExit):
        bootstrap.main(typed)
    assert wanted["became"] == ["-P", "-m", "napt_lab.labs", *became]
    assert ("natpmpc" in wanted["needed"]) == (became == ["lab", "9d"])


def test_without_a_command_it_says_its_usage(capsys):
    with pytest.raises(SystemExit) as stopped:
        bootstrap.main(["--install"])
    assert stopped.value.code == 2
    assert "usage: bootstrap.py" in capsys.readouterr().err


def test_only_to_install_takes_what_any_lab_needs_and_starts_nothing(wanted):
    with pytest.raises(SystemExit) as ended:
        bootstrap.main(["--install", "lab"])
    assert not ended.value.code
    assert wanted["needed"].items() >= {"mnexec": "mininet", "natpmpc": "natpmpc"}.items()
    assert "became" not in wanted


def test_a_colon_in_the_clones_path_is_refused(monkeypatch, tmp_path, capsys):
    root = tmp_path / "a:b"
    root.mkdir()
    monkeypatch.setattr(bootstrap, "ROOT", root)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stopped:
        bootstrap.main(["labs"])
    assert stopped.value.code == 3
    assert f"{root} has a colon in its name: move the clone" in capsys.readouterr().err


def test_python_packages_are_installed_once(clone, commands):
    lock = bootstrap.RUNTIME_LOCK
    assert not bootstrap.stamped(lock)
    bootstrap.install_python_packages(lock, {})
    assert bootstrap.stamped(lock)
    venv, pip = commands
    assert venv[0] == "/usr/bin/python3"
    assert pip[0] == str(clone / ".venv/bin/python")
    assert {"--require-hashes", str(lock)} <= set(pip)


def test_the_labs_are_served_by_the_tests_packages(clone, commands):
    bootstrap.install_python_packages(bootstrap.TEST_LOCK, {})
    assert bootstrap.stamped(bootstrap.RUNTIME_LOCK)


def test_the_tests_packages_are_added_to_the_labs(clone, commands):
    bootstrap.install_python_packages(bootstrap.RUNTIME_LOCK, {})
    bootstrap.install_python_packages(bootstrap.TEST_LOCK, {})
    assert [command[2] for command in commands] == ["venv", "pip", "pip"]
    assert bootstrap.stamped(bootstrap.TEST_LOCK)


def test_a_changed_lock_makes_all_anew(clone, commands):
    bootstrap.install_python_packages(bootstrap.RUNTIME_LOCK, {})
    old = clone / ".venv/old"
    old.touch()
    bootstrap.RUNTIME_LOCK.write_text("# changed\n")
    assert not bootstrap.stamped(bootstrap.RUNTIME_LOCK)
    bootstrap.install_python_packages(bootstrap.RUNTIME_LOCK, {})
    assert bootstrap.stamped(bootstrap.RUNTIME_LOCK)
    assert not old.exists()


def test_a_copied_clone_has_packages_of_its_own(clone, commands, monkeypatch):
    bootstrap.install_python_packages(bootstrap.RUNTIME_LOCK, {})
    copied = clone.with_name("copy")
    shutil.copytree(clone, copied)
    monkeypatch.setattr(bootstrap, "VENV", copied / ".venv")
    assert not bootstrap.stamped(bootstrap.RUNTIME_LOCK)
    # Its command runs the copy's code even so.
    found = copied / ".venv/lib/python3.11/site-packages"
    path = found / (found / "napt_lab.pth").read_text().strip()
    assert path.resolve() == copied / ".venv/import"


def test_a_venv_that_was_never_finished_is_made_anew(clone, commands, monkeypatch):
    def killed(what, command, environment):
        raise KeyboardInterrupt

    bootstrap.install_python_packages(bootstrap.RUNTIME_LOCK, {})
    half = clone / ".venv/half"
    half.touch()
    with monkeypatch.context() as context:
        context.setattr(bootstrap, "run", killed)
        with pytest.raises(KeyboardInterrupt):
            bootstrap.install_python_packages(bootstrap.TEST_LOCK, {})
    assert not bootstrap.stamped(bootstrap.RUNTIME_LOCK)
    bootstrap.install_python_packages(bootstrap.RUNTIME_LOCK, {})
    assert not half.exists()


def test_a_failing_step_shows_its_output(capsys):
    with pytest.raises(bootstrap.CannotRun, match="no such package"):
        bootstrap.run("trying", ["sh", "-c", "echo no such package >&2; exit 1"], dict(os.environ))
    assert "trying" in capsys.readouterr().err


def test_no_service_starts_while_packages_are_installed(monkeypatch, tmp_path):
    policy = tmp_path / "policy-rc.d"
    monkeypatch.setattr(bootstrap, "POLICY", policy)
    with bootstrap.no_services_started([]):
        assert subprocess.run([policy, "coturn", "start"], check=False).returncode == 101
    assert not policy.exists()


def test_an_administrators_own_policy_stays(monkeypatch, tmp_path):
    policy = tmp_path / "policy-rc.d"
    policy.write_text("theirs")
    monkeypatch.setattr(bootstrap, "POLICY", policy)
    with bootstrap.no_services_started([]):
        assert policy.read_text() == "theirs"
    assert policy.read_text() == "theirs"


def child(script: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def test_a_policy_left_behind_by_a_kill_is_void(tmp_path):
    policy = tmp_path / "policy-rc.d"
    installing = child(f"""
        import sys
        from pathlib import Path
        from napt_lab.labs.setup import bootstrap
        bootstrap.POLICY = Path({str(policy)!r})
        with bootstrap.no_services_started([]):
            print("installing", flush=True)
            sys.stdin.read()
    """)
    assert installing.stdout.readline() == "installing\n"
    assert subprocess.run([policy], check=False).returncode == 101
    installing.kill()
    installing.wait()
    assert subprocess.run([policy], check=False).returncode == 0
    assert not policy.exists()


def test_of_two_at_once_one_waits_even_for_what_a_killed_one_started(tmp_path):
    holder = child(f"""
        import subprocess, sys
        from pathlib import Path
        from napt_lab.labs.setup import bootstrap
        bootstrap.ROOT = Path({str(tmp_path)!r})
        with bootstrap.one_at_a_time():
            step = subprocess.Popen(["sleep", "1000"], close_fds=False)
            print(step.pid, flush=True)
            sys.stdin.read()
    """)
    step = int(holder.stdout.readline())
    waiter = child(f"""
        import sys
        from pathlib import Path
        from napt_lab.labs.setup import bootstrap
        bootstrap.ROOT = Path({str(tmp_path)!r})
        bootstrap.say = lambda text: print(text, flush=True)
        with bootstrap.one_at_a_time():
            print("mine", flush=True)
    """)
    assert "waiting for it" in waiter.stdout.readline()
    holder.kill()
    holder.wait()
    with pytest.raises(subprocess.TimeoutExpired):
        waiter.wait(0.3)
    os.kill(step, signal.SIGKILL)
    assert waiter.stdout.readline() == "mine\n"
    assert waiter.wait(10) == 0
