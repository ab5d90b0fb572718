"""labs/setup/start.sh: where a command runs on this machine, where in a container, with what.

The machine is imagined: a PATH of its own, on which `uname`, `id`, `sysctl` and the engines are
scripts that say what the test wants to be true, and the engines write down what they are told.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[3]
TOOLS = "sh awk basename cat cksum dirname ls mkdir mktemp rm sed tail"
LINUX, WSL, MACOS = "Linux 6.1.0-18-amd64", "Linux 5.15.90-microsoft-standard-WSL2", "Darwin 24.1.0"
USERS_RIGHTS = {
    "docker": {"seccomp=labs/setup/seccomp.json", "systempaths=unconfined", "apparmor=unconfined"},
    "podman": {"unmask=ALL"},
}


@dataclass
class Started:
    """What came of it: what was said, and each call of an engine as a list of words."""

    status: int
    output: str
    errors: str
    calls: list[list[str]] = field(default_factory=list)

    def run(self) -> list[str]:
        (run,) = [call for call in self.calls if call[1] == "run"]
        return run

    def given(self, option: str) -> set[str]:
        """The values of an option of `run`, wherever it stands."""
        run = self.run()
        return {value for name, value in pairwise(run) if name == option}


class ImaginedMachine:
    def __init__(self, folder: Path) -> None:
        self.clone = folder / "napt lab"
        for room in ("setup", "cli"):
            (self.clone / "labs" / room).mkdir(parents=True)
        for name in (
            "Dockerfile",
            "requirements.lock",
            "requirements-dev.lock",
            "labs/setup/start.sh",
        ):
            shutil.copy(ROOT / name, self.clone / name)
        self.write("labs/setup/bootstrap.py", "import sys; print('here:', *sys.argv[1:])")
        self.write("labs/cli/main.py", '@option("--step", envvar="STEP", help="")')
        (self.clone / "labs/check").mkdir()
        self.write("labs/check/cli.py", '@option(\n    envvar="PART",\n)')
        self.bin = folder / "bin"
        self.bin.mkdir()
        for tool in TOOLS.split():
            (self.bin / tool).symlink_to(shutil.which(tool))
        self.log = folder / "calls"
        self.has(uname=LINUX, user=1000)

    def write(self, name: str, text: str) -> Path:
        path = self.clone / name
        path.write_text(text)
        return path

    def script(self, name: str, text: str) -> None:
        path = self.bin / name
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)

    def has(self, *, uname: str, user: int, settings: str = "") -> None:
        name = uname.split()[0]
        self.script("uname", f'case $1 in -s) echo {name} ;; *) echo "{uname}" ;; esac')
        self.script("id", f"case $1 in -un) echo ann ;; *) echo {user} ;; esac")
        self.script("sysctl", settings or "exit 1")

    def has_engine(self, name: str, *, info: str = "", image: int = 0, build: str = "") -> None:
        self.script(
            name,
            f'for word in {name} "$@"; do printf "%s\\0" "$word"; done >> "{self.log}"\n'
            f'echo >> "{self.log}"\n'
            f"case $1 in info) {info or ':'} ;; image) exit {image} ;;\n"
            f"build) {build or ':'} ;; esac",
        )

    def start(self, *arguments: str, **environment: str) -> Started:
        done = subprocess.run(
            ["sh", "labs/setup/start.sh", *arguments],
            cwd=self.clone,
            env={"PATH": str(self.bin), **environment},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=30,
        )
        lines = self.log.read_text().split("\0\n") if self.log.exists() else []
        calls = [line.split("\0") for line in lines if line]
        return Started(done.returncode, done.stdout, done.stderr, calls)


@pytest.fixture
def machine(tmp_path):
    return ImaginedMachine(tmp_path)


# --- where -------------------------------------------------------------------------------------


def test_on_linux_it_runs_here_even_with_an_engine_at_hand(machine):
    machine.has_engine("docker")
    started = machine.start("lab", "9c")
    assert started.output == "here: lab 9c\n"
    assert started.calls == []


@pytest.mark.parametrize(
    ("system", "engines", "expected"),
    [
        (MACOS, ["docker", "podman"], "docker"),
        (MACOS, ["podman"], "podman"),
        (WSL, ["podman"], "podman"),
        (WSL, [], "here"),
    ],
)
def test_where_mininet_may_not_be_it_takes_a_container_by_itself(
    machine, system, engines, expected
):
    machine.has(uname=system, user=501)
    for engine in engines:
        machine.has_engine(engine)
    started = machine.start("lab", "9c")
    assert started.status == 0, started.errors
    if expected == "here":
        assert started.output == "here: lab 9c\n"
    else:
        assert started.run()[0] == expected
        assert started.run()[-2:] == ["lab", "9c"]


def test_without_a_container_wsl_runs_it_here(machine):
    machine.has(uname=WSL, user=1000)
    machine.has_engine("docker")
    assert machine.start("lab", "9c", ENGINE="none").output == "here: lab 9c\n"


def test_macos_cannot_do_without_a_container(machine):
    machine.has(uname=MACOS, user=501)
    started = machine.start("lab", "9c", ENGINE="none")
    assert started.status == 3
    assert "Mininet runs on Linux only, and this is Darwin" in started.errors


# --- what may be wrong -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("system", "engine", "words"),
    [
        (LINUX, "docker", "docker is not installed. Type: sudo apt-get install docker.io"),
        (LINUX, "podman", "podman is not installed. Type: sudo apt-get install podman"),
        (MACOS, "", "docker is not installed. Install Docker Desktop"),
        (MACOS, "podman", "Type: brew install podman && podman machine init"),
    ],
)
def test_an_engine_that_is_not_installed(machine, system, engine, words):
    machine.has(uname=system, user=1000)
    started = machine.start("lab", "9c", ENGINE=engine)
    assert started.status == 3
    assert words in started.errors


def test_an_engine_that_there_is_not_and_no_command(machine):
    assert machine.start(ENGINE="podman").status == 2
    started = machine.start("lab", "9c", ENGINE="lxc")
    assert started.status == 2
    assert "ENGINE=lxc: it can be docker, podman or none" in started.errors


@pytest.mark.parametrize(
    ("system", "said", "words"),
    [
        (LINUX, "permission denied while trying to connect", "sudo usermod -aG docker ann"),
        (LINUX, "Is the docker daemon running?", "sudo systemctl start docker"),
        (MACOS, "Is the docker daemon running?", "Start Docker Desktop"),
    ],
)
def test_an_engine_that_does_not_answer(machine, system, said, words):
    machine.has(uname=system, user=1000)
    machine.has_engine("docker", info=f'echo "{said}" >&2; exit 1')
    started = machine.start("lab", "9c", ENGINE="docker")
    assert started.status == 3
    assert said in started.errors
    assert words in started.errors


def test_an_image_that_cannot_be_built(machine):
    machine.has_engine("podman", image=1, build="echo no route to the registry; exit 125")
    started = machine.start("lab", "9c", ENGINE="podman")
    assert started.status == 3
    assert "no route to the registry" in started.errors
    assert [call[1] for call in started.calls] == ["info", "image", "build"]


def test_a_place_with_a_colon_cannot_be_mounted(machine, tmp_path):
    machine.has_engine("docker")
    (tmp_path / "a:b.yaml").touch()
    for wrong in ({"RULES": "../a:b.yaml"}, {"XDG_STATE_HOME": f"{tmp_path}/a:b"}):
        started = machine.start("grade", ENGINE="docker", **wrong)
        assert started.status == 3
        assert f"{tmp_path}/a:b" in started.errors
        assert "a colon in its name" in started.errors
        assert "run" not in [call[1] for call in started.calls]
    machine.clone = machine.clone.rename(tmp_path / "a:b")
    assert "/a:b has a colon in its name" in machine.start("lab", ENGINE="docker").errors


# --- the image ---------------------------------------------------------------------------------


def test_an_image_is_built_once_and_anew_when_what_is_in_it_changes(machine):
    machine.has_engine("podman", image=1)
    first = machine.start("lab", "9c", ENGINE="podman")
    _, _, build, _ = first.calls
    name = build[build.index("--tag") + 1]
    assert name in first.run()
    machine.log.unlink()
    machine.has_engine("podman")
    again = machine.start("lab", "9c", ENGINE="podman")
    assert [call[1] for call in again.calls] == ["info", "image", "run"]
    assert name in again.run()
    machine.log.unlink()
    machine.write("requirements.lock", "# another\n")
    assert name not in machine.start("lab", "9c", ENGINE="podman").run()


@pytest.mark.parametrize(("command", "stage"), [("test", "tests"), ("lab", "machine")])
def test_the_tests_have_an_image_of_their_own(machine, command, stage):
    machine.has_engine("podman", image=1)
    started = machine.start(command, ENGINE="podman")
    assert any(word.startswith(f"napt-lab:{stage}-") for word in started.run())
    stages = re.findall(r"^FROM .* AS (\S+)$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    assert stage in stages


# --- the container -----------------------------------------------------------------------------


@pytest.mark.parametrize("engine", ["docker", "podman"])
def test_a_user_gets_no_capability(machine, engine):
    machine.has_engine(engine)
    started = machine.start("lab", "9c", ENGINE=engine)
    assert started.given("--cap-add") == set()
    assert started.given("--cap-drop") == {"ALL"}
    assert started.given("--network") == {"none"}
    assert started.given("--user") == {"1000:1000"}
    assert started.given("--security-opt") == USERS_RIGHTS[engine] | {"no-new-privileges"}
    assert started.given("--userns") == ({"keep-id"} if engine == "podman" else set())
    assert started.given("--device") == {"/dev/net/tun"}
    assert started.given("--volume") == {"/sys:/sys", f"{machine.clone}:{machine.clone}"}
    assert started.given("--workdir") == {str(machine.clone)}


@pytest.mark.parametrize(("asked", "port"), [("1", "8900"), ("8123", "8123")])
def test_the_live_page_is_the_one_published_port(machine, asked, port):
    machine.write("labs/cli/main.py", '@option("--web", envvar="WEB")')
    machine.script("podman", f'echo "WEB=$WEB" >> "{machine.log}.web"')
    machine.start("lab", "9c", ENGINE="podman", WEB=asked)
    told = Path(f"{machine.log}.web").read_text().split()
    machine.has_engine("podman")
    started = machine.start("lab", "9c", ENGINE="podman", WEB=asked)
    assert started.given("--publish") == {f"127.0.0.1:{port}:{port}"}
    assert started.given("--network") == set()
    assert "WEB" in started.given("--env")
    assert told[-1] == f"WEB={port}"


def test_in_a_docker_without_root_the_user_is_root_inside(machine):
    machine.has_engine("docker", info="echo '[name=seccomp,profile=builtin name=rootless]'")
    started = machine.start("lab", "9c", ENGINE="docker")
    assert started.given("--user") == {"0:0"}
    assert started.given("--cap-add") == {"SETFCAP"}
    assert "apparmor=unconfined" not in started.given("--security-opt")


@pytest.mark.parametrize(
    "setting",
    [
        "kernel.apparmor_restrict_unprivileged_userns) echo 1",
        "kernel.unprivileged_userns_clone) echo 0",
        "user.max_user_namespaces) echo 0",
    ],
)
def test_where_users_get_no_namespaces_root_gets_capabilities_and_says_so(machine, setting):
    machine.has(uname=LINUX, user=1000, settings=f"case $2 in {setting} ;; *) exit 1 ;; esac")
    machine.has_engine("docker")
    started = machine.start("lab", "9c", ENGINE="docker")
    assert "the container runs as root, with capabilities" in started.errors
    assert started.given("--user") == {"0:0"}
    assert started.given("--security-opt") == {"apparmor=unconfined", "no-new-privileges"}
    page = (ROOT / "docs" / "container.md").read_text()
    assert started.given("--cap-add") >= {"SYS_ADMIN", "NET_ADMIN"}
    for capability in started.given("--cap-add"):
        assert f"`{capability}`" in page
    machine.log.unlink()
    machine.has_engine("podman")  # without root, it has an exemption from the distribution
    assert machine.start("lab", "9c", ENGINE="podman").given("--cap-add") == set()


def test_what_the_commands_read_from_the_environment_is_passed_on(machine):
    machine.has_engine("docker")
    started = machine.start("lab", "9c", ENGINE="docker", STEP="1")
    assert started.given("--env") >= {"STEP", "PART", "TERM", "HOME=/tmp"}


def test_what_the_lab_knows_of_a_person_outlives_the_container(machine, tmp_path):
    machine.has_engine("podman")
    shown = machine.start("exercise", "9c", ENGINE="podman", HOME=str(tmp_path)).given("--volume")
    state = tmp_path / ".local/state/napt-lab"
    assert f"{state}:/tmp/.local/state/napt-lab" in shown
    assert state.is_dir()


@pytest.mark.parametrize(
    "variable", ["TOPOLOGY", "LEVEL", "RULES", "TRANSLATOR", "FOLDER", "STUDENTS", "SECRET"]
)
def test_a_file_elsewhere_is_shown_to_the_container_alone_and_read_only(
    machine, tmp_path, variable
):
    machine.has_engine("docker")
    outside = tmp_path / "my home, sweet.yaml"
    outside.touch()
    inside = machine.write("inside.yaml", "")
    own = {"/sys:/sys", f"{machine.clone}:{machine.clone}"}
    named = {variable: "../my home, sweet.yaml"}
    shown = machine.start("check", ENGINE="docker", **named).given("--volume")
    assert shown == own | {f"{outside}:{outside}:ro"}
    machine.log.unlink()
    shown = machine.start("check", ENGINE="docker", **{variable: str(inside)}).given("--volume")
    assert shown == own


def test_a_folder_of_answers_elsewhere_is_shown_as_well(machine, tmp_path):
    machine.has_engine("docker")
    answers = tmp_path / "submissions"
    answers.mkdir()
    shown = machine.start("grade", ENGINE="docker", FOLDER=str(answers)).given("--volume")
    assert f"{answers}:{answers}:ro" in shown
    machine.log.unlink()
    shown = machine.start("grade", ENGINE="docker", FOLDER="..").given("--volume")
    assert f"{machine.clone.parent}:{machine.clone.parent}:ro" in shown
    for own in (str(machine.clone), "."):
        machine.log.unlink()
        shown = machine.start("grade", ENGINE="docker", FOLDER=own).given("--volume")
        assert shown == {"/sys:/sys", f"{machine.clone}:{machine.clone}"}


def test_without_a_terminal_none_is_asked_for(machine):
    machine.has_engine("docker")
    run = machine.start("lab", "9c", ENGINE="docker").run()
    assert "--tty" not in run
    assert "--interactive" in run


# --- the same rights everywhere ----------------------------------------------------------------


def test_the_page_on_containers_explains_each_right():
    page = (ROOT / "docs" / "container.md").read_text()
    for right in set().union(*USERS_RIGHTS.values()):
        assert f"`--security-opt {right}`" in page or f"`{right}`" in page, right


def test_compose_and_the_editors_container_give_the_same_rights():
    service = yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]["lab"]
    rights = USERS_RIGHTS["docker"] | {"no-new-privileges"}
    assert set(service["security_opt"]) == rights
    assert (service["cap_drop"], service.get("cap_add")) == (["ALL"], None)
    assert service["network_mode"] == "none"
    text = (ROOT / ".devcontainer/devcontainer.json").read_text()
    container = json.loads(re.sub(r"^\s*//.*$", "", text, flags=re.MULTILINE))
    options = {option.replace("${localWorkspaceFolder}/", "") for option in container["runArgs"]}
    expected = {f"--security-opt={right}" for right in rights}
    assert options == expected | {"--cap-drop=ALL", "--device=/dev/net/tun"}


def test_the_seccomp_profile_refuses_what_a_lab_never_needs():
    profile = json.loads((ROOT / "labs/setup/seccomp.json").read_text())
    (rule,) = profile["syscalls"]
    assert rule["action"] == "SCMP_ACT_ERRNO"
    assert {"bpf", "kexec_load", "init_module", "keyctl"} <= set(rule["names"])
    needed = {"unshare", "clone", "mount", "umount2", "setns", "sethostname", "pivot_root"}
    assert not needed & set(rule["names"])


def test_the_script_is_plain_posix():
    if shutil.which("dash") is None:
        pytest.skip("no shell here that knows nothing but POSIX")
    subprocess.run(["dash", "-n", ROOT / "labs/setup/start.sh"], check=True)
    assert not os.access(ROOT / "labs/setup/start.sh", os.X_OK), (
        "make says `sh`: no mode to be lost"
    )
