"""Programs around a TURN server in the tests: ours, coturn's server and coturn's peer."""

from __future__ import annotations

import contextlib
import re
import shutil
import socket
import subprocess
from concurrent.futures import ThreadPoolExecutor

from tests.server_program import Program
from tests.waiting import wait_until

SERVER = ("127.0.0.1", 3478)
USER, PASSWORD = "alice", "secret"
DEADLINE = 10.0  # seconds


def turn_server(*arguments, prefix=()):
    """This project's server, which relays to loopback because the tests live there."""
    return Program(
        "napt_lab.servers.turn", "--listen", SERVER[0], "--port", SERVER[1], "--realm", "napt.lab",
        "--user", f"{USER}:{PASSWORD}", "--relay-address", "127.0.0.1",
        *(arguments or ("--allow-peer", "127.0.0.0/8")), prefix=prefix,
    )  # fmt: skip


def need(program):
    """Fail where a program is missing that `make test` installs."""
    assert shutil.which(program), f"{program} is not installed (Debian package coturn)"


@contextlib.contextmanager
def coturn_server(folder):
    """coturn's own server with the same address, realm and user."""
    need("turnserver")
    with (folder / "coturn.log").open("wb") as log:
        process = subprocess.Popen(
            ["turnserver", "-n", "-c", "/dev/null", "--log-file", "stdout", "--no-cli",
             "--no-tls", "--no-dtls", "-a", "-r", "napt.lab", "-u", f"{USER}:{PASSWORD}",
             "-L", SERVER[0], "-E", SERVER[0], "-p", str(SERVER[1]),
             "--allow-loopback-peers", "--no-multicast-peers",
             "--userdb", folder / "turndb", "--pidfile", folder / "turnserver.pid"],
            stdout=log,
        )  # fmt: skip
        try:
            await_listening(process)
            yield process
        finally:
            process.terminate()
            process.wait(DEADLINE)


def await_listening(process):
    def listens():
        assert process.poll() is None, "the server ended"
        with contextlib.suppress(OSError):
            socket.create_connection(SERVER, timeout=1).close()
            return True
        return False

    wait_until(listens, "the server to listen", DEADLINE)
    # coturn opens its UDP socket some time after that for TCP.
    binding_request = bytes.fromhex("000100002112a442") + bytes(12)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(SERVER)
        probe.settimeout(0.1)

        def answers():
            assert process.poll() is None, "the server ended"
            with contextlib.suppress(OSError):  # refused, or no answer yet
                probe.send(binding_request)
                return probe.recv(1500)
            return b""

        wait_until(answers, "the server to answer", DEADLINE)


@contextlib.contextmanager
def coturn_peer(port=3480):
    """coturn's echo server for datagrams."""
    need("turnutils_peer")
    process = subprocess.Popen(
        ["turnutils_peer", "-L", "127.0.0.1", "-p", str(port)], stdout=subprocess.DEVNULL
    )
    try:
        await_echo(port)
        yield port
    finally:
        process.terminate()
        process.wait(DEADLINE)


def await_echo(port):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.settimeout(0.05)

        def echoes():
            with contextlib.suppress(OSError):
                probe.sendto(b"x", ("127.0.0.1", port))
                return probe.recv(10)
            return b""

        wait_until(echoes, "the peer to echo", DEADLINE)


def coturn_client(*options, password=PASSWORD, server=SERVER[0], prefix=()):
    """Run coturn's client to its end: messages it sent and received, and its output."""
    need("turnutils_uclient")
    result = subprocess.run(
        [*prefix, "turnutils_uclient", "-u", USER, "-w", password, "-p", str(SERVER[1]), "-n", "10",
         "-z", "5", *map(str, options), server],
        capture_output=True,
        text=True,
        timeout=40,
        check=False,
    )  # fmt: skip
    output = result.stdout + result.stderr
    counted = re.findall(r"tot_send_msgs=(\d+), tot_recv_msgs=(\d+)", output)
    sent, received = map(int, counted[-1]) if counted else (0, 0)
    return sent, received, output


def coturn_clients(*clients, **choices):
    """The same for several at once, each with options of its own: they mostly wait."""
    with ThreadPoolExecutor(len(clients)) as pool:
        return list(pool.map(lambda options: coturn_client(*options, **choices), clients))
