"""The TURN server with clients from other projects, and our client with coturn's server."""

import asyncio
import contextlib
import hashlib
import os
import subprocess
import sys

import aioice.stun
import aioice.turn
import pytest

from napt_lab.servers.stun.attributes import Transport
from napt_lab.servers.turn.client.endpoint import TurnError, connected
from tests.network.turn_programs import (
    PASSWORD,
    SERVER,
    USER,
    coturn_client,
    coturn_clients,
    coturn_peer,
    coturn_server,
    need,
    turn_server,
)
from tests.server_program import DEADLINE, Events

pytestmark = pytest.mark.network
UDP, TCP = Transport.UDP, Transport.TCP
FILE_SIZE = 5_000_001

# Debian's coturn chooses channels as RFC 5766 let it.
FOR_COTURN = ("--allow-peer", "127.0.0.0/8", "--channels", "rfc5766")

ECHO = ("-e", "127.0.0.1", "-c")
MANY = ("-m", "4", "-l", "1200")
# What coturn's clients are told to do, by how they reach the server and what it relays.
COTURNS_CLIENTS = {
    ("udp", "udp"): (ECHO, (*ECHO, "-s"), ("-y",), ("-y", "-s", "-G"), ("-y", *MANY)),
    ("tcp", "udp"): ((*ECHO, "-t"), (*ECHO, "-t", "-s"), ("-y", "-t")),
    ("tcp", "tcp"): (("-T",), ("-T", *MANY)),
}


@pytest.mark.parametrize("ways", COTURNS_CLIENTS, ids="-".join)
def test_coturns_clients_lose_nothing(ways):
    with turn_server(*FOR_COTURN) as server, coturn_peer():
        clients = coturn_clients(*COTURNS_CLIENTS[ways])
        # The server's own account first: if a packet is missing, this tells where.
        assert server.stop() == 0
        allocated = server.told("allocated")
        assert len(allocated) >= len(clients)
        assert {(each["client_transport"], each["transport"]) for each in allocated} == {ways}
        ended = server.told("ended")
        assert len(ended) == len(allocated)
        assert not any(event["packets_refused"] for event in ended), ended
        assert not any(event["packets_dropped"] for event in ended), ended
        for sent, received, output in clients:
            assert sent == received > 0, (output, ended)
            assert "Total lost packets 0 " in output


def test_coturns_clients_with_a_wrong_password_are_refused():
    options = (("-y",), ("-y", "-t"), ("-T",))
    with turn_server(*FOR_COTURN) as server:
        for sent, _, output in coturn_clients(*options, password="wrong"):
            assert sent == 0
            assert "Cannot complete Allocation" in output
        # The positive control; and the first allocation ever is one of these.
        for sent, received, output in coturn_clients(*options):
            assert sent == received > 0, output
        server.event("allocated")
        before = [each["event"] for each in server.events].index("allocated")
        refused = server.events[1:before]
        assert {(each["event"], each["reason"]) for each in refused} == {
            ("refused", "401 Unauthenticated: no user 'alice', or a wrong password")
        }


def test_coturns_client_is_told_that_dont_fragment_is_not_supported():
    with turn_server(*FOR_COTURN):
        assert "error 420" in coturn_client("-y", "-g")[2]


def test_coturns_stun_client_learns_its_address():
    need("turnutils_stunclient")
    with turn_server():
        result = subprocess.run(
            ["turnutils_stunclient", "-p", str(SERVER[1]), SERVER[0]],
            capture_output=True, text=True, timeout=10, check=False,
        )  # fmt: skip
    assert "UDP reflexive addr: 127.0.0.1:" in result.stdout + result.stderr


class Collected(asyncio.DatagramProtocol):
    def __init__(self):
        self.datagrams = asyncio.Queue()

    def datagram_received(self, data, address):
        self.datagrams.put_nowait((data, address))


@pytest.mark.parametrize("over", ["udp", "tcp"])
def test_aioice_relays_both_ways(over):
    async def conversation():
        loop = asyncio.get_running_loop()
        peer, received = await loop.create_datagram_endpoint(Collected, local_addr=("127.0.0.1", 0))
        address = peer.get_extra_info("sockname")
        turn, protocol = await aioice.turn.create_turn_endpoint(
            Collected, SERVER, USER, PASSWORD, transport=over
        )
        for size in (1, 3, 1200):
            turn.sendto(bytes(size), address)
            data, relayed = await asyncio.wait_for(received.datagrams.get(), 5)
            assert (data, relayed) == (bytes(size), turn.get_extra_info("sockname"))
            peer.sendto(b"answer" + bytes(size), relayed)
            answer = await asyncio.wait_for(protocol.datagrams.get(), 5)
            assert answer == (b"answer" + bytes(size), address)
        await turn._close()
        peer.close()

    with turn_server() as server:
        asyncio.run(conversation())
        ended = server.event("ended", reason="deleted")
        assert (ended["bytes_to_peers"], ended["bytes_from_peers"]) == (1204, 1222)


def test_aioice_with_a_wrong_password_is_refused():
    async def attempt(password):
        turn, _ = await aioice.turn.create_turn_endpoint(Collected, SERVER, USER, password)
        await turn._close()

    with turn_server():
        with pytest.raises(aioice.stun.TransactionFailed) as refused:
            asyncio.run(attempt("wrong"))
        assert refused.value.response.error_code == 401
        asyncio.run(attempt(PASSWORD))


@contextlib.contextmanager
def either_server(name, folder):
    with turn_server() if name == "ours" else coturn_server(folder) as server:
        yield server


SERVERS = pytest.mark.parametrize("server", ["ours", "coturn"])


async def datagrams_both_ways(over):
    loop = asyncio.get_running_loop()
    peer, received = await loop.create_datagram_endpoint(Collected, local_addr=("127.0.0.1", 0))
    address = peer.get_extra_info("sockname")
    async with connected(SERVER, USER, PASSWORD, over) as turn:
        relayed = (await turn.allocate(UDP)).relayed
        await turn.permit("127.0.0.1")
        for ready in ("indication", "channel"):
            if ready == "channel":
                await turn.bind_channel(address)
            for size in (1, 3, 1200):
                turn.send(address, bytes(size))
                assert await asyncio.wait_for(received.datagrams.get(), 5) == (
                    bytes(size), relayed,
                )  # fmt: skip
                peer.sendto(b"answer" + bytes(size), relayed)
                answer = await asyncio.wait_for(turn.receive(), 5)
                assert (answer.peer, answer.data) == (address, b"answer" + bytes(size))
        await turn.delete()
    peer.close()


@SERVERS
@pytest.mark.parametrize("over", [UDP, TCP], ids=["udp", "tcp"])
def test_our_client_relays_datagrams(server, over, tmp_path):
    with either_server(server, tmp_path):
        asyncio.run(datagrams_both_ways(over))


async def streams_both_ways():
    async def echo(reader, writer):
        while data := await reader.read(65536):
            writer.write(data)
        writer.close()

    listener = await asyncio.start_server(echo, "127.0.0.1", 0)
    async with connected(SERVER, USER, PASSWORD, TCP) as turn:
        relayed = (await turn.allocate(TCP)).relayed
        await turn.permit("127.0.0.1")
        # A peer that connects to us, and sends before its connection is bound.
        reader, writer = await asyncio.open_connection(*relayed)
        writer.write(b"early")
        accepted = await asyncio.wait_for(turn.accept(), 5)
        assert accepted.peer == writer.get_extra_info("sockname")
        assert await accepted.reader.readexactly(5) == b"early"
        accepted.writer.write(b"late")
        assert await reader.readexactly(4) == b"late"
        # A peer that we connect to.
        opened = await turn.connect(listener.sockets[0].getsockname())
        opened.writer.write(b"echo")
        assert await opened.reader.readexactly(4) == b"echo"
        with pytest.raises(TurnError) as refused:
            await turn.connect(("127.0.0.1", 1))
        assert refused.value.code == 447
        for stream in (accepted.writer, opened.writer, writer):
            stream.close()
    listener.close()


@SERVERS
def test_our_client_relays_connections(server, tmp_path):
    with either_server(server, tmp_path):
        asyncio.run(streams_both_ways())


@SERVERS
def test_our_client_is_told_what_it_may_not(server, tmp_path):
    async def attempts():
        async with connected(SERVER, USER, "wrong", UDP) as turn:
            with pytest.raises(TurnError) as refused:
                await turn.allocate(UDP)
            assert refused.value.code == 401
        async with connected(SERVER, USER, PASSWORD, UDP) as turn:
            await turn.allocate(UDP)
            with pytest.raises(TurnError) as refused:
                await turn.permit("224.0.0.1")
            assert refused.value.code == 403
            await turn.permit("127.0.0.1")

    with either_server(server, tmp_path):
        asyncio.run(attempts())


def test_our_client_does_not_wait_for_a_server_that_is_gone():
    async def wait_for_a_peer(server):
        async with connected(SERVER, USER, PASSWORD, TCP) as turn:
            await turn.allocate(TCP)
            waiting = asyncio.create_task(turn.accept())
            server.process.kill()
            with pytest.raises(ConnectionResetError, match="the server closed the connection"):
                await asyncio.wait_for(waiting, DEADLINE)

    with turn_server() as server:
        asyncio.run(wait_for_a_peer(server))
        server.process.wait(DEADLINE)


def test_loopback_is_forbidden_unless_allowed():
    async def attempt():
        async with connected(SERVER, USER, PASSWORD, UDP) as turn:
            await turn.allocate(UDP)
            with pytest.raises(TurnError) as refused:
                await turn.permit("127.0.0.1")
            assert refused.value.code == 403
            await turn.permit("198.51.100.7")

    with turn_server("--user-allocations", "2"):
        asyncio.run(attempt())


class Transfer:
    """Our client's command line with one file, and a peer that knows nothing of TURN."""

    def __init__(self, folder, direction):
        self.mine, self.theirs = folder / "mine", folder / "theirs"
        source = self.mine if direction == "--send" else self.theirs
        source.write_bytes(os.urandom(FILE_SIZE))
        self.direction = direction

    def run(self):
        client = subprocess.Popen(
            [sys.executable, "-m", "napt_lab.servers.turn.client",
             "--server", "{}:{}".format(*SERVER),
             "--user", f"{USER}:{PASSWORD}", "--permit", "127.0.0.1", self.direction, self.mine],
            stdout=subprocess.PIPE,
        )  # fmt: skip
        events = Events(client.stdout)
        host, port = events.event("allocated")["relayed"].split(":")
        events.event("permission")
        command = (
            f"nc {host} {port} < /dev/null > theirs"
            if self.direction == "--send"
            else f"nc -N {host} {port} < theirs"
        )
        subprocess.run(["sh", "-c", command], cwd=self.theirs.parent, check=True, timeout=20)
        done = events.event("done")
        assert client.wait(10) == 0
        events.read_to_end()
        client.stdout.close()
        return done


@pytest.mark.parametrize("direction", ["--send", "--receive"])
def test_a_file_passes_the_relay_to_and_from_nc(direction, tmp_path):
    with turn_server() as server:
        transfer = Transfer(tmp_path, direction)
        before = server.descriptors()
        done = transfer.run()
        ended = server.event("ended")
        assert transfer.mine.read_bytes() == transfer.theirs.read_bytes()
        assert done["sha256"] == hashlib.sha256(transfer.mine.read_bytes()).hexdigest()
        towards = "bytes_to_peers" if direction == "--send" else "bytes_from_peers"
        assert ended[towards] == done["bytes"] == FILE_SIZE
        assert server.descriptors() <= before


def test_sigterm_ends_allocations_and_says_what_they_relayed():
    async def hold(server):
        async with connected(SERVER, USER, PASSWORD, TCP) as turn:
            relayed = (await turn.allocate(TCP)).relayed
            await turn.permit("127.0.0.1")
            reader, writer = await asyncio.open_connection(*relayed)
            stream = await turn.accept()
            writer.write(b"12345")
            assert await stream.reader.readexactly(5) == b"12345"
            assert server.stop() == 0
            with pytest.raises(ConnectionResetError):
                await reader.read()
            writer.close()

    with turn_server() as server:
        asyncio.run(hold(server))
        ended = server.event("ended", reason="server stopped")
        assert ended["bytes_from_peers"] == 5


def test_a_realm_or_account_that_is_not_valid_is_told_by_the_option():
    for option, text in (("--realm", "a\u200db"), ("--user", "alice:a\x07b")):
        valid = {"--realm": "napt.lab", "--user": "alice:secret", option: text}
        words = [word for pair in valid.items() for word in pair]
        result = subprocess.run(
            [sys.executable, "-m", "napt_lab.servers.turn", *words, "--relay-address", "127.0.0.1"],
            capture_output=True, text=True, timeout=10, check=False,
        )  # fmt: skip
        assert result.returncode == 2
        assert f"argument {option}: " in result.stderr
        assert "is not valid (RFC 8265): DISALLOWED/" in result.stderr


def test_a_port_in_use_is_told_in_one_line():
    with turn_server():
        second = subprocess.run(
            [sys.executable, "-m", "napt_lab.servers.turn", "--listen", SERVER[0], "--realm", "x",
             "--user", "a:b", "--relay-address", "127.0.0.1"],
            capture_output=True, text=True, timeout=10, check=False,
        )  # fmt: skip
    assert second.returncode == 1
    assert second.stderr.count("\n") == 1
    assert "127.0.0.1:3478" in second.stderr
