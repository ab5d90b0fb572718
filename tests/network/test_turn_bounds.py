"""What the TURN server holds while it is used hard, and what is left afterwards."""

import asyncio
import contextlib
import signal
import socket
import time
from pathlib import Path

import pytest

from napt_lab.servers.stun.attributes import Transport
from napt_lab.servers.stun.stun_message import Attribute, Class, Message, Method, decode, encode
from napt_lab.servers.turn.client.endpoint import TurnError, connected
from napt_lab.servers.turn.turn_state import MAX_STRANGERS_PER_CLIENT
from tests.network.turn_programs import PASSWORD, SERVER, USER, turn_server
from tests.waiting import wait_until

pytestmark = pytest.mark.network
UDP, TCP = Transport.UDP, Transport.TCP
MIB = 1 << 20
ALLOWED_GROWTH = 8 * 1024  # KiB


@contextlib.asynccontextmanager
async def joined():
    """A TCP allocation with one peer: the peer's socket, and our stream to it."""
    async with connected(SERVER, USER, PASSWORD, TCP) as turn:
        relayed = (await turn.allocate(TCP)).relayed
        await turn.permit("127.0.0.1")
        peer = socket.create_connection(relayed)
        peer.setblocking(False)
        stream = await turn.accept()
        yield peer, stream
        peer.close()
        stream.writer.close()


async def flood(peer):
    """Send until the kernel takes no more for half a second; how many bytes it took."""
    loop, total, chunk = asyncio.get_running_loop(), 0, bytes(MIB)
    with contextlib.suppress(TimeoutError):
        while total < 1024 * MIB:
            async with asyncio.timeout(0.5):
                await loop.sock_sendall(peer, chunk)
            total += MIB
    return total


def open_files(server):
    """Files that the server has open, beside what its standard streams were given."""
    folder = Path(f"/proc/{server.process.pid}/fd")
    targets = [str(each.readlink()) for each in folder.iterdir() if int(each.name) > 2]
    return [target for target in targets if target.startswith("/") and "/dev/" not in target]


def test_a_large_transfer_needs_no_memory_and_no_file():
    size = 400 * MIB

    async def transfer():
        async with joined() as (peer, stream):
            before = server.status("VmHWM")
            sending = asyncio.create_task(send_all(peer, size))
            received = 0
            while received < size:
                data = await stream.reader.read(MIB)
                assert data
                received += len(data)
            await sending
            assert server.status("VmHWM") - before < ALLOWED_GROWTH
            assert open_files(server) == []

    async def send_all(peer, left):
        loop = asyncio.get_running_loop()
        while left:
            await loop.sock_sendall(peer, bytes(min(MIB, left)))
            left -= min(MIB, left)

    with turn_server() as server:
        asyncio.run(transfer())
        assert server.event("ended")["bytes_from_peers"] == size


def test_a_client_that_does_not_read_holds_its_peer_back():
    async def stuck():
        async with joined() as (peer, stream):
            stream.writer.transport.pause_reading()
            before = server.status("VmRSS")
            taken = await flood(peer)
            assert 0 < taken < 100 * MIB
            assert server.status("VmRSS") - before < ALLOWED_GROWTH

    with turn_server() as server:
        asyncio.run(stuck())


def test_a_peer_whose_connection_is_not_bound_is_not_read():
    async def unbound():
        async with connected(SERVER, USER, PASSWORD, TCP) as turn:
            relayed = (await turn.allocate(TCP)).relayed
            await turn.permit("127.0.0.1")
            before = server.status("VmRSS")
            with socket.create_connection(relayed) as peer:
                peer.setblocking(False)
                assert 0 < await flood(peer) < 100 * MIB
            assert server.status("VmRSS") - before < ALLOWED_GROWTH

    with turn_server() as server:
        asyncio.run(unbound())


def test_datagrams_for_a_tcp_client_that_does_not_read_are_dropped():
    async def stuck():
        async with connected(SERVER, USER, PASSWORD, TCP) as turn:
            relayed = (await turn.allocate(UDP)).relayed
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer:
                peer.bind(("127.0.0.1", 0))
                await turn.bind_channel(peer.getsockname())
                before = server.status("VmRSS")
                # No await here: the client's event loop reads nothing meanwhile.
                for _ in range(60_000):
                    peer.sendto(bytes(1000), relayed)
                assert server.status("VmRSS") - before < ALLOWED_GROWTH
            # The connection is still good once the client reads again.
            await asyncio.wait_for(turn.permit("127.0.0.1"), 10)
            assert turn._data.qsize() > 0

    with turn_server() as server:
        asyncio.run(stuck())


def test_a_flood_of_allocate_requests_leaves_nothing_behind():
    requested: list[tuple[int, bytes]] = [(Attribute.REQUESTED_TRANSPORT, bytes([UDP, 0, 0, 0]))]
    with turn_server() as server, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
        stranger.connect(SERVER)
        stranger.settimeout(5)
        before, descriptors = server.status("VmRSS"), server.descriptors()
        sent = received = 0
        for number in range(50_000):
            packet = encode(Message(Method.ALLOCATE, Class.REQUEST, number.to_bytes(12), requested))
            stranger.send(packet)
            sent += len(packet)
        # The last answer comes after all others were dealt with.
        with socket.create_connection(SERVER, timeout=5) as control:
            control.sendall(encode(Message(Method.BINDING, Class.REQUEST, bytes(12))))
            assert decode(control.recv(1500)).message_class == Class.SUCCESS
        stranger.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            while True:
                received += len(stranger.recv(1500))
        assert 0 < received < sent + 16_384
        assert server.status("VmRSS") - before < ALLOWED_GROWTH
        await_descriptors(server, descriptors)
        assert server.stop() == 0  # all that it told has been read then
        assert [event["event"] for event in server.events] == ["ready"]


def test_a_flood_of_strangers_takes_no_room_from_clients_with_allocations():
    """The server stands still while its queue for strangers overflows; then one client sends."""
    request = encode(Message(Method.ALLOCATE, Class.REQUEST, bytes(12)))

    async def send_behind_the_flood(server):
        async with connected(SERVER, USER, PASSWORD, UDP) as turn:
            await turn.allocate(UDP)
            with (
                socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer,
                socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger,
            ):
                peer.bind(("127.0.0.1", 0))
                peer.settimeout(10)
                await turn.bind_channel(peer.getsockname())
                stranger.connect(SERVER)
                server.process.send_signal(signal.SIGSTOP)
                for _ in range(50_000):
                    stranger.send(request)
                turn.send(peer.getsockname(), b"behind the flood")
                server.process.send_signal(signal.SIGCONT)
                assert peer.recv(100) == b"behind the flood"
            # What the client asks for is answered, too; and without its allocation as well.
            await asyncio.wait_for(turn.delete(), 10)
            await asyncio.wait_for(turn.allocate(UDP), 10)

    with turn_server() as server:
        before = server.descriptors()
        asyncio.run(send_behind_the_flood(server))
        await_descriptors(server, before + 2)  # an allocation that its client left behind


def test_connections_of_one_address_are_bounded():
    with turn_server() as server, contextlib.ExitStack() as stack:
        before = server.descriptors()
        sockets = [
            stack.enter_context(socket.create_connection(SERVER, timeout=5)) for _ in range(300)
        ]
        for each in sockets:
            each.setblocking(False)
        closed: set[socket.socket] = set()

        def enough_closed() -> bool:
            closed.update(each for each in sockets if ended(each))
            return len(closed) >= 300 - MAX_STRANGERS_PER_CLIENT

        wait_until(enough_closed, lambda: f"more to be closed than {len(closed)}")
        await_descriptors(server, before + MAX_STRANGERS_PER_CLIENT)
        # Those that are left work.
        living = next(each for each in sockets if each not in closed)
        living.settimeout(5)
        living.sendall(encode(Message(Method.BINDING, Class.REQUEST, bytes(12))))
        assert decode(living.recv(1500)).message_class == Class.SUCCESS


def await_descriptors(server, number):
    wait_until(
        lambda: server.descriptors() == number,
        lambda: f"{number} descriptors, not {server.descriptors()}",
    )


def ended(connection):
    try:
        return connection.recv(1) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True


def test_without_descriptors_left_the_server_refuses_and_recovers():
    async def exhaust():
        async with contextlib.AsyncExitStack() as stack:
            granted, code = [], 0
            for _ in range(40):
                turn = await stack.enter_async_context(connected(SERVER, USER, PASSWORD, UDP))
                try:
                    await turn.allocate(UDP)
                except TurnError as refused:
                    code = refused.code
                    break
                granted.append(turn)
            assert code == 508
            assert len(granted) > 10
            # TCP connections wait, and nothing breaks.
            stack.enter_context(socket.create_connection(SERVER, timeout=5))
            with pytest.raises(TurnError):
                await turn.allocate(UDP)
            for each in granted[:5]:
                await each.delete()
            await turn.allocate(UDP)

    with turn_server(prefix=("prlimit", "--nofile=40:40")):
        asyncio.run(exhaust())


def test_a_relayed_address_is_granted_once_though_the_kernel_would_grant_it_again():
    async def two_clients():
        async with (
            connected(SERVER, USER, PASSWORD, TCP) as first,
            connected(SERVER, USER, PASSWORD, TCP) as second,
        ):
            relayed = (await first.allocate(TCP)).relayed
            with pytest.raises(TurnError) as refused:
                await second.allocate(TCP)
            assert refused.value.code == 508
            await first.delete()
            with pytest.raises(ConnectionRefusedError):
                await asyncio.open_connection(*relayed)
            assert (await second.allocate(TCP)).relayed == relayed
            await second.delete()

    with turn_server("--relay-ports", "50000-50000") as server:
        before = server.descriptors()
        asyncio.run(two_clients())
        await_descriptors(server, before)


def test_garbage_in_a_stream_ends_it():
    with turn_server(), socket.create_connection(SERVER, timeout=5) as stranger:
        stranger.sendall(b"GET / HTTP/1.1\r\nHost: example.org\r\n\r\n")
        with contextlib.suppress(ConnectionResetError):
            assert stranger.recv(100) == b""


def test_bandwidth_of_a_user_is_held_for_datagrams_and_connections():
    rate = 2 * MIB

    async def measure():
        async with joined() as (peer, stream):
            sending = asyncio.create_task(flood(peer))
            received, started = 0, time.monotonic()
            while received < 4 * MIB:
                received += len(await stream.reader.read(MIB))
            seconds = time.monotonic() - started
            sending.cancel()
            # A pipe and two socket buffers may pass before pacing is felt.
            assert received / seconds < 2.5 * rate

    with turn_server("--allow-peer", "127.0.0.0/8", "--user-bandwidth", str(rate)):
        asyncio.run(measure())
