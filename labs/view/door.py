"""The listening socket of the live page: made outside of the sandbox, used inside.

A socket keeps the network namespace that it was made in. So the page is reached at the machine's
own 127.0.0.1, although the lab has a network of its own, and no link leads from one to the other.
Whoever knows the address may use the page: it has a secret in it.
"""

from __future__ import annotations

import os
import secrets
import shutil
import socket
import subprocess
import sys
from dataclasses import dataclass

LOCAL = "127.0.0.1"
ANY_PORT = 1  # `WEB=1`
# A container's published port leads to an address of its network, not to its 127.0.0.1.
BIND_VARIABLE = "NAPT_LAB_WEB_BIND"


@dataclass(frozen=True, slots=True)
class Door:
    """Where the page is, and the socket that listens there."""

    listener: socket.socket
    secret: str

    @property
    def port(self) -> int:
        return int(self.listener.getsockname()[1])

    @property
    def url(self) -> str:
        return f"http://{LOCAL}:{self.port}/{self.secret}/"


def open_door(port: int) -> Door:
    """Listen at a port of this machine; ANY_PORT takes one that is free. Raises OSError."""
    listener = socket.create_server(
        (os.environ.get(BIND_VARIABLE, LOCAL), 0 if port == ANY_PORT else port)
    )
    listener.setblocking(False)
    return Door(listener, secrets.token_urlsafe(24))


def show_in_browser(door: Door) -> None:
    """Open the page where there is a desktop; elsewhere the printed URL has to do."""
    desktop = os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    opener = shutil.which("xdg-open")
    if desktop and opener and sys.stdout.isatty() and os.getuid():  # root's browser is not yours
        subprocess.Popen(
            [opener, door.url], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            start_new_session=True,
        )  # fmt: skip
