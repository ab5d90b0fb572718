"""The plain relay, driven by nc and by sockets that misbehave."""

import contextlib
import errno
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from tests.server_program import Program
from tests.waiting import wait_until

pytestmark = pytest.mark.network
TOKEN = "00112233445566778899aabbccddeeff"
OTHER = "ffeeddccbbaa99887766554433221100"
RELAY = ("127.0.0.1", 9000)
RELAY_MODULE = "napt_lab.servers.relay.relay"


def relay(*arguments):
    return Program(RELAY_MODULE, "--listen", RELAY[0], "--port", RELAY[1], *arguments)


def dial(line=f"{TOKEN}\n", source="127.0.0.1"):
    sock = socket.create_connection(RELAY, timeout=10, source_address=(source, 0))
    sock.sendall(line.encode())
    return sock


def name(sock):
    return "{}:{}".format(*sock.getsockname())


def joined_pair(program):
    first = dial()
    program.event("waiting", peer=name(first))
    second = dial()
    program.event("joined", first=name(first))
    return first, second


def read_all(sock):
    return b"".join(iter(lambda: sock.recv(65536), b""))


def turned_away(sock):
    """What the relay says to one that it turns away; it must end in a reset."""
    said = sock.recv(65536)
    with pytest.raises(ConnectionResetError):
        sock.recv(65536)
    assert said.startswith(b"relay: ")
    return said


def reset(sock):
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


@pytest.mark.parametrize("first", ["sender", "receiver"])
def test_a_file_sent_with_nc_arrives_byte_identical_whoever_comes_first(tmp_path, first):
    (tmp_path / "sent").write_bytes(os.urandom(3_000_001))
    commands = {
        "sender": f"(echo {TOKEN}; cat sent) | nc -N {RELAY[0]} {RELAY[1]}",
        "receiver": f"echo {TOKEN} | nc {RELAY[0]} {RELAY[1]} > received",
    }
    second = {"sender": "receiver", "receiver": "sender"}[first]
    with relay() as program:
        waiting = subprocess.Popen(["sh", "-c", commands[first]], cwd=tmp_path)
        program.event("waiting")
        subprocess.run(["sh", "-c", commands[second]], cwd=tmp_path, check=True, timeout=10)
        assert waiting.wait(10) == 0
        ended = program.event("ended")
    assert (tmp_path / "received").read_bytes() == (tmp_path / "sent").read_bytes()
    assert ended["reason"] == "closed"
    assert sorted([ended["bytes_forth"], ended["bytes_back"]]) == [0, 3_000_001]


@pytest.mark.network(timeout=120)
def test_a_gigabyte_passes_in_bounded_memory_and_nothing_touches_the_disk():
    gigabyte, block = 1 << 30, os.urandom(1 << 20)

    def send(sock):
        for _ in range(gigabyte // len(block)):
            sock.sendall(block)
        sock.shutdown(socket.SHUT_WR)

    with relay() as program:
        written_before, files_before = disk_writes(program), open_regular_files(program)
        sender, receiver = joined_pair(program)
        thread = threading.Thread(target=send, args=(sender,))
        thread.start()
        count, twice = 0, block * 2
        while received := receiver.recv(len(block)):
            begin = count % len(block)
            same = received == twice[begin : begin + len(received)]
            assert same, f"another byte within {len(received)} from byte {count:,}"
            count += len(received)
        thread.join()
        resident = program.status("VmHWM")
        files = open_regular_files(program)
        written = disk_writes(program) - written_before
        receiver.close()
        assert program.event("ended")["bytes_forth"] == gigabyte
    assert count == gigabyte
    assert resident < 50_000, f"{resident} KiB were resident"
    assert written == 0
    assert files == files_before


def disk_writes(program):
    text = Path(f"/proc/{program.process.pid}/io").read_text()
    return int(text.split("\nwrite_bytes:")[1].split()[0])


def open_regular_files(program):
    folder = Path(f"/proc/{program.process.pid}/fd")
    return [str(fd.readlink()) for fd in folder.iterdir() if fd.is_file()]


def test_a_receiver_that_does_not_read_stops_the_sender():
    with relay() as program:
        sender, receiver = joined_pair(program)
        sender.settimeout(1.0)
        block, sent = bytes(1 << 16), 0
        with contextlib.suppress(TimeoutError):
            while sent < 1 << 30:
                sent += sender.send(block)
        # What the socket buffers of four sockets hold, and one pipe; far from a gigabyte.
        assert sent < 64 << 20
        assert program.status("VmHWM") < 50_000
        sender.shutdown(socket.SHUT_WR)
        assert len(read_all(receiver)) == sent


def test_each_direction_ends_on_its_own():
    with relay() as program:
        first, second = joined_pair(program)
        first.sendall(b"question")
        first.shutdown(socket.SHUT_WR)
        assert read_all(second) == b"question"
        second.sendall(b"answer")
        second.shutdown(socket.SHUT_WR)
        assert read_all(first) == b"answer"
        assert program.event("ended")["reason"] == "closed"


def test_what_the_first_sent_while_it_waited_arrives():
    with relay() as program:
        first = dial(f"{TOKEN}\r\nearly")
        program.event("waiting")
        second = dial()
        first.sendall(b" and late")
        first.shutdown(socket.SHUT_WR)
        assert read_all(second) == b"early and late"


def test_a_third_party_is_turned_away_and_the_pair_goes_on():
    with relay() as program:
        first, second = joined_pair(program)
        assert b"two parties have met" in turned_away(dial())
        first.sendall(b"undisturbed")
        assert second.recv(100) == b"undisturbed"


def test_a_wrong_token_meets_nobody_and_is_sent_away():
    with relay("--waiting-time", 0.4) as program:
        first, second = dial(), dial(f"{OTHER}\n")
        for party in (first, second):
            assert b"no other party came with this token within 0.4 s" in turned_away(party)
        program.event("left", peer=name(second))
        assert not [event for event in program.events if event["event"] == "joined"]
        joined_pair(program)  # the same relay joins those with the same token


@pytest.mark.parametrize(
    ("line", "answer"),
    [
        ("0011\n", b"32 to 128 hexadecimal digits"),
        (TOKEN[:-1] + "\n", b"32 to 128 hexadecimal digits"),
        (TOKEN + "0\n", b"an even number"),
        ("g" * 32 + "\n", b"of hexadecimal digits"),
        ("\n", b"of hexadecimal digits"),
        ("0" * 130 + "\n", b"longer than any token"),
        ("0" * 5000, b"longer than any token"),
        ("GET / HTTP/1.1\r\n\r\n", b"of hexadecimal digits"),
    ],
)
def test_a_malformed_token_is_refused_in_words(line, answer):
    with relay() as program:
        assert answer in turned_away(dial(line))
        program.event("refused")


def test_a_slow_first_line_is_cut_off():
    with relay("--line-time", 0.3):
        sock = dial("00")
        assert b"no token within 0.3 s" in turned_away(sock)


def test_an_address_that_guesses_is_not_listened_to_and_others_are():
    with relay("--failures-per-address", 3) as program:
        for _ in range(3):
            turned_away(dial("guess\n"))
        assert b"too many failures" in turned_away(dial())
        dial(source="127.0.0.2")
        program.event("waiting")


def test_waiting_and_joined_are_bounded_for_each_address():
    limits = ("--waiting-per-address", 2, "--pairs-per-address", 1)
    with relay(*limits) as program:
        kept = [dial(f"{n:032x}\n") for n in range(2)]
        assert b"2 parties from 127.0.0.1 wait already" in turned_away(dial(f"{2:032x}\n"))
        kept.append(dial(f"{2:032x}\n", source="127.0.0.2"))
        kept.append(dial(f"{0:032x}\n"))
        program.event("joined")
        assert b"1 pairs of 127.0.0.1 are joined already" in turned_away(dial(f"{1:032x}\n"))


def test_a_reset_of_one_resets_the_other():
    with relay() as program:
        first, second = joined_pair(program)
        first.sendall(b"half a file")
        assert second.recv(100) == b"half a file"
        reset(first)
        with pytest.raises(ConnectionResetError):
            read_all(second)
        ended = program.event("ended")
        assert "connection reset by peer" in ended["reason"]
        assert (ended["bytes_forth"], ended["bytes_back"]) == (len(b"half a file"), 0)


def fill(sock):
    """Send until nothing more goes; returns how many bytes went."""
    block, sent = bytes(1 << 16), 0
    sock.settimeout(1.0)
    with contextlib.suppress(TimeoutError):
        while True:
            sent += sock.send(block)
    return sent


def test_a_sender_that_is_reset_while_the_receiver_does_not_read_ends_the_pair_at_once():
    with relay() as program:
        before = program.descriptors()
        sender, receiver = joined_pair(program)
        sender_name = name(sender)
        fill(sender)
        reset(sender)
        assert program.event("ended")["reason"] == f"{sender_name}: connection reset by peer"
        wait_until(lambda: program.descriptors() == before, "all descriptors closed")
        with pytest.raises(ConnectionResetError):
            read_all(receiver)


def test_two_half_closes_are_no_hang_up_while_bytes_are_still_on_their_way():
    with relay() as program:
        sender, receiver = joined_pair(program)
        sent = fill(sender)
        sender.shutdown(socket.SHUT_WR)
        receiver.shutdown(socket.SHUT_WR)
        assert read_all(sender) == b""
        assert len(read_all(receiver)) == sent
        assert program.event("ended")["reason"] == "closed"


def test_a_pair_that_is_silent_is_ended_and_one_that_talks_is_not():
    with relay("--idle-time", 2.0) as program:
        first, second = joined_pair(program)
        for _ in range(15):
            first.sendall(b".")
            assert second.recv(1) == b"."
            time.sleep(0.2)  # the traffic's own pace: one and a half idle times in all
        started = time.monotonic()
        with pytest.raises(ConnectionResetError):
            second.recv(1)
        assert time.monotonic() - started > 1.5
        assert program.event("ended")["reason"] == "idle"


@pytest.mark.parametrize("unread", [b"", b"sent while waiting"])
def test_who_vanishes_while_waiting_is_forgotten_at_once(unread):
    with relay() as program:
        before = program.descriptors()
        first = dial()
        program.event("waiting")
        first.sendall(unread)
        reset(first)
        program.event("left", reason="the connection was reset while waiting")
        wait_until(lambda: program.descriptors() == before, "its descriptors closed")
        first, second = joined_pair(program)  # not joined to the one who is gone
        first.sendall(b"here")
        assert second.recv(100) == b"here"


def test_nothing_is_held_after_the_end():
    with relay() as program:
        before = program.descriptors()
        for _ in range(3):
            first, second = joined_pair(program)
            first.close()
            second.close()
            wait_until(lambda: program.descriptors() == before, "all descriptors closed")
            program.events.clear()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_the_end_of_the_relay_is_no_end_of_a_file(number):
    program = relay()
    first, second = joined_pair(program)
    waiting = dial(f"{OTHER}\n")
    program.event("waiting", peer=name(waiting))
    first.sendall(b"half a file")
    assert second.recv(100) == b"half a file"
    program.process.send_signal(number)
    program.process.wait(10)
    for party in (second, first, waiting):
        with pytest.raises(ConnectionResetError):
            party.recv(100)
    if number == signal.SIGTERM:
        ended = program.event("ended")
        assert (ended["bytes_forth"], ended["bytes_back"]) == (len(b"half a file"), 0)
        assert ended["reason"] == "stopped"
    program.read_to_end()


def test_a_crowd_of_one_address_leaves_places_for_others():
    with relay("--waiting", 3, "--waiting-per-address", 3, "--waiting-time", 60) as program:
        crowd = [dial(f"{n:032x}\n", source="127.0.0.66") for n in range(3)]
        for party in crowd:
            program.event("waiting", peer=name(party))
        first = dial()
        program.event("waiting", peer=name(first))
        left = program.event("left", peer=name(crowd[0]))
        assert left["reason"] == "its place went to 127.0.0.1"
        with pytest.raises(ConnectionResetError):
            crowd[0].recv(100)
        second = dial()
        program.event("joined")
        second.sendall(b"here")
        assert first.recv(100) == b"here"


def test_a_crowd_that_sends_no_token_leaves_connections_for_others():
    small = ("--waiting", 1, "--pairs", 1, "--waiting-per-address", 8, "--line-time", 60)
    with relay(*small) as program:  # four connections in all
        crowd = [dial("", source="127.0.0.66") for _ in range(4)]
        first = dial()
        program.event("waiting", peer=name(first))
        dial()
        program.event("joined", first=name(first))
        assert program.event("refused")["peer"] == name(crowd[0])


def test_a_pair_of_a_crowd_gives_way_and_its_bytes_are_counted():
    with relay("--pairs", 2, "--pairs-per-address", 8) as program:
        pairs = []
        for n in range(2):
            first = dial(f"{n:032x}\n", source="127.0.0.66")
            program.event("waiting", peer=name(first))
            pairs.append((first, dial(f"{n:032x}\n", source="127.0.0.67")))
            program.event("joined", first=name(first))
        first, second = pairs[0]
        first.sendall(b"half a file")
        assert second.recv(100) == b"half a file"
        joined_pair(program)
        ended = program.event("ended")
        assert (ended["first"], ended["bytes_forth"]) == (name(first), 11)
        assert ended["reason"] == "its place went to 127.0.0.1"
        for party in (first, second):
            with pytest.raises(ConnectionResetError):
                party.recv(100)


def test_sigterm_ends_it_promptly_with_parties_in_every_state():
    with relay() as program:
        first, second = joined_pair(program)
        waiting, silent = dial(f"{OTHER}\n"), dial("")
        program.event("waiting", peer=name(waiting))
        started = time.monotonic()
        assert program.stop() == 0
        assert time.monotonic() - started < 2
        for sock in (first, second, waiting, silent):
            with pytest.raises(ConnectionResetError):
                sock.recv(1)


def test_a_port_in_use_is_one_clear_line():
    with relay():
        again = subprocess.run(
            [sys.executable, "-m", RELAY_MODULE, "--listen", RELAY[0], "--port", str(RELAY[1])],
            capture_output=True, text=True, timeout=10,
        )  # fmt: skip
    assert again.returncode == 1
    assert os.strerror(errno.EADDRINUSE).lower() in again.stderr.lower()
    assert again.stderr.count("\n") == 1
