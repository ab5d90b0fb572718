"""The transparent proxy: it intercepts a PC's connections; nothing is configured on the PC.

Theory of operation
-------------------
    PC 10.0.0.7 ──TCP to 151.101.1.69:80──► gateway: redirected to :8080 ┐
                                            proxy 24.9.3.7 ──TCP──► 151.101.1.69:80

The PC addresses its packets to the server. In the gateway's namespace one nftables rule,

    iifname lan0 tcp dport 80 redirect to :8080

rewrites the destination of what comes in from the LAN to this program, and the replies' source
back. The kernel remembers what it rewrote; SO_ORIGINAL_DST asks it. The proxy then opens its own
connection to that destination, from its own public address, and passes bytes both ways.

There are two TCP connections that have only the bytes in common, and the PC cannot tell until an
error shows it: SO_ORIGINAL_DST can only be asked of a connection that is established, so the PC's
handshake is complete before the proxy knows where to go. A connect to a closed port therefore
*succeeds* for the PC. When the proxy is refused, all it can do is to reset the PC's connection.
(Interception by TPROXY would do the same.) The reset is the answer to the PC's first bytes, or
comes after a second of silence: sent at once it could arrive before the PC's connect(2) has
returned, which would then fail or not by chance.

`--intercept lan0:80` sets the rule up and removes it at the end; a rule that a killed proxy left is
replaced at the next start. Without the option, set up the rule yourself.

Events: `connected` (client and original destination: the PC's connection; source and server: the
proxy's own), `failed` (client, original, reason) and `ended` (bytes up and down, reason).
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import re
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass

from napt_lab.servers.shared.arguments import add_proxying, port_number
from napt_lab.servers.shared.destinations import Destinations, NotDialledError
from napt_lab.servers.shared.events import emit, endpoint
from napt_lab.servers.shared.splice import Pair, readable, reset
from napt_lab.servers.shared.tcp_server import Endpoint, Limits, listen, port_of, run, serve

SO_ORIGINAL_DST = 80  # linux/netfilter_ipv4.h
SILENCE_SECONDS = 1.0
NFT_SECONDS = 10.0
TABLE = "napt_lab_transparent_proxy"


@dataclass(frozen=True, slots=True)
class Interception:
    """TCP to `port` that arrives on `interface` is what the proxy takes."""

    interface: str
    port: int

    @classmethod
    def parse(cls, text: str) -> Interception:
        """From INTERFACE:PORT, as the command line has it. Raises ArgumentTypeError."""
        # An interface name is at most 15 bytes (IFNAMSIZ); the narrow alphabet keeps nft safe.
        parts = re.fullmatch(r"([A-Za-z0-9_.-]{1,15}):([0-9]{1,5})", text)
        if not parts or not 0 < int(parts[2]) < 65_536:
            raise argparse.ArgumentTypeError(f"{text!r} is not INTERFACE:PORT")
        return cls(parts[1], int(parts[2]))

    def ruleset(self, to_port: int) -> str:
        """The nftables commands that redirect it to `to_port`, replacing an older such rule."""
        return (
            f"table ip {TABLE} {{}}\n"
            f"delete table ip {TABLE}\n"
            f"table ip {TABLE} {{\n"
            f"  chain prerouting {{\n"
            f"    type nat hook prerouting priority dstnat\n"
            f'    iifname "{self.interface}" tcp dport {self.port} redirect to :{to_port}\n'
            f"  }}\n"
            f"}}\n"
        )


@contextlib.contextmanager
def intercepting(interception: Interception, to_port: int) -> Iterator[None]:
    """Keep the rule while inside. Raises OSError when nft cannot be run or refuses."""
    _nft(interception.ruleset(to_port))
    try:
        yield
    finally:
        _nft(f"delete table ip {TABLE}\n")


def _nft(commands: str) -> None:
    try:
        done = subprocess.run(
            ["nft", "-f", "-"], input=commands, text=True, capture_output=True, timeout=NFT_SECONDS
        )
    except subprocess.TimeoutExpired as error:
        raise OSError(f"nft: not done after {NFT_SECONDS:g} s") from error
    if done.returncode:
        raise OSError(f"nft: {done.stderr.strip().splitlines()[0] if done.stderr else 'failed'}")


def original_destination(sock: socket.socket) -> Endpoint:
    """The endpoint that the peer connected to. Raises OSError if nothing was redirected."""
    port, packed = struct.unpack_from("!2xH4s", sock.getsockopt(socket.SOL_IP, SO_ORIGINAL_DST, 16))
    return socket.inet_ntoa(packed), port


class Proxy:
    """Serves intercepted connections; idle time in seconds."""

    def __init__(self, destinations: Destinations, idle: float) -> None:
        self.destinations = destinations
        self.idle = idle

    async def handle(self, client: socket.socket, peer: Endpoint) -> None:
        """Serve one intercepted connection to its end."""
        story = {"client": endpoint(peer)}
        try:
            address, port = original_destination(client)
            story["original"] = endpoint((address, port))
            server = await self.destinations.dial(address, port)
            story |= {"source": endpoint(server.getsockname()), "server": story["original"]}
        except (OSError, NotDialledError) as error:
            said = str(error).removeprefix(f"{story.get('original')}: ")
            emit("failed", **story, reason=said)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(SILENCE_SECONDS):
                    await readable(client)
            reset(client)
            return
        with server:
            emit("connected", **story)
            pair = Pair(client, server, ("client", "server"))
            try:
                await pair.run(self.idle)
            finally:
                passed = {"bytes_up": pair.forth, "bytes_down": pair.back}
                emit("ended", **story, **passed, reason=pair.reason)


def main() -> int:
    """Run the transparent proxy; returns the exit status."""
    options = argparse.ArgumentParser(
        prog="transparent-proxy",
        description="Serve TCP connections that nftables redirects here, towards where they went.",
    )
    add = options.add_argument
    add("--listen", metavar="ADDRESS", default="0.0.0.0", help="default: %(default)s")
    add("--port", type=port_number, default=8080, help="TCP port, default: %(default)s")
    add("--intercept", metavar="INTERFACE:PORT", type=Interception.parse, help="add the nft rule")
    add("--idle-time", type=float, default=300, help="seconds without a byte, default: %(default)s")
    add_proxying(options)
    given = options.parse_args()

    async def program() -> None:
        with contextlib.ExitStack() as stack:
            listener = stack.enter_context(listen(given.listen, given.port, given.device))
            port = port_of(listener)
            if given.intercept:
                stack.enter_context(intercepting(given.intercept, port))
            destinations = Destinations(port, given.allow, given.source, given.connect_time)
            proxy = Proxy(destinations, given.idle_time)
            limits = Limits(given.connections, given.per_client)
            await serve(listener, proxy.handle, limits)

    return run(program())


if __name__ == "__main__":
    sys.exit(main())
