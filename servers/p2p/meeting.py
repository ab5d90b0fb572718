"""Two peers tell each other their endpoints at a place that both can dial: servers/relay.

Each says the same word, a token of hexadecimal digits, and then one line: its endpoint. Only this
line passes the relay; what the peers then do, they do without it.

Events: `mapped` (my endpoint), `told` (mine, peer: my peer's).
"""

from __future__ import annotations

import socket
from ipaddress import IPv4Address

from napt_lab.servers.shared.events import emit, endpoint
from napt_lab.servers.shared.splice import fin_when_closed, reset_when_closed
from napt_lab.servers.stun.attributes import Address

LINE = 80  # bytes


def exchange(relay: Address, word: str, mine: Address, patience: float) -> Address:
    """Tell a peer my endpoint and be told its own. Raises OSError, TimeoutError."""
    emit("mapped", mapped=endpoint(mine))
    with socket.create_connection(relay, timeout=patience) as connection:
        reset_when_closed(connection)  # so that the relay does not keep a place for who has left
        connection.sendall(f"{word}\n{endpoint(mine)}\n".encode())
        with connection.makefile("rb") as stream:
            line = stream.readline(LINE).decode(errors="replace").strip()
        fin_when_closed(connection)  # the peer may not have read our line yet
    host, _, port = line.partition(":")
    try:
        peer = str(IPv4Address(host)), int(port)
        if not 0 < peer[1] < 65_536:
            raise ValueError
    except ValueError:  # the relay says in one line why it refuses
        raise OSError(f"the peer told no endpoint: {line or 'nothing came'}") from None
    emit("told", mine=endpoint(mine), peer=endpoint(peer))
    return peer
