"""Two peers tell each other their endpoints at a place that both can dial: servers/relay.

Each says the same word, a token of hexadecimal digits, and then one line: its endpoint. Only this
line passes the relay; what the peers then do, they do without it.

Events: `told` (mine: my endpoint, peer: my peer's).
"""

from __future__ import annotations

import socket
from ipaddress import IPv4Address

from napt_lab.servers.shared.events import emit, endpoint
from napt_lab.servers.stun.attributes import Address

LINE = 80  # bytes


def exchange(relay: Address, word: str, mine: Address, patience: float) -> Address:
    """Tell a peer my endpoint and be told its own. Raises OSError, TimeoutError."""
    with socket.create_connection(relay, timeout=patience) as connection:
        connection.sendall(f"{word}\n{endpoint(mine)}\n".encode())
        with connection.makefile("rb") as stream:
            line = stream.readline(LINE).decode(errors="replace").strip()
    host, _, port = line.partition(":")
    try:
        peer = str(IPv4Address(host)), int(port)
        if not 0 < peer[1] < 65_536:
            raise ValueError
    except ValueError:  # the relay says in one line why it refuses
        raise OSError(f"the peer told no endpoint: {line or 'nothing came'}") from None
    emit("told", mine=endpoint(mine), peer=endpoint(peer))
    return peer
