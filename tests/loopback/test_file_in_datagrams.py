"""Receiving a file through a punched hole, while a stranger floods the port."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from napt_lab.servers.p2p.hole import Hole
from napt_lab.servers.p2p.sockets import udp_socket
from napt_lab.servers.shared.file_in_datagrams import receive_file

HERE = "127.0.0.1"


def test_a_strangers_flood_does_not_keep_a_time_out_from_coming(tmp_path):
    came = 0

    async def flooded(*_: object) -> tuple[bytes, tuple[str, int]]:
        """What a socket gives at which a stranger's datagrams come without an end."""
        nonlocal came
        came += 1
        assert came < 3_000_000, "no time-out came"
        return b"junk", (HERE, 9)

    async def receive() -> None:
        with udp_socket(0) as sock:
            loop: Any = asyncio.get_running_loop()
            loop.sock_recvfrom = flooded
            await receive_file(Hole(sock, (HERE, 1)), tmp_path / "x", patience=0.2)

    with pytest.raises(TimeoutError):
        asyncio.run(receive())
    assert came > 1
    assert not list(tmp_path.iterdir())
