"""What the file server does while bytes flow: memory, visibility, cuts, slowness, crowds.

NAPT_LAB_LARGE sets the size of the large file, in MB: 2147 makes it 2 GiB.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import socket
import subprocess
import threading
import time
from pathlib import Path

import pytest

from napt_lab.servers.files.receiving import PIECE
from tests.loopback.running import Server, curl, names_in, running
from tests.server_program import DEADLINE
from tests.waiting import wait_until

MEGABYTE = 1_000_000
LARGE = int(os.environ.get("NAPT_LAB_LARGE", "128")) * MEGABYTE
PATIENCE = 10 + LARGE / (10 * MEGABYTE)  # seconds, for one transfer of it


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "served"


def connect(server, source="127.0.0.1"):
    address = ("127.0.0.1", server.port)
    connection = socket.create_connection(address, DEADLINE, (source, 0))
    connection.settimeout(DEADLINE)
    return connection


def begin_put(server, name, declared, sent, source="127.0.0.1"):
    """An upload that stops after `sent` bytes of `declared`."""
    connection = connect(server, source)
    head = f"PUT /{name} HTTP/1.1\r\nHost: x\r\nContent-Length: {declared}\r\n\r\n"
    connection.sendall(head.encode() + b"x" * sent)
    return connection


def read_all(connection):
    received = bytearray()
    with contextlib.suppress(ConnectionResetError):
        while piece := connection.recv(65536):
            received += piece
    return bytes(received)


def status_of(connection):
    return int(connection.recv(65536).split(b" ")[1])


def temporary_files(folder):
    return [name for name in names_in(folder) if name.startswith(".upload-")]


def test_much_flows_through_little_memory(folder, tmp_path):
    """Much more each way than may be resident, and only a few MB more than at rest are."""
    block = os.urandom(MEGABYTE)
    source = tmp_path / "large"
    sha256 = hashlib.sha256()
    with source.open("wb") as file:
        for number in range(LARGE // MEGABYTE):
            numbered = number.to_bytes(8, "big") + block[8:]
            file.write(numbered)
            sha256.update(numbered)
    with running("napt_lab.servers.files", "--folder", str(folder)) as server:
        (tmp_path / "small").write_bytes(block)
        assert curl("-T", str(tmp_path / "small"), server.url + "/").status == 201
        assert curl(f"{server.url}/small").body == block
        curl("-H", "Accept: text/html", server.url)
        at_rest = server.peak_memory()
        patient = ("--max-time", str(PATIENCE))
        put = curl(*patient, "-T", str(source), f"{server.url}/put").json
        assert put["sha256"] == sha256.hexdigest()
        form = ("-F", f"file=@{source};filename=posted")
        posted = curl(*patient, *form, f"{server.url}/").json["files"][0]
        assert (posted["size"], posted["sha256"]) == (LARGE, sha256.hexdigest())
        (folder / "by-hand").hardlink_to(folder / "put")
        command = ["curl", "-sS", *patient]
        names = ("posted", "by-hand")  # one hashed already, the other while we wait
        clients = [
            subprocess.Popen([*command, f"{server.url}/{name}"], stdout=subprocess.PIPE)
            for name in names
        ]
        digests = [""] * len(clients)

        def drain(index):
            digests[index] = hashlib.file_digest(clients[index].stdout, "sha256").hexdigest()

        threads = [threading.Thread(target=drain, args=(index,)) for index in range(len(clients))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE)
        assert [client.wait(DEADLINE) for client in clients] == [0] * len(clients)
        assert digests == [sha256.hexdigest()] * len(clients)
        growth = server.peak_memory() - at_rest
        assert growth < 12 * MEGABYTE, f"{growth} bytes more than at rest"
        assert server.peak_memory() < 64 * MEGABYTE


def test_an_upload_is_seen_only_when_complete(folder):
    with running("napt_lab.servers.files", "--folder", str(folder)) as server:
        upload = begin_put(server, "a", 2 * MEGABYTE, MEGABYTE)
        wait_until(lambda: any(f.stat().st_size for f in folder.glob(".upload-*")), "bytes on disk")
        assert curl(f"{server.url}/a").status == 404
        assert curl(server.url).json["files"] == []
        upload.sendall(b"x" * MEGABYTE)
        assert status_of(upload) == 201
        assert len(curl(f"{server.url}/a").body) == 2 * MEGABYTE
        assert names_in(folder) == ["a"]


@pytest.mark.parametrize(("how", "status"), [("fin", 400), ("rst", None)])
def test_a_cut_connection_leaves_nothing(folder, how, status):
    with running("napt_lab.servers.files", "--folder", str(folder)) as server:
        upload = begin_put(server, "a", 2 * MEGABYTE, MEGABYTE)
        wait_until(lambda: temporary_files(folder), "a temporary file")
        if how == "rst":
            upload.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        upload.close()
        event = server.event("request", path="/a")
        assert (event["status"], event["cut"]) == (status, True)
        assert names_in(folder) == []
        assert curl(server.url).json["used"] == 0


def test_a_chunked_upload_without_its_end_leaves_nothing(folder):
    with running("napt_lab.servers.files", "--folder", str(folder)) as server:
        upload = connect(server)
        upload.sendall(b"PUT /a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
        upload.sendall(b"5\r\nwhole\r\n")
        wait_until(lambda: temporary_files(folder), "a temporary file")
        upload.close()
        assert server.event("request", path="/a")["cut"]
        assert names_in(folder) == []


def test_the_end_of_the_server_leaves_nothing(folder):
    with running("napt_lab.servers.files", "--folder", str(folder)) as server:
        upload = begin_put(server, "a", 2 * MEGABYTE, MEGABYTE)
        wait_until(lambda: temporary_files(folder), "a temporary file")
    upload.close()  # not before: it was the server that ended first
    assert names_in(folder) == []


def test_after_the_sudden_death_of_the_server_the_next_one_tidies_up(folder):
    killed = Server("napt_lab.servers.files", "--folder", str(folder))
    upload = begin_put(killed, "a", 2 * MEGABYTE, MEGABYTE)
    wait_until(lambda: temporary_files(folder), "a temporary file")
    killed.process.kill()
    killed.process.wait(DEADLINE)
    upload.close()
    assert len(temporary_files(folder)) == 1
    with running("napt_lab.servers.files", "--folder", str(folder)) as server:
        assert names_in(folder) == []
        assert curl(server.url).json["used"] == 0


def test_a_download_survives_the_replacement_of_its_file(folder, tmp_path):
    old, new = os.urandom(20 * MEGABYTE), b"new"
    folder.mkdir()
    (folder / "a").write_bytes(old)
    with running("napt_lab.servers.files", "--folder", str(folder)) as server:
        download = connect(server)
        download.sendall(b"GET /a HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        begun = download.recv(1)
        answer = curl("-T", "-", "-H", "If-Match: *", f"{server.url}/a", stdin=new)
        assert answer.status == 200
        assert (begun + read_all(download)).endswith(b"\r\n\r\n" + old)
        assert curl(f"{server.url}/a").body == new


def test_a_file_that_is_cut_short_while_it_is_sent_does_not_look_whole(folder):
    folder.mkdir()
    (folder / "a").write_bytes(bytes(30 * MEGABYTE))
    with running("napt_lab.servers.files", "--folder", str(folder)) as server:
        download = connect(server)
        download.sendall(b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n")
        begun = download.recv(1)
        os.truncate(folder / "a", 1)
        # Not kept open, where the next answer would be taken for the rest of the file.
        assert len(begun + read_all(download)) < 30 * MEGABYTE
        assert server.event("request", path="/a")["cut"]


def nc(server, typed):
    command = ["nc", "-N", "127.0.0.1", str(server.port)]
    return subprocess.run(command, input=typed, capture_output=True, timeout=20).stdout


PUT = b"PUT /%s HTTP/1.1\r\nHost: x\r\n"


def test_a_client_that_ends_its_side_after_its_request_gets_the_answer(folder):
    """As `nc -N` does, which level 9b teaches (RFC 9112, section 9.6)."""
    content = os.urandom(5 * MEGABYTE)
    with running("napt_lab.servers.files", "--folder", str(folder)) as server:
        for number in range(10):  # it was a race
            name = b"a%d" % number
            typed = PUT % name + b"Content-Length: %d\r\n\r\n" % len(content) + content
            assert nc(server, typed).startswith(b"HTTP/1.1 201 ")
            event = server.event("request", path=f"/a{number}")
            assert (event["status"], event["bytes"], "cut" in event) == (201, len(content), False)
        got = nc(server, b"GET /a0 HTTP/1.1\r\nHost: x\r\n\r\n")
        assert got.endswith(b"\r\n\r\n" + content)
        both = nc(server, b"HEAD /a0 HTTP/1.1\r\nHost: x\r\n\r\n" * 2)
        assert both.count(b"HTTP/1.1 200 ") == 2


@pytest.mark.parametrize(
    "typed",
    [
        b"GET / HTTP/1.1\nHost: x\n\n",
        b"GET / HTTP/1.1\r\nHost: x\r\n",
        b"GET /",
        b"GET /\r\n\r\n",  # HTTP/0.9
        b"GET / HTTP/0.9\r\n\r\n",
        PUT[: PUT.index(b" HTTP")] % b"b" + b"\r\nContent-Length: 1\r\n\r\nx",
        b"hello\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nHost: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n",
        PUT % b"b" + b"Content-Length: 10\r\n\r\nhalf",
        PUT % b"b" + b"Content-Length: -1\r\n\r\nhalf",
        PUT % b"b" + b"Transfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n",
        PUT % b"b" + b"Transfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\nZZ\r\n",
    ],
)
def test_a_request_that_is_not_whole_or_not_valid_is_answered(folder, typed):
    with running("napt_lab.servers.files", "--folder", str(folder)) as server:
        assert nc(server, typed).split(b" ")[1] == b"400"
        assert names_in(folder) == []


def test_no_version_is_answered_that_this_server_does_not_speak(folder):
    with running("napt_lab.servers.files", "--folder", str(folder)) as server:
        assert nc(server, b"GET /\r\n\r\n").startswith(b"HTTP/1.1 400 ")
        assert nc(server, b"GET / HTTP/2.0\r\nHost: x\r\n\r\n").startswith(b"HTTP/1.1 505 ")


def test_a_body_that_breaks_its_framing_later_is_answered_at_once(folder):
    with running("napt_lab.servers.files", "--folder", str(folder)) as server:
        upload = connect(server)
        upload.sendall(PUT % b"b" + b"Transfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n")
        wait_until(lambda: temporary_files(folder), "an upload under way")
        upload.sendall(b"ZZ\r\n")
        assert status_of(upload) == 400
        assert server.event("request", path="/b")["cut"]
        assert names_in(folder) == []


def test_concurrent_uploads_cannot_exceed_the_total(folder):
    flags = ("--max-total", str(3 * MEGABYTE))
    with running("napt_lab.servers.files", "--folder", str(folder), *flags) as server:
        uploads = [begin_put(server, f"f{n}", MEGABYTE, MEGABYTE // 2) for n in range(3)]
        used = 3 * (MEGABYTE // 2 - 2 * PIECE)  # the last pieces may still be in memory
        wait_until(lambda: curl(server.url).json["used"] >= used, "three half files")
        large = 3 * MEGABYTE - used + 1
        assert curl("-T", "-", f"{server.url}/more", stdin=b"x" * large).status == 507
        uploads.pop().close()
        wait_until(lambda: curl(server.url).json["used"] <= MEGABYTE, "one given back")
        for upload in uploads:
            upload.sendall(b"x" * (MEGABYTE // 2))
            assert status_of(upload) == 201
        assert curl("-T", "-", f"{server.url}/more", stdin=b"x" * MEGABYTE).status == 201
        assert curl("-T", "-", f"{server.url}/one-more", stdin=b"x").status == 507


def test_what_is_only_announced_takes_no_space_from_others(folder):
    with running("napt_lab.servers.files", "--folder", str(folder)) as server:
        limits = curl(server.url).json["limits"]
        announced = [begin_put(server, f"f{n}", limits["max_file"], 1)
                     for n in range(limits["max_total"] // limits["max_file"])]  # fmt: skip
        wait_until(lambda: len(temporary_files(folder)) == len(announced), "all of them under way")
        assert curl("-T", "-", f"{server.url}/more", stdin=b"x").status == 201
        too_large = begin_put(server, "g", limits["max_file"] + 1, 0)
        assert status_of(too_large) == 413


def test_a_crowd_of_slow_uploads_leaves_places_for_others(folder):
    with running("napt_lab.servers.files", "--folder", str(folder), "--max-uploads", "4") as server:
        crowd = []
        for n in range(4):
            crowd.append(begin_put(server, f"f{n}", 2, 1, source="127.0.0.66"))
            wait_until(lambda: len(temporary_files(folder)) == len(crowd), "one more upload")
        assert curl("-T", "-", f"{server.url}/more", stdin=b"x").status == 201
        answer = crowd[0].recv(65536)
        assert answer.startswith(b"HTTP/1.1 503 ")
        assert b"another address needed this upload's place" in answer
        for upload in crowd[1:]:  # the others go on
            upload.sendall(b"x")
            assert status_of(upload) == 201


def test_a_crowd_of_idle_connections_leaves_places_for_others(folder):
    flags = ("--folder", str(folder), "--max-connections", "4")
    with running("napt_lab.servers.files", *flags) as server:
        upload = begin_put(server, "slow", 2, 1, source="127.0.0.66")
        wait_until(lambda: temporary_files(folder), "an upload under way")
        crowd = [connect(server, source="127.0.0.66") for _ in range(3)]
        assert curl(server.url).status == 200
        assert read_all(crowd[0]) == b""  # an idle one has made room, not the upload
        upload.sendall(b"x")
        assert status_of(upload) == 201


def test_a_download_that_loses_its_place_is_reset_and_the_newcomer_is_served(folder):
    """The kernel gives the newcomer the number of the descriptor that the download had."""
    folder.mkdir()
    with (folder / "big").open("wb") as file:
        file.truncate(64 * MEGABYTE)
    flags = ("--folder", str(folder), "--max-connections", "4")
    with running("napt_lab.servers.files", *flags) as server:
        crowd = [connect(server, source="127.0.0.66") for _ in range(4)]
        for connection in crowd:
            connection.sendall(b"GET /big HTTP/1.1\r\nHost: x\r\n\r\n")
            assert connection.recv(100, socket.MSG_PEEK).startswith(b"HTTP/1.1 200 ")
        for _ in range(3):
            assert curl(server.url).status == 200
        event = server.event("request", path="/big")
        assert (event["status"], event["cut"]) == (None, True)
        received = 0
        with pytest.raises(ConnectionResetError):  # noqa: PT012  # not a FIN, as if it were whole
            while piece := crowd[0].recv(65536):
                received += len(piece)
        assert 0 < received < 64 * MEGABYTE


def test_slow_uploads_from_as_many_addresses_as_there_are_places_keep_no_one_out(folder):
    flags = ("--folder", str(folder), "--max-uploads", "2", "--idle", "16")
    with running("napt_lab.servers.files", *flags) as server:
        crowd = [begin_put(server, f"f{n}", 2, 1, source=f"127.0.0.{66 + n}") for n in range(2)]
        wait_until(lambda: len(temporary_files(folder)) == 2, "two uploads")
        # The control: they have begun just now.
        assert curl("-T", "-", f"{server.url}/more", stdin=b"x").status == 503
        put = ("-T", "-", f"{server.url}/more")
        wait_until(lambda: curl(*put, stdin=b"x").status == 201, "a place of a slow upload")
        assert b"another address needed this upload's place" in read_all(crowd[0])
        crowd[1].sendall(b"x")
        assert status_of(crowd[1]) == 201


@pytest.mark.parametrize("sent", [b"", b"GET / HTTP/1.1\r\n"])
def test_idle_connections_from_as_many_addresses_as_there_are_places_keep_no_one_out(folder, sent):
    flags = ("--folder", str(folder), "--max-connections", "4", "--max-uploads", "4")
    with running("napt_lab.servers.files", *flags) as server:
        upload = begin_put(server, "slow", 2, 1, source="127.0.0.66")
        wait_until(lambda: temporary_files(folder), "an upload under way")
        crowd = [connect(server, source=f"127.0.0.{67 + n}") for n in range(3)]
        for connection in crowd:
            connection.sendall(sent)
        assert curl(server.url).status == 200
        assert read_all(crowd[0]) == b""  # the oldest without a request, not the upload
        upload.sendall(b"x")
        assert status_of(upload) == 201
        # The control: connections with requests keep their places.
        kept = [begin_put(server, f"f{n}", 2, 1, source=f"127.0.0.{77 + n}") for n in range(4)]
        wait_until(lambda: len(temporary_files(folder)) == 4, "four uploads")
        assert read_all(connect(server)).startswith(b"HTTP/1.1 503 ")
        for upload in kept:
            upload.sendall(b"x")
            assert status_of(upload) == 201


def test_uploads_at_the_same_time_are_bounded(folder):
    with running("napt_lab.servers.files", "--folder", str(folder), "--max-uploads", "2") as server:
        uploads = [begin_put(server, f"f{n}", 2, 1) for n in range(2)]
        wait_until(lambda: len(temporary_files(folder)) == 2, "two uploads")
        answer = curl("-T", "-", f"{server.url}/more", stdin=b"x")
        assert answer.status == 503
        assert answer.headers["retry-after"]
        for upload in uploads:
            upload.sendall(b"x")
            assert status_of(upload) == 201
        assert curl("-T", "-", f"{server.url}/more", stdin=b"x").status == 201


def test_connections_are_bounded(folder):
    with running(
        "napt_lab.servers.files", "--folder", str(folder), "--max-connections", "3"
    ) as server:
        kept = [connect(server) for _ in range(3)]
        for connection in kept:
            connection.sendall(b"HEAD / HTTP/1.1\r\nHost: x\r\n\r\n")
            assert status_of(connection) == 200
        assert read_all(connect(server)).startswith(b"HTTP/1.1 503 ")
        kept.pop().close()
        wait_until(lambda: answers(server), "a place for one more")


def answers(server):
    connection = connect(server)
    connection.sendall(b"HEAD / HTTP/1.0\r\n\r\n")
    return b" 200 OK" in read_all(connection)


@pytest.mark.parametrize("sent", [b"", b"GET / HT", b"GET / HTTP/1.1\r\nHost: x\r\nX: "])
def test_a_header_that_never_ends_is_answered(folder, sent):
    with running("napt_lab.servers.files", "--folder", str(folder), "--head", "0.5") as server:
        connection = connect(server)
        connection.sendall(sent)
        answer = read_all(connection)
        assert answer.startswith(b"HTTP/1.1 408 ") if sent else answer == b""


def test_a_header_that_comes_drop_by_drop_gets_no_more_time(folder):
    with running("napt_lab.servers.files", "--folder", str(folder), "--head", "1") as server:
        connection = connect(server)
        connection.settimeout(0.1)
        connection.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nX: ")
        sent = 0
        with pytest.raises(ConnectionError):  # noqa: PT012
            while sent < 100:
                connection.sendall(b"x")
                sent += 1
                with contextlib.suppress(TimeoutError):
                    if connection.recv(100).startswith(b"HTTP/1.1 408 "):
                        raise ConnectionError
        assert sent < 50


def test_an_upload_that_stops(folder):
    with running("napt_lab.servers.files", "--folder", str(folder), "--idle", "0.5") as server:
        upload = begin_put(server, "a", MEGABYTE, 1000)
        assert status_of(upload) == 408
        assert names_in(folder) == []


def test_a_client_that_does_not_read(folder):
    folder.mkdir()
    (folder / "a").write_bytes(bytes(30 * MEGABYTE))
    with running("napt_lab.servers.files", "--folder", str(folder), "--idle", "0.5") as server:
        download = connect(server)
        download.sendall(b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n")
        event = server.event("request", path="/a")
        assert (event["status"], event["cut"]) == (None, True)
        assert 0 < event["bytes"] < 30 * MEGABYTE
        assert not read_all(download).endswith(bytes(30 * MEGABYTE))


def test_a_client_that_asks_on_and_on_and_reads_no_answer(folder):
    """Small answers fill the connection, too; then it must not keep its place for good."""
    with running("napt_lab.servers.files", "--folder", str(folder), "--idle", "0.5") as server:
        with connect(server) as client:
            with contextlib.suppress(ConnectionResetError, BrokenPipeError):
                while True:  # without an end it runs into its deadline
                    client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" * 1000)
            assert server.event("request", cut=True)["status"] is None
        assert curl(server.url).status == 200


def test_a_client_that_reads_too_little(folder):
    """A little now and then is progress for TCP, but the whole file has its time as well."""
    folder.mkdir()
    # More than the kernel takes for a client that reads nothing.
    send_buffer = int(Path("/proc/sys/net/ipv4/tcp_wmem").read_text().split()[2])  # at most, bytes
    (folder / "a").write_bytes(bytes(send_buffer + MEGABYTE))
    with running("napt_lab.servers.files", "--folder", str(folder), "--idle", "0.1") as server:
        download = socket.socket()
        download.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        download.connect(("127.0.0.1", server.port))
        download.settimeout(DEADLINE)
        download.sendall(b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n")
        while not server.told("request"):
            with contextlib.suppress(ConnectionResetError):
                download.recv(1000)
            time.sleep(0.02)  # the client's own pace: it reads, but too little
        assert server.event("request", path="/a")["cut"]


def test_a_slow_client_that_does_read(folder):
    """The control: slower than the server, yet within the bound, gets everything."""
    folder.mkdir()
    (folder / "a").write_bytes(bytes(2 * MEGABYTE))
    with running("napt_lab.servers.files", "--folder", str(folder), "--idle", "0.5") as server:
        answer = curl("--limit-rate", "1M", f"{server.url}/a")
        assert len(answer.body) == 2 * MEGABYTE


def test_the_disk_is_full(folder):
    """A file size limit of the process makes write() fail as a full disk does."""
    with running("napt_lab.servers.files", "--folder", str(folder)) as server:
        pid = str(server.process.pid)
        subprocess.run(["prlimit", "--fsize=500000", "--pid", pid], check=True, timeout=20)
        content = b"x" * MEGABYTE
        assert curl("-T", "-", f"{server.url}/a", stdin=content).status == 413
        assert names_in(folder) == []
        assert curl("-T", "-", f"{server.url}/a", stdin=content[:400_000]).status == 201
