"""Receiving a file from a peer that may be anyone, to a path that may be a device."""

from __future__ import annotations

import asyncio
import os
import stat
from pathlib import Path
from typing import Any

import pytest

from napt_lab.servers.p2p.hole import Hole
from napt_lab.servers.p2p.sockets import udp_socket
from napt_lab.servers.shared.file_in_datagrams import receive_file, send_file

HERE = "127.0.0.1"


async def transfer(source: Path, target: Path) -> None:
    with udp_socket(0) as one, udp_socket(0) as two:
        ends = [(HERE, sock.getsockname()[1]) for sock in (one, two)]
        sending, receiving = Hole(one, ends[1]), Hole(two, ends[0])
        await asyncio.gather(send_file(sending, source), receive_file(receiving, target))


def test_what_stands_in_the_folder_is_not_touched_until_the_file_is_whole(tmp_path):
    source, target, other = (tmp_path / name for name in ("a", "x", "x.part"))
    source.write_bytes(b"new" * 1000)
    target.write_bytes(b"old")
    other.write_bytes(b"mine")
    asyncio.run(transfer(source, target))
    assert target.read_bytes() == source.read_bytes()
    assert other.read_bytes() == b"mine"
    assert sorted(tmp_path.iterdir()) == [source, target, other]


def test_a_device_is_written_to_and_not_replaced(tmp_path):
    source, pipe = tmp_path / "a", tmp_path / "pipe"
    source.write_bytes(b"x" * 3000)
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    asyncio.run(transfer(source, pipe))
    assert os.read(reader, 4000) == source.read_bytes()
    os.close(reader)
    assert stat.S_ISFIFO(pipe.lstat().st_mode)


def test_a_strangers_flood_does_not_keep_a_time_out_from_coming(tmp_path):
    class Flooded:
        """A socket from which a stranger's datagrams come without an end."""

        def __init__(self) -> None:
            self.came = 0

        async def recv(self, *_: object) -> tuple[bytes, tuple[str, int]]:
            self.came += 1
            assert self.came < 3_000_000, "no time-out came"
            return b"junk", (HERE, 9)

    async def receive() -> None:
        with udp_socket(0) as sock:
            loop: Any = asyncio.get_running_loop()
            loop.sock_recvfrom = Flooded().recv
            await receive_file(Hole(sock, (HERE, 1)), tmp_path / "x", patience=0.2)

    with pytest.raises(TimeoutError):
        asyncio.run(receive())
