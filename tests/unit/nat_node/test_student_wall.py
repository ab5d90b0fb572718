"""A hostile translator: what it wants to see, to change or to take is out of its reach.

Each attack is one function. All of them are tried twice: as a translator, and by a program without
the wall, where they must work. An attack that cannot work shows nothing.
"""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from napt_lab.nat_node.engines.student import process
from napt_lab.nat_node.engines.student.process import WorkerLost
from tests.packets import tcp
from tests.unit.nat_node.student_worker import Mine

ROOT = Path(__file__).parents[3]
SERVER = "151.101.1.69:80"

ATTACKS = """
import ctypes, importlib.util, os, resource, signal, socket, subprocess, sys, tempfile, threading
from multiprocessing import shared_memory

libc = ctypes.CDLL(None, use_errno=True)

def must(result):
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result

# what others do and have

def see_processes():
    assert any(name.isdigit() for name in os.listdir("/proc")), "none to be seen"

def read_environment_of_another():
    open(f"/proc/{VICTIM}/environ", "rb").read()

def open_memory_of_another():
    open(f"/proc/{VICTIM}/mem", "r+b").close()

def open_descriptor_of_another():
    os.close(os.open(f"/proc/{VICTIM}/fd/1", os.O_WRONLY))

def trace_another():
    must(libc.ptrace(0x4206, VICTIM, 0, 0))  # PTRACE_SEIZE

def take_descriptor_of_another():
    os.close(must(libc.syscall(438, os.pidfd_open(VICTIM), 1, 0)))  # pidfd_getfd

def signal_another():
    os.kill(VICTIM, 0)

def signal_all():
    os.kill(-1, 0)

def read_teachers_environment():
    assert os.environ["TEACHER"]

def read_teachers_environment_in_c():
    libc.getenv.restype = ctypes.c_char_p
    assert libc.getenv(b"TEACHER"), "there is no such variable"

# files

def read_secret():
    open(SECRET).read()

def write_secret():
    open(SECRET, "a").close()

def write_beside():
    open(os.path.join(os.path.dirname(SECRET), "left-behind"), "w").close()

def write_temporary():
    tempfile.TemporaryFile().close()

def list_home():
    os.listdir(HOME)

def read_the_solution():
    open(SOLUTION).read()

def read_passwords():
    open("/etc/passwd").read()

def write_library():
    open(os.__file__, "r+b").close()

def make_files_writable():
    must(libc.mount(None, b"/usr/lib", None, 32 | 4096, None))  # MS_REMOUNT | MS_BIND

# more than its share

def fork():
    if os.fork() == 0:
        os._exit(0)
    os.wait()

def start_thread():
    threading.Thread(target=str).start()

def start_program():
    subprocess.run(["true"], check=True)

def share_memory_by_name():
    shared = shared_memory.SharedMemory(create=True, size=1 << 20)
    shared.close()
    shared.unlink()

def share_memory_by_number():
    number = must(libc.shmget(0, 1 << 20, 0o1600))
    must(libc.shmctl(number, 0, None))  # IPC_RMID

def queue_messages():
    must(libc.msgctl(must(libc.msgget(0, 0o1600)), 0, None))

def keep_memory_in_a_file():
    os.close(os.memfd_create("more"))

def keep_memory_in_pipes():
    for end in os.pipe():
        os.close(end)

def raise_a_limit():
    resource.setrlimit(resource.RLIMIT_NOFILE, resource.getrlimit(resource.RLIMIT_NOFILE))

def stop_the_watch():
    signal.setitimer(signal.ITIMER_PROF, 0)

def make_namespaces():
    must(libc.unshare(0x1000_0000 | 0x0002_0000))  # user, mount

# the network

def connect_to_the_machine():
    socket.create_connection(("127.0.0.1", PORT), 5).close()

def connect_to_an_abstract_socket():
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(ABSTRACT)

def see_interfaces():
    assert len(socket.if_nameindex()) > 0

def configure_the_network():
    socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0).close()

# to let others work

def import_our_translator():
    import napt_lab.nat_node.core.translator

def import_our_state_machine():
    import napt_lab.nat_node.core.tcp_state

def import_the_solution():
    assert importlib.util.find_spec("napt_lab.nat_node.one_page")

def import_another_package():
    import pytest

def tried(attack):
    try:
        attack()
    except BaseException as error:
        return f"held: {type(error).__name__}: {error}"
    return "breach"
"""
NAMES = re.findall(r"^def (\w+)\(\)", ATTACKS, re.MULTILINE)
#: Not tried without the wall: what the machine of a test may refuse, or would suffer from.
NO_CONTROL = {"make_namespaces", "make_files_writable", "write_library"}
TRANSLATOR = """
NAMES = {names}

def translate(packet, now):
    return tried(globals()[NAMES[packet.source.port - 1]])
"""
CONTROL = """
import json
print(json.dumps({{name: tried(globals()[name]) for name in {names}}}))
"""
VICTIM = (
    "import ctypes, signal; ctypes.CDLL(None).prctl(0x59616d61, ctypes.c_ulong(-1), 0, 0, 0); "
    "print('here', flush=True); signal.pause()"
)


@pytest.fixture(scope="session")
def tries(tmp_path_factory):
    """What came of each attack: behind the wall, and without it."""
    folder = tmp_path_factory.mktemp("hostile")
    secret = folder / "answers.yaml"
    secret.write_text("42\n")
    os.environ["TEACHER"] = "a token"
    with (
        subprocess.Popen([sys.executable, "-c", VICTIM], stdout=subprocess.PIPE) as victim,
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.socket(socket.AF_UNIX) as abstract,
    ):
        try:
            assert victim.stdout.readline() == b"here\n"
            abstract.bind(f"\0napt-lab-{os.getpid()}")
            abstract.listen()
            constants = {
                "VICTIM": victim.pid, "SECRET": str(secret), "HOME": str(Path.home()),
                "SOLUTION": str(ROOT / "nat_node" / "one_page.py"),
                "PORT": server.getsockname()[1], "ABSTRACT": abstract.getsockname().decode(),
            }  # fmt: skip
            lines = "".join(f"{name} = {value!r}\n" for name, value in constants.items())
            file = folder / "mine.py"
            file.write_text(lines + ATTACKS + TRANSLATOR.format(names=NAMES))
            found = {}
            with Mine(file) as mine:
                for port, name in enumerate(NAMES, 1):
                    mine.out(tcp(f"10.0.0.7:{port}", SERVER))
                    found[name] = [f"{drop['reason']}: {drop['meaning']}" for drop in mine.drops]
            left = sorted(path.name for path in folder.iterdir())
            tried = [name for name in NAMES if name not in NO_CONTROL]
            control = subprocess.run(
                [sys.executable, "-c", lines + ATTACKS + CONTROL.format(names=tried)],
                stdout=subprocess.PIPE, check=True, timeout=60,
            )  # fmt: skip
            assert victim.poll() is None
        finally:
            del os.environ["TEACHER"]
            victim.kill()
    return found, json.loads(control.stdout), left


@pytest.mark.parametrize("name", NAMES)
def test_the_wall_holds(tries, name):
    behind, without, _ = tries
    (result,) = behind[name]
    assert result.startswith("held: "), result
    if name not in NO_CONTROL:
        assert without[name] == "breach", f"the attack does not work: {without[name]}"


def test_nothing_is_left_behind(tries):
    assert tries[2] == ["answers.yaml", "mine.py"]


def test_what_is_out_of_reach_is_said(tries):
    behind, _, _ = tries
    assert "this project's own translators are out of reach" in behind["import_the_solution"][0]
    assert "a translator is one file" in behind["import_another_package"][0]


def test_a_program_that_does_not_hear_the_watch_is_ended(tmp_path, monkeypatch):
    monkeypatch.setattr(process, "PROCESSOR_SECONDS", 0.5)
    (tmp_path / "mine.py").write_text(
        "import signal\nsignal.signal(signal.SIGPROF, signal.SIG_IGN)\n"
        "def translate(packet, now):\n    while True: pass\n"
    )
    with Mine(tmp_path / "mine.py") as mine:
        with pytest.raises(WorkerLost, match="it has been computing for"):
            mine.out(tcp("10.0.0.7:1", SERVER))
        assert mine.worker.pid == 0


def test_what_runs_at_the_exit_does_not_run(tmp_path):
    out = tmp_path / "out"
    source = f"import atexit, sys\natexit.register(lambda: open({str(out)!r}, 'w'))\n"
    (tmp_path / "mine.py").write_text(f"{source}def translate(packet, now): sys.exit()\n")
    with Mine(tmp_path / "mine.py") as mine:
        assert mine.out(tcp("10.0.0.7:1", SERVER)).reason == "translator-error"
    assert not out.exists()


FLOOD = """
import os

def translate(packet, now):
    while True:
        for number in range(3, 64):
            try:
                os.write(number, {frame!r})
            except OSError:
                pass
"""


def test_a_flood_of_answers_to_one_packet_is_cut(tmp_path, monkeypatch):
    monkeypatch.setattr(process, "MOST_FRAMES", 1000)
    frame = b"\x0b\0\0\0\0"  # SEND, no bytes
    (tmp_path / "mine.py").write_text(FLOOD.format(frame=frame))
    with Mine(tmp_path / "mine.py") as mine, pytest.raises(WorkerLost, match="it says too much"):
        mine.out(tcp("10.0.0.7:1", SERVER))


@pytest.mark.parametrize(
    ("before", "status", "words"),
    [
        ("true", 0, "mine.py prints: breaches: []"),
        ("echo 0 > /proc/sys/user/max_user_namespaces", 3,
         "mine.py: not run: the wall around a translator: the kernel refuses namespaces of its"),
    ],
)  # fmt: skip
def test_without_root_it_is_the_same_wall_or_none_at_all(tmp_path, before, status, words):
    """In a user namespace, in which root has no more rights than an ordinary user outside."""
    constants = f"VICTIM = 1\nHOME = '/'\nSOLUTION = SECRET = {str(tmp_path / 'mine.py')!r}\n"
    constants += "PORT, ABSTRACT = 9, '\\0none'\n"
    tell = "print('breaches:', [name for name in NAMES if tried(globals()[name]) == 'breach'])"
    names = [name for name in NAMES if name != "list_home"]
    (tmp_path / "mine.py").write_text(
        f"{constants}{ATTACKS}NAMES = {names}\n{tell}\ndef translate(packet, now): ...\n"
    )
    line = 'exec "$0" -m napt_lab.nat_node.engines.student mine.py'
    done = subprocess.run(
        ["unshare", "--user", "--map-root-user", "sh", "-c", f"{before}; {line}", sys.executable],
        cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert (done.returncode, words in done.stdout + done.stderr) == (status, True), done
