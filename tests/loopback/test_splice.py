"""The watch over spliced sockets: what it takes for a failure, and what it costs."""

from __future__ import annotations

import asyncio
import socket
import time

import pytest

from napt_lab.servers.shared import splice as splicing
from napt_lab.servers.shared.splice import Pair, failed, readable, reset


def connection() -> tuple[socket.socket, socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        far = socket.create_connection(listener.getsockname())
        near, _ = listener.accept()
    near.setblocking(False)
    return near, far


def test_a_reset_is_noticed_behind_bytes_that_nobody_reads() -> None:
    async def watch() -> None:
        (quiet, _far), (near, far) = connection(), connection()
        far.sendall(b"unread")
        watching = asyncio.create_task(failed(quiet, near))
        await asyncio.sleep(0.1)  # a span in which bytes alone must not end the watch
        assert not watching.done()
        reset(far)
        assert await asyncio.wait_for(watching, 10) is near

    asyncio.run(watch())


def test_an_orderly_end_of_both_directions_is_no_failure_and_does_not_spin() -> None:
    async def watch() -> None:
        (ended, its_far), (near, far) = connection(), connection()
        watching = asyncio.create_task(failed(ended, near))
        its_far.shutdown(socket.SHUT_WR)
        assert await asyncio.get_running_loop().sock_recv(ended, 1) == b""
        ended.shutdown(socket.SHUT_WR)
        before = time.process_time()
        await asyncio.sleep(1.0)  # a span to measure: the hang-up is there to stay
        assert time.process_time() - before < 0.1
        assert not watching.done()
        reset(far)
        assert await asyncio.wait_for(watching, 10) is near

    asyncio.run(watch())


@pytest.mark.parametrize("turns", range(5))
def test_a_reset_is_passed_on_as_a_reset_whoever_sees_it_first(turns, monkeypatch) -> None:
    """The kernel gives a socket's error to one asker only; to the next it looks like an end."""

    async def late(sock) -> None:
        await readable(sock)
        if isinstance(sock, socket.socket):  # not the watch
            for _ in range(turns):
                await asyncio.sleep(0)

    async def play() -> None:
        (near, far), (other_near, other_far) = connection(), connection()
        other_far.setblocking(False)
        pair = Pair(near, other_near)
        joined = asyncio.create_task(pair.run(60))
        far.sendall(b"half a file")
        loop = asyncio.get_running_loop()
        assert await loop.sock_recv(other_far, 100) == b"half a file"
        reset(far)
        await asyncio.wait_for(joined, 10)
        assert pair.reason == "first: connection reset by peer"
        with pytest.raises(ConnectionResetError):
            await asyncio.wait_for(loop.sock_recv(other_far, 100), 10)

    monkeypatch.setattr(splicing, "readable", late)
    asyncio.run(play())
