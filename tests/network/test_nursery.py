"""Our programs are forked from one process, and are programs of their own all the same."""

from __future__ import annotations

import os
import resource
import signal
import socket
import threading
from pathlib import Path

import pytest

from napt_lab.topologies.network import nursery_template, own_programs
from napt_lab.topologies.network.build_error import ProgramLost
from napt_lab.topologies.network.builder import Network
from napt_lab.topologies.network.nursery import Nursery
from napt_lab.topologies.network.nursery_template import Template
from napt_lab.topologies.spec.checkout import TOPOLOGIES
from napt_lab.topologies.spec.loader import load
from tests.waiting import wait_until

pytestmark = pytest.mark.network(timeout=60)


def parent(pid):
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def test_each_is_shown_with_its_words_on_its_node():
    with Network(load(TOPOLOGIES / "two-sites.yaml")) as net:
        (napt,), (files,) = (net[name].processes for name in ("napt_a", "files"))
        shown = Path(f"/proc/{napt.pid}/cmdline").read_bytes()
        assert shown.rstrip(b"\0") == " ".join(napt.argv).encode()
        for process, node in ((napt, net["napt_a"]), (files, net["files"])):
            for kind in ("net", "mnt"):
                namespaces = [
                    Path(f"/proc/{p}/ns/{kind}").readlink() for p in (process.pid, node.pid)
                ]
                assert namespaces[0] == namespaces[1]
            assert os.getpgid(process.pid) == process.pid
        assert parent(napt.pid) == parent(files.pid) != os.getpid()
        wrong = net["files"].start_program([*files.argv[:4], "--port", "x"], name="wrong")
        wrong.await_end()
        assert wrong.status == 2
        assert "'x' is not a port" in str(wrong.obituary())


def test_what_is_typed_by_its_short_name_comes_from_there_as_well():
    with Network(load(TOPOLOGIES / "two-sites.yaml")) as net:
        (files,) = net["files"].processes
        typed = net["alice"].start(["web-server", "--port", "8000"])
        typed.wait_for("ready")
        assert parent(typed.pid) == parent(files.pid)
        words = own_programs.launched("web-server", ["--port", "8000"])
        shown = Path(f"/proc/{typed.pid}/cmdline").read_bytes()
        assert shown.rstrip(b"\0") == " ".join(words).encode()
        assert Path(f"/proc/{typed.pid}/cwd").readlink() == net["alice"].home


def test_a_program_may_have_more_words_than_a_message_has_room_for():
    with Network(load(TOPOLOGIES / "two-sites.yaml")) as net:
        (files,) = net["files"].processes
        net["files"].environment["LONG"] = "x" * (1 << 20)
        words = [*files.argv[:4], "--port", "9" * (1 << 19)]
        refused = net["files"].start_program(words, name="long")
        refused.await_end()
        assert refused.status == 2
        assert "999999' is not a port" in str(refused.obituary())


def test_a_ctrl_c_amid_the_start_of_a_program_leaves_nothing_behind(monkeypatch):
    """It may come to any thread: Python interrupts the main thread."""

    def send_and_interrupt(*request):
        sent = send(*request)
        reader = next(t for t in threading.enumerate() if t is not threading.main_thread())
        told, tells = socket.socketpair()
        with told, tells:
            tells.setblocking(False)
            before = signal.set_wakeup_fd(tells.fileno())
            signal.pthread_kill(reader.ident, signal.SIGINT)
            assert told.recv(1)  # the signal has come: a busy machine may take its time
            signal.set_wakeup_fd(before)
        return sent

    send = socket.send_fds
    with Network(load(TOPOLOGIES / "two-sites.yaml")) as net:
        (files,) = net["files"].processes
        words = [*files.argv[:4], "--folder", "one", "--port", "9999"]
        with monkeypatch.context() as patch:
            patch.setattr(socket, "send_fds", send_and_interrupt)
            with pytest.raises(KeyboardInterrupt):
                net["files"].start_program(words, name="interrupted")
        *_, interrupted = net["files"].processes
        assert interrupted.name == "interrupted"
        interrupted.await_ready(20)
        following = net["files"].start_program([*words[:5], "two", "--port", "9998"], name="next")
        following.await_ready(20)
        for process, port in ((interrupted, b"9999"), (following, b"9998")):
            assert Path(f"/proc/{process.pid}/cmdline").read_bytes().rstrip(b"\0").endswith(port)
    assert not any(Path(f"/proc/{p.pid}").exists() for p in (files, interrupted, following))


def test_without_the_process_that_they_come_from_they_are_lost():
    with (  # noqa: PT012
        pytest.raises(ProgramLost, match="ended with status -9"),
        Network(load(TOPOLOGIES / "two-sites.yaml")) as net,
    ):
        (napt,) = net["napt_a"].processes
        os.kill(parent(napt.pid), signal.SIGKILL)
        wait_until(lambda: not napt.running, "the news")


def nursery_of(net):
    """The process that the network's programs come from, and its words."""
    (napt,) = net["napt_a"].processes
    found = parent(napt.pid)
    return found, Path(f"/proc/{found}/cmdline").read_bytes().decode()


def test_pytests_template_forks_it_into_the_sandbox():
    with Network(load(TOPOLOGIES / "two-sites.yaml")) as net:
        nursery, words = nursery_of(net)
        assert nursery_template.PROGRAM in words
        for kind in nursery_template.NAMESPACES:
            theirs, ours = (Path(f"/proc/{who}/ns/{kind}").readlink() for who in (nursery, "self"))
            assert theirs == ours
    wait_until(lambda: not Path(f"/proc/{nursery}").exists(), "its parent to hear of its end")


def inherited(pid):
    """What a process has from its parent, as the kernel shows it."""
    status = dict(
        line.split(":\t", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines()
    )
    ignored = int(status["SigIgn"], 16) & ~(1 << signal.SIGPIPE - 1 | 1 << signal.SIGXFSZ - 1)
    names = ("Umask", "SigBlk", "Cpus_allowed_list")
    return [
        *(status[name] for name in names), ignored,
        os.getpriority(os.PRIO_PROCESS, pid), resource.prlimit(pid, resource.RLIMIT_NOFILE),
    ]  # fmt: skip


@pytest.mark.parametrize("forked", [True, False])
def test_it_inherits_as_from_its_builder(monkeypatch, forked):
    if not forked:
        monkeypatch.setattr(Nursery, "template", None)
    os.umask(0o027)
    os.nice(3)
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    signal.signal(signal.SIGUSR2, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (1234, hard))
    with Network(load(TOPOLOGIES / "two-sites.yaml")) as net:
        nursery, words = nursery_of(net)
        assert (nursery_template.PROGRAM in words) is forked
        assert inherited(nursery) == inherited(os.getpid())


def test_it_ends_however_many_files_are_open():
    many = [os.open("/dev/null", os.O_RDONLY) for _ in range(1100)]
    with Network(load(TOPOLOGIES / "two-sites.yaml")):
        pass
    for each in many:
        os.close(each)


def test_in_another_environment_it_is_a_process_of_its_own(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", "/somewhere/else")
    with Network(load(TOPOLOGIES / "two-sites.yaml")) as net:
        nursery, words = nursery_of(net)
        assert nursery_template.PROGRAM not in words
        assert parent(nursery) == os.getpid()


@pytest.mark.parametrize("dead", [True, False])
def test_without_a_template_it_is_a_process_of_its_own(monkeypatch, dead):
    template = Template(own_programs.environment())
    if dead:
        template.close()
    else:  # it may not enter
        monkeypatch.setattr(nursery_template, "NAMESPACES", ("net",))
    monkeypatch.setattr(Nursery, "template", template)
    with Network(load(TOPOLOGIES / "two-sites.yaml")) as net:
        nursery, words = nursery_of(net)
        assert nursery_template.PROGRAM not in words
        assert parent(nursery) == os.getpid()
    template.close()
