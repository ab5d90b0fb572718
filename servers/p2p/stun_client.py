"""Ask STUN servers which endpoint a port of this PC has outside (RFC 8489).

    stun --port 5000 198.51.100.2                 the endpoint of my UDP port 5000
    stun --port 5000 198.51.100.2 198.51.100.3    … as two servers see it
    stun --tcp --port 5000 198.51.100.2           the endpoint of my TCP port 5000

Events: `mapped` (local: the port, server, mapped: the endpoint outside).
"""

from __future__ import annotations

import argparse
import secrets
import socket
import sys

from napt_lab.servers.p2p.options import stun_server
from napt_lab.servers.p2p.sockets import arrivals, tcp_socket, udp_socket
from napt_lab.servers.shared.arguments import port_number
from napt_lab.servers.shared.events import emit, endpoint
from napt_lab.servers.stun import attributes, stun_message
from napt_lab.servers.stun.attributes import Address
from napt_lab.servers.stun.stun_message import Attribute, Class, Message, Method

PATIENCE = (0.5, 1.0, 2.0, 4.0)  # seconds until it asks again (RFC 8489, section 6.2.1)


def ask(sock: socket.socket, server: Address) -> Address:
    """The endpoint of a UDP socket as a STUN server sees it. Raises OSError without an answer."""
    request = Message(Method.BINDING, Class.REQUEST, secrets.token_bytes(12))
    for seconds in PATIENCE:
        sock.sendto(stun_message.encode(request), server)
        for data, source in arrivals(sock, seconds):
            if source == server and (mapped := answer_to(request, data)):
                return mapped
    raise OSError(f"no answer from the STUN server {endpoint(server)}")


def ask_by_tcp(sock: socket.socket, server: Address) -> Address:
    """The same for a TCP socket, which connects to the server. Raises OSError."""
    request = Message(Method.BINDING, Class.REQUEST, secrets.token_bytes(12))
    sock.settimeout(sum(PATIENCE))
    sock.connect(server)
    sock.sendall(stun_message.encode(request))
    with sock.makefile("rb") as stream:
        header = stream.read(20)
        if mapped := answer_to(request, header + stream.read(int.from_bytes(header[2:4]))):
            return mapped
    raise OSError(f"the reply of {endpoint(server)} is not a STUN response")


def answer_to(request: Message, data: bytes) -> Address | None:
    """The endpoint in the answer to this request; None if the bytes are something else."""
    try:
        answer = stun_message.decode(data)
        value = answer.get(Attribute.XOR_MAPPED_ADDRESS) or b""
        if answer.transaction_id != request.transaction_id:
            return None
        return attributes.decode_xor_address(value, answer.transaction_id)
    except ValueError:
        return None


def main() -> None:
    parser = argparse.ArgumentParser(prog="stun", description="Which endpoint do I have outside?")
    add = parser.add_argument
    add("servers", nargs="+", type=stun_server, metavar="SERVER[:PORT]")
    add("--port", type=port_number, default=0, help="own port (default: a free one)")
    add("--tcp", action="store_true", help="ask for a TCP port (default: UDP)")
    options = parser.parse_args()
    make, question = (tcp_socket, ask_by_tcp) if options.tcp else (udp_socket, ask)
    port = options.port
    try:
        for server in options.servers:
            with make(port) as sock:
                mapped = question(sock, server)
                port = sock.getsockname()[1]
                emit("mapped", local=port, server=endpoint(server), mapped=endpoint(mapped))
    except OSError as error:
        sys.exit(f"stun: {error.strerror or error}")


if __name__ == "__main__":
    main()
