"""A DNS server that answers with the addresses of given names (RFC 1035), over UDP and TCP.

It is authoritative for exactly these names, and asks no other server. A name that it does not have
does not exist (NXDOMAIN); of one that it has, all other types are empty. dnspython reads and writes
the messages.

Command line: `dns-server --record files=198.51.100.10 --record files=198.51.100.11`.

Events: `asked` (peer, name, kind, answer: addresses, or the code of the response).
"""

from __future__ import annotations

import argparse
import asyncio
import socket
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from ipaddress import IPv4Address

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.opcode
import dns.rcode
import dns.rdataclass
import dns.rdatatype
import dns.rrset

from napt_lab.servers.shared.arguments import port_number
from napt_lab.servers.shared.events import emit, endpoint
from napt_lab.servers.shared.tcp_server import (
    Limits,
    close_gently,
    listen,
    receive_exactly,
    run,
    serve,
)

Zone = Mapping[dns.name.Name, Sequence[str]]
TTL = 60  # seconds: a topology's addresses may change
LONGEST_NAME = 63  # of a name in --record, in characters: one label
BATCH = 64  # datagrams that are received in turn
PATIENCE = 10.0  # seconds that a TCP connection may be silent (RFC 7766, section 6.2.3)
CONNECTIONS = Limits(connections=200, per_client=20)
_HEADER = 12


def main() -> int:
    """Run the server; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="dns-server", description="Answer with the addresses of given names (RFC 1035)."
    )
    add = parser.add_argument
    add("--port", type=port_number, default=53, help="UDP and TCP, default: %(default)s")
    add("--record", type=_record, action="append", default=[], metavar="NAME=ADDRESS",
        help="an address of a name; several of one name are all told")  # fmt: skip
    given = parser.parse_args()
    zone: dict[dns.name.Name, list[str]] = {}
    for name, address in given.record:
        zone.setdefault(name, []).append(address)
    return run(_serve(given.port, zone))


def answer(data: bytes, zone: Zone) -> tuple[bytes, dict[str, object]] | None:
    """The response to a message, and what to tell of it; None if it gets no response."""
    if len(data) < _HEADER or data[2] & 0x80:  # not even a header; or a response, to no question
        return None
    if data[2] >> 3 != dns.opcode.QUERY:
        return _without_question(data, dns.rcode.NOTIMP)
    try:
        query = dns.message.from_wire(data)
    except dns.exception.DNSException:
        return _without_question(data, dns.rcode.FORMERR)
    if len(query.question) != 1:
        return _without_question(data, dns.rcode.FORMERR)
    (asked,) = query.question
    response = dns.message.make_response(query)
    response.flags |= dns.flags.AA
    told: object
    addresses = zone.get(asked.name)  # dnspython compares names without regard to case
    if asked.rdclass != dns.rdataclass.IN:
        response.set_rcode(dns.rcode.REFUSED)
    elif addresses is None:
        response.set_rcode(dns.rcode.NXDOMAIN)
    elif asked.rdtype in (dns.rdatatype.A, dns.rdatatype.ANY):
        response.answer.append(dns.rrset.from_text_list(asked.name, TTL, "IN", "A", addresses))
    told = list(addresses or ()) if response.answer else dns.rcode.to_text(response.rcode())
    kind = dns.rdatatype.to_text(asked.rdtype)
    name = asked.name.to_text(omit_final_dot=True)
    return response.to_wire(), {"name": name, "kind": kind, "answer": told}


def _without_question(data: bytes, code: dns.rcode.Rcode) -> tuple[bytes, dict[str, object]]:
    """A header alone: what is asked cannot be read, or is not done here."""
    flags = 0x80 | data[2] & 0x79  # a response, with the opcode and RD of the request
    header = data[:2] + bytes([flags, int(code)]) + bytes(8)
    return header, {"name": "", "kind": "", "answer": dns.rcode.to_text(code)}


def _record(text: str) -> tuple[dns.name.Name, str]:
    name, equals, address = text.partition("=")
    try:
        if equals and 0 < len(name) <= LONGEST_NAME:
            return dns.name.from_text(name), str(IPv4Address(address))
    except (dns.exception.DNSException, ValueError):
        pass
    raise argparse.ArgumentTypeError(f"{text!r} is not a record such as files=198.51.100.10")


async def _serve(port: int, zone: Zone) -> None:
    stream = listen("0.0.0.0", port)
    datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
    datagrams.bind(("0.0.0.0", stream.getsockname()[1]))
    asyncio.get_running_loop().add_reader(datagrams, _receive, datagrams, zone)
    await serve(stream, partial(_handle, zone), CONNECTIONS)


def _receive(sock: socket.socket, zone: Zone) -> None:
    """Answer what has arrived; then the others have their turn."""
    for _ in range(BATCH):
        try:
            data, client = sock.recvfrom(2048)
            if answered := answer(data, zone):
                sock.sendto(answered[0], client)
                emit("asked", peer=endpoint(client), **answered[1])
        except OSError:  # nothing more is there; or an ICMP error about an earlier answer
            return


async def _handle(zone: Zone, sock: socket.socket, client: tuple[str, int]) -> None:
    """Answer the messages of one TCP connection, one after another."""
    loop = asyncio.get_running_loop()
    try:
        while True:
            async with asyncio.timeout(PATIENCE):
                length = int.from_bytes(await receive_exactly(sock, 2), "big")
                answered = answer(await receive_exactly(sock, length), zone)
                if answered is None:
                    return
                data = answered[0]
                await loop.sock_sendall(sock, len(data).to_bytes(2, "big") + data)
            emit("asked", peer=endpoint(client), **answered[1])
    except EOFError:
        await close_gently(sock)
    except (OSError, TimeoutError):
        return


if __name__ == "__main__":
    sys.exit(main())
