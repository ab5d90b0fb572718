"""The small web server: it says whom it sees, holds many connections, and bounds each."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tests.loopback.running import Server, curl, running
from tests.server_program import DEADLINE, ROOT, Program
from tests.waiting import wait_until

GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


@pytest.fixture(scope="session")
def server():
    with running("napt_lab.servers.web") as server:
        yield server


def connect(server, *sent):
    connection = socket.create_connection(("127.0.0.1", server.port), DEADLINE)
    for data in sent:
        connection.sendall(data)
    return connection


def endpoint(connection):
    return "{}:{}".format(*connection.getsockname())


def read_all(connection):
    received = b""
    with contextlib.suppress(ConnectionResetError):
        while piece := connection.recv(65536):
            received += piece
    return received


def test_curl_reads_how_it_is_seen(server):
    format_ = "\n%{local_ip}:%{local_port}"
    answer = curl("-w", format_, server.url)
    page, _, local = answer.body.decode().rpartition("\n")
    assert answer.status == 200
    assert f"You are {local}<" in page
    event = server.event("request", peer=local)
    assert (event["method"], event["path"], event["status"]) == ("GET", "/", 200)
    assert event["bytes"] == len(page)


def test_head_other_paths_and_other_methods(server):
    assert curl("-I", server.url).body == b""
    assert curl(f"{server.url}/other").status == 404
    assert curl("-X", "PUT", server.url).headers["allow"] == "GET, HEAD"
    assert curl("-d", "body", server.url).status == 405
    assert curl("--http1.0", server.url).headers["connection"] == "close"


def test_an_old_connection_still_carries_data(server):
    connection = connect(server)
    for nth in (1, 2, 3):
        connection.sendall(GET)
        answer = connection.recv(65536)
        assert f"You are {endpoint(connection)}".encode() in answer
        assert f"request {nth} ".encode() in answer
    assert server.event("request", peer=endpoint(connection), nth=3)


def test_requests_sent_at_once_are_answered_in_order(server):
    last = GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
    answers = read_all(connect(server, GET * 20, last))
    nths = [f"request {nth} ".encode() in answers for nth in range(1, 22)]
    assert nths == [True] * 21
    assert answers.count(b"HTTP/1.1 200") == 21


@pytest.mark.parametrize("between", [b"\r\n", b"\n\n"])
def test_empty_lines_before_a_request_are_ignored(server, between):
    """RFC 9112, section 2.2; also when both requests come at once."""
    last = GET.replace(b"1.1", b"1.0")
    assert read_all(connect(server, between + GET + between + last)).count(b"You are") == 2


def test_a_request_that_comes_byte_by_byte(server):
    connection = connect(server, *(bytes([byte]) for byte in GET))
    assert b"You are" in connection.recv(65536)


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"nonsense\r\n\r\n", 400),
        (GET.replace(b"Host", b"H"), 400),
        (GET.replace(b"x", b"a b"), 400),
        (b"GET / HTTP/1.1\r\nX: " + b"x" * 9000, 431),
        (b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\nx", 413),
    ],
)
def test_a_bad_request_ends_its_connection(server, sent, status):
    answer = read_all(connect(server, sent))
    assert answer.startswith(f"HTTP/1.1 {status} ".encode())
    assert b"Connection: close" in answer


@pytest.mark.parametrize("sent", [b"", b"GET / HT", GET, GET + b"GET", b"\x16\x03\x01\x02"])
def test_slowness_is_bounded_and_a_header_that_never_ends_is_answered(sent):
    with running("napt_lab.servers.web", "--head", "0.3", "--idle", "0.3") as server:
        answers = read_all(connect(server, sent))
        assert answers.count(b"You are") == sent.count(GET)
        assert answers.count(b"HTTP/1.1 408 ") == (sent not in (b"", GET))


NC = (
    ("GET / HTTP/1.1\nHost: x\n\n", b"HTTP/1.1 200 "),  # the classic exercise
    ("GET / HTTP/1.0\n\n", b"HTTP/1.1 200 "),
    ("GET / HTTP/1.1\r\nHost: x\n\r\n", b"HTTP/1.1 200 "),
    ("GET / HTTP/1.1\n\n", b"HTTP/1.1 400 "),
    ("GET / HTTP/1.1\nHost: x\rY: z\n\n", b"HTTP/1.1 400 "),
    ("GET / HTTP/1.1\nHost: x\n", b"HTTP/1.1 400 "),
    ("GET /", b"HTTP/1.1 400 "),
    ("hello\n\n", b"HTTP/1.1 400 "),
)


@pytest.mark.parametrize(("typed", "answer"), NC)
def test_what_is_typed_into_nc_is_answered(server, typed, answer):
    command = ["nc", "-N", "127.0.0.1", str(server.port)]
    done = subprocess.run(command, input=typed.encode(), capture_output=True, timeout=20)
    assert done.stdout.startswith(answer)


def test_a_bare_lf_is_answered_while_the_client_may_still_send(server):
    connection = connect(server, b"GET / HTTP/1.1\nHost: x\n\n" * 2)
    received = b""
    while received.count(b"</html>") < 2:
        received += connection.recv(65536)


def test_a_client_that_ends_its_side_gets_all_its_answers_however_slowly_it_reads():
    with running("napt_lab.servers.web", "--quiet-requests") as server:
        connection = socket.socket()
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.connect(("127.0.0.1", server.port))
        connection.settimeout(DEADLINE)
        count = 10_000  # answers of 4 MB: more than the socket buffers take
        sender = threading.Thread(target=connection.sendall, args=(GET * count,))
        sender.start()
        received = connection.recv(100)
        sender.join(0.2)  # it may be done, or held up: both are to be served
        while sender.is_alive():
            received += connection.recv(65536)
        connection.shutdown(socket.SHUT_WR)
        assert (received + read_all(connection)).count(b"</html>") == count


def test_an_answer_survives_a_body_that_is_not_read(server):
    """To close with unread bytes would reset the connection, and the answer with it."""
    body = b"x" * 5_000_000
    connection = connect(server)
    head = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body)
    connection.sendall(head + body)
    connection.shutdown(socket.SHUT_WR)
    assert connection.recv(65536).startswith(b"HTTP/1.1 405 ")
    assert connection.recv(65536) == b""


def test_a_crowd_of_one_address_leaves_places_for_others():
    with running("napt_lab.servers.web", "--max-connections", "20") as server:
        crowd = [socket.create_connection(("127.0.0.1", server.port), DEADLINE, ("127.0.0.66", 0))
                 for _ in range(26)]  # fmt: skip
        assert b"You are" in connect(server, GET).recv(65536)
        assert read_all(crowd[0]) == b""  # its place was taken


def test_idle_connections_from_as_many_addresses_as_there_are_places_keep_no_one_out():
    with running("napt_lab.servers.web", "--max-connections", "4") as server:
        crowd = [
            socket.create_connection(("127.0.0.1", server.port), DEADLINE, (f"127.0.0.{66 + n}", 0))
            for n in range(4)
        ]
        assert b"You are" in connect(server, GET).recv(65536)
        assert read_all(crowd[0]) == b""  # the oldest
        crowd[1].sendall(GET)
        assert b"You are" in crowd[1].recv(65536)


def test_few_descriptors_are_shared_like_few_places(capfd):
    limited = ("prlimit", "--nofile=192:192")
    words = ("napt_lab.servers.web", "--listen", "127.0.0.1", "--port", 0)
    with contextlib.ExitStack() as stack, Program(*words, prefix=limited) as program:
        port = int(program.ready["listening"][0].rpartition(":")[2])
        for source in ("127.0.0.2", "127.0.0.3"):
            for _ in range(150):
                held = socket.create_connection(("127.0.0.1", port), DEADLINE, (source, 0))
                stack.enter_context(held).sendall(GET[:20])
        assert curl(f"http://127.0.0.1:{port}/").status == 200
    assert capfd.readouterr().err == ""  # else it had none left for a second


def test_a_patient_client_is_served():
    """The control: within the same bounds a connection is kept."""
    with running("napt_lab.servers.web", "--head", "0.3", "--idle", "30") as server:
        connection = connect(server, GET)
        connection.settimeout(1)
        assert b"You are" in connection.recv(65536)
        with pytest.raises(TimeoutError):
            connection.recv(1)
        connection.sendall(GET)
        assert b"request 2 " in connection.recv(65536)


def test_a_connection_in_use_does_not_become_idle():
    with running("napt_lab.servers.web", "--idle", "1") as server:
        connection = connect(server)
        for nth in range(1, 8):
            connection.settimeout(DEADLINE)
            connection.sendall(GET)
            assert f"request {nth} ".encode() in connection.recv(65536)
            connection.settimeout(0.3)
            with pytest.raises(TimeoutError):
                connection.recv(1)


def test_a_client_that_never_reads_costs_little():
    with running("napt_lab.servers.web", "--idle", "1", "--quiet-requests") as server:
        at_rest = server.peak_memory()
        connection = socket.socket()
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.connect(("127.0.0.1", server.port))
        connection.settimeout(0.5)
        with pytest.raises((TimeoutError, ConnectionError)):  # noqa: PT012
            while True:
                connection.sendall(GET * 100)
        assert server.peak_memory() - at_rest < 8_000_000
        wait_until(lambda: held(server.process.pid) == 0, "the end of the connection")


def test_connections_are_bounded():
    with running("napt_lab.servers.web", "--max-connections", "2") as server:
        kept = [connect(server, GET) for _ in range(2)]
        for connection in kept:
            assert b"You are" in connection.recv(65536)
        assert read_all(connect(server)).startswith(b"HTTP/1.1 503 ")
        kept.pop().close()
        wait_until(
            lambda: b"You are" in read_all(connect(server, GET.replace(b"1.1", b"1.0"))),
            "a place for one more",
        )


def processes(server):
    """The first process, and those that it made."""
    pid = server.process.pid
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return [pid, *map(int, children.split())]


def held(pid):
    """How many TCP connections a process holds (its listening sockets not counted)."""
    established = {
        line.split()[9]
        for line in Path(f"/proc/{pid}/net/tcp").read_text().splitlines()[1:]
        if line.split()[3] == "01"
    }
    count = 0
    for link in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            count += str(link.readlink())[len("socket:[") : -1] in established
    return count


def test_several_processes_share_the_connections():
    with running("napt_lab.servers.web", "--processes", "3", "--quiet-requests") as server:
        connections = [connect(server, GET) for _ in range(600)]
        for connection in connections:
            assert b"You are" in connection.recv(65536)
        shares = [held(pid) for pid in processes(server)]
        assert len(shares) == 3
        assert sum(shares) == 600
        assert min(shares) > 100  # the kernel's hash is even enough
        for connection in connections:
            connection.sendall(GET)
            assert b"request 2 " in connection.recv(65536)
    assert server.told("request") == []  # to its end


def gone(pid):
    """Ended; perhaps not yet collected by its parent."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def test_processes_end_together_when_told():
    with running("napt_lab.servers.web", "--processes", "3") as server:
        others = processes(server)[1:]
    wait_until(lambda: all(map(gone, others)), "the others' end")


def test_processes_end_together_when_the_first_is_killed():
    server = Server("napt_lab.servers.web", "--processes", "3")
    others = processes(server)[1:]
    server.process.kill()
    server.process.wait(DEADLINE)
    wait_until(lambda: all(map(gone, others)), "the others' end")


def test_the_death_of_one_process_is_an_error():
    server = Server("napt_lab.servers.web", "--processes", "3")
    others = processes(server)[1:]
    os.kill(others[0], signal.SIGKILL)
    assert server.process.wait(DEADLINE) == 1
    wait_until(lambda: all(map(gone, others)), "the others' end")


@pytest.fixture
def many_files():
    """As many as this user may have open; by default it is 1,024."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.usefixtures("many_files")
def test_many_idle_connections_cost_little():
    with running("napt_lab.servers.web", "--quiet-requests") as server:
        at_rest = server.peak_memory()
        connections = [connect(server, GET) for _ in range(2000)]
        for connection in connections:
            assert b"You are" in connection.recv(65536)
        each = (server.peak_memory() - at_rest) / len(connections)
        assert each < 6000, f"{each} bytes for a connection"


def test_events_that_nobody_reads_do_not_stop_it():
    command = [sys.executable, "-m", "napt_lab.servers.web", "--listen", "127.0.0.1", "--port", "0"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        ready = json.loads(process.stdout.readline())
        port = int(ready["listening"][0].rpartition(":")[2])
        connection = socket.create_connection(("127.0.0.1", port), DEADLINE)
        for _ in range(100):  # 10,000 events: more than the pipe takes
            connection.sendall(GET * 100)
            received = b""
            while received.count(b"</html>") < 100:
                received += connection.recv(65536)
        process.stdout.close()
        connection.sendall(GET)
        assert b"request 10001 " in connection.recv(65536)
        process.terminate()
        assert process.wait(DEADLINE) == 0


@pytest.mark.parametrize("module", ["napt_lab.servers.web", "napt_lab.servers.files"])
def test_a_port_that_is_taken(module, server, tmp_path):
    flags = ["--folder", str(tmp_path)] if module == "napt_lab.servers.files" else []
    command = [sys.executable, "-m", module, "--listen", "127.0.0.1", "--port", str(server.port)]
    done = subprocess.run(
        [*command, *flags], cwd=ROOT, capture_output=True, text=True, timeout=20, check=False
    )
    assert done.returncode == 1
    where = f"127.0.0.1:{server.port}"
    assert done.stderr == f"{module}: cannot listen on {where}: Address already in use\n"
    assert done.stdout == ""
