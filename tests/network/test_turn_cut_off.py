"""A transfer through a TCP allocation that is cut off never looks complete (RFC 6062).

Whatever ends a connection in mid-transfer, except its sender's own FIN, reaches both the peer and
the client's data connection as a reset, and the bytes that passed are counted.
"""

import asyncio
import contextlib
import random
import signal
import socket
import struct
from ipaddress import IPv4Network

import pytest

from napt_lab.servers.stun.attributes import Transport
from napt_lab.servers.turn import allocate
from napt_lab.servers.turn.client.endpoint import connected
from napt_lab.servers.turn.credentials import Credentials
from napt_lab.servers.turn.policy import PeerPolicy
from napt_lab.servers.turn.quota import Limits, Quota
from napt_lab.servers.turn.relayed_addresses import Ports
from napt_lab.servers.turn.sockets import Sockets
from napt_lab.servers.turn.turn_server import TurnServer
from tests.network.turn_programs import DEADLINE, PASSWORD, SERVER, USER, turn_server

pytestmark = pytest.mark.network
TCP = Transport.TCP
PART = bytes(range(256)) * 400  # what has passed when the transfer is cut off
RESET_WHEN_CLOSED = struct.pack("ii", 1, 0)


@contextlib.asynccontextmanager
async def transfer(sender):
    """A transfer of which PART has arrived: the allocation, the client's stream, the peer's."""
    async with connected(SERVER, USER, PASSWORD, TCP) as turn:
        relayed = (await turn.allocate(TCP)).relayed
        await turn.permit("127.0.0.1")
        peer = await asyncio.open_connection(*relayed)
        stream = await turn.accept()
        client = stream.reader, stream.writer
        source, sink = (client, peer) if sender == "client" else (peer, client)
        source[1].write(PART)
        assert await sink[0].readexactly(len(PART)) == PART
        yield turn, client, peer
        for _, writer in (client, peer):
            writer.transport.abort()


async def how_it_ended(reader):
    """ "reset", or what came after PART; b"" is an end that looks like the sender's."""
    try:
        return await asyncio.wait_for(reader.read(), DEADLINE)
    except ConnectionResetError:
        return "reset"


async def read_to_end(sock):
    """As above, for a bare socket; forgets what came."""
    loop = asyncio.get_running_loop()
    try:
        while await asyncio.wait_for(loop.sock_recv(sock, 1 << 20), DEADLINE):
            pass
    except ConnectionResetError:
        return "reset"
    return b""


def reset(writer):
    """Have this connection end by RST."""
    sock = writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_WHEN_CLOSED)
    writer.transport.abort()


async def close_control_connection(turn, _):
    turn._close_socket()


async def reset_control_connection(turn, _):
    reset(turn._close_socket.__self__)


async def delete(turn, _):
    await turn.delete()


async def stop(_, server):
    assert server.stop() == 0


ENDS = {
    "control connection closed": close_control_connection,
    "control connection closed (by a reset)": reset_control_connection,
    "deleted": delete,
    "server stopped": stop,
}
SENDERS = pytest.mark.parametrize("sender", ["client", "peer"])


def counted(sender):
    """The bytes of `ended`, both ways, when PART has passed."""
    to_peers, from_peers = (len(PART), 0) if sender == "client" else (0, len(PART))
    return {"bytes_to_peers": to_peers, "bytes_from_peers": from_peers}


@SENDERS
@pytest.mark.parametrize("end", ENDS)
def test_the_end_of_the_allocation_is_a_reset_on_both_sides(sender, end):
    async def cut_off(server):
        async with transfer(sender) as (turn, client, peer):
            await ENDS[end](turn, server)
            assert await how_it_ended(peer[0]) == "reset"
            assert await how_it_ended(client[0]) == "reset"

    with turn_server() as server:
        asyncio.run(cut_off(server))
        server.event("ended", reason=end.partition(" (")[0], **counted(sender))


@SENDERS
def test_the_death_of_the_server_is_a_reset_on_both_sides(sender):
    async def cut_off(server):
        async with transfer(sender) as (_, client, peer):
            server.process.kill()
            assert await how_it_ended(peer[0]) == "reset"
            assert await how_it_ended(client[0]) == "reset"

    with turn_server() as server:
        asyncio.run(cut_off(server))
        server.process.wait(DEADLINE)


@pytest.mark.parametrize("dialed_by", ["client", "peer"])
def test_a_peer_whose_connection_waits_is_reset_by_the_death_of_the_server(dialed_by):
    """Before the client has bound it; else the peer would take it for a file of no bytes."""

    async def cut_off(server):
        accepted = asyncio.Queue()
        async with connected(SERVER, USER, PASSWORD, TCP) as turn:
            relayed = (await turn.allocate(TCP)).relayed
            await turn.permit("127.0.0.1")
            if dialed_by == "peer":
                reader, _ = await asyncio.open_connection(*relayed)
            else:
                listener = await asyncio.start_server(
                    lambda *streams: accepted.put_nowait(streams), "127.0.0.1", 0
                )
                turn.turn.connect(listener.sockets[0].getsockname(), 0.0)
                turn._flush()
                reader, _ = await accepted.get()
            await asyncio.to_thread(server.event, "connection")
            server.process.kill()
            assert await how_it_ended(reader) == "reset"

    with turn_server() as server:
        asyncio.run(cut_off(server))
        server.process.wait(DEADLINE)


@SENDERS
def test_expiry_is_a_reset_on_both_sides(sender, monkeypatch, capfd):
    """In this process, where an allocation may live shorter than RFC 8656 lets it."""
    monkeypatch.setattr(allocate, "DEFAULT_LIFETIME", 1)
    events = []
    monkeypatch.setattr(
        "napt_lab.servers.turn.sockets.emit", lambda name, **of: events.append((name, of))
    )

    async def cut_off():
        rng = random.Random()
        quota = Quota(8)
        server = TurnServer(
            Credentials("napt.lab", {USER: PASSWORD}, rng.randbytes),
            PeerPolicy("127.0.0.1", lambda _: True, [IPv4Network("127.0.0.0/8")]),
            Ports("127.0.0.1"), range(50000, 50100), Limits(quota, quota), rng,
        )  # fmt: skip
        sockets = Sockets(server)
        await sockets.listen(*SERVER)
        async with transfer(sender) as (turn, client, peer):
            turn._timer.cancel()  # it refreshes no more
            assert await how_it_ended(peer[0]) == "reset"
            assert await how_it_ended(client[0]) == "reset"
        await sockets.close()

    asyncio.run(cut_off())
    ended = dict(events)["ended"]
    assert ended["reason"] == "expired"
    assert counted(sender).items() <= ended.items()


@SENDERS
@pytest.mark.parametrize("broken", ["client", "peer"])
def test_a_reset_of_one_side_is_a_reset_of_the_other(sender, broken):
    async def cut_off():
        async with transfer(sender) as (_, client, peer):
            first, second = (client, peer) if broken == "client" else (peer, client)
            reset(first[1])
            assert await how_it_ended(second[0]) == "reset"

    with turn_server() as server:
        asyncio.run(cut_off())
        server.event("ended", **counted(sender))


def test_bytes_that_wait_in_the_server_are_no_reason_to_wait():
    """A peer that reads nothing: the client's bytes fill all buffers on the way."""

    async def cut_off():
        async with connected(SERVER, USER, PASSWORD, TCP) as turn:
            relayed = (await turn.allocate(TCP)).relayed
            await turn.permit("127.0.0.1")
            with socket.create_connection(relayed) as peer:
                peer.setblocking(False)
                stream = await turn.accept()
                stream.writer.write(bytes(64 << 20))
                with pytest.raises(TimeoutError):
                    await asyncio.wait_for(stream.writer.drain(), 0.5)
                await turn.delete()
                assert await how_it_ended(stream.reader) == "reset"
                assert await read_to_end(peer) == "reset"

    with turn_server() as server:
        asyncio.run(cut_off())
        assert 0 < server.event("ended")["bytes_to_peers"] < 64 << 20


def test_a_transfer_that_is_complete_when_the_allocation_ends_stays_complete():
    """The client reads the peer's FIN, closes, and deletes: the server learns all at once."""

    async def complete(server):
        async with transfer("peer") as (turn, client, peer):
            peer[1].write_eof()
            assert await client[0].read() == b""
            server.process.send_signal(signal.SIGSTOP)
            client[1].close()
            deleted = asyncio.ensure_future(turn.delete())
            await asyncio.sleep(0)  # the request is on its way
            server.process.send_signal(signal.SIGCONT)
            await deleted
            assert await how_it_ended(peer[0]) == b""

    with turn_server() as server:
        for _ in range(20):
            asyncio.run(complete(server))
        assert server.stop() == 0
        ended = server.told("ended", reason="deleted", **counted("peer"))
        assert len(ended) == 20
