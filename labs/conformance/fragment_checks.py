"""Datagrams in pieces: cut here, sent in any order, and put together again from the capture.

A NAPT may send the pieces on one by one or put them together first (RFC 4787, section 11); what
counts is that the receiver could read the datagram.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

from napt_lab.labs.capture.packets import (
    TIME_EXCEEDED,
    UDP,
    UNREACHABLE,
    Endpoint,
    Packet,
    Sum,
    decode_ipv4,
)
from napt_lab.labs.capture.wire import Captured
from napt_lab.labs.conformance.exam import WAIT, Exam, UdpFlow, read
from napt_lab.labs.conformance.headers import (
    MARK,
    MAY_BE_CUT,
    IpFields,
    Probe,
    fragments,
    fresh,
    ipv4,
    udp,
    udp_segment,
)
from napt_lab.labs.conformance.testbed import Host
from napt_lab.labs.conformance.topology import NARROW_MTU
from napt_lab.labs.conformance.violation import NotProbed, Violation
from napt_lab.labs.conformance.wires import await_all

FLOOD = 400  # first-less fragments, each of another datagram
_UDP_HEADER = 8


def cut(
    source: Endpoint, destination: Endpoint, fields: IpFields = MAY_BE_CUT
) -> tuple[list[Probe], bytes]:
    """A datagram in three pieces, each of which can be told from all others; and its data."""
    data = fresh(24) + fresh(24) + fresh(32)
    packet = ipv4(source[0], destination[0], UDP, udp_segment(source, destination, data), fields)
    return fragments(packet, _UDP_HEADER + 24, 24), data


def gather(
    t: Exam, receiver: Host, marks: Sequence[bytes], since: int, length: int
) -> list[Packet]:
    """The pieces that came, in their order; Violation if they do not make up `length` bytes."""

    def is_piece(captured: Captured) -> bool:
        return not captured.outgoing and any(mark in captured.data for mark in marks)

    def is_whole(found: list[Captured]) -> bool:
        parts = {packet.offset: packet.length for packet in map(read, found)}
        return sum(parts.values()) - 20 * len(parts) >= length

    found = await_all(t.testbed.wire, receiver.where, is_piece, is_whole, since, WAIT)
    pieces = [read(captured) for captured in found]
    if not is_whole(found):
        came = ", ".join(str(piece) for piece in pieces) or "nothing"
        raise Violation(f"a datagram of {length} bytes in pieces: there came {came}")
    return pieces


def put_together(pieces: Sequence[Packet]) -> Packet:
    """The datagram that these pieces are. Violation if two of them contradict each other."""
    body = bytearray()
    for piece in sorted(pieces, key=lambda p: p.offset):
        if piece.offset != len(body):
            raise Violation(f"a gap or an overlap at {len(body)}: {piece}")
        body += piece.body
    first = min(pieces, key=lambda p: p.offset)
    header = bytearray(first.raw[:20])
    struct.pack_into("!H", header, 2, 20 + len(body))
    struct.pack_into("!H", header, 6, 0)
    whole = decode_ipv4(bytes(header) + bytes(body))
    if not whole.raw:
        raise NotProbed("the pieces cannot be read")
    return whole


def come_in(t: Exam, flow: UdpFlow, order: Sequence[int]) -> None:
    """Three fragments from outside, in this order."""
    pieces, data = cut(flow.remote, flow.external)
    whole = _send(t, flow.outside, pieces, order, flow.inside, len(data))
    t.require(
        (whole.receiver, whole.data, whole.sum) == (flow.internal, data, Sum.HOLDS),
        f"sent as {_shown(order)}: whole at {flow.inside.name}, checksum holds",
        f"sent as {_shown(order)}, it arrived as {whole}, checksum {whole.sum.value}",
    )


def go_out(t: Exam, flow: UdpFlow, order: Sequence[int]) -> None:
    """Three fragments from the inside, in this order."""
    pieces, data = cut(flow.internal, flow.remote)
    whole = _send(t, flow.inside, pieces, order, flow.outside, len(data))
    t.require(
        (whole.sender, whole.data, whole.sum) == (flow.external, data, Sum.HOLDS),
        f"sent as {_shown(order)}: whole at {flow.outside.name}, checksum holds",
        f"sent as {_shown(order)}, it arrived as {whole}, checksum {whole.sum.value}",
    )


def _send(
    t: Exam, sender: Host, pieces: list[Probe], order: Sequence[int], receiver: Host, size: int
) -> Packet:
    since = t.testbed.wire.mark()
    for index in order:
        sender.send(pieces[index])
    marks = [piece.mark for piece in pieces]
    return put_together(gather(t, receiver, marks, since, _UDP_HEADER + size))


def _shown(order: Sequence[int]) -> str:
    return ", ".join(str(index + 1) for index in order)


def cut_for_narrow_link(t: Exam) -> list[Packet]:
    """What comes out of the narrow NAPT of a datagram of 1400 bytes without DF."""
    inside, outside = t.host("n1"), t.host("y1")
    data = fresh(1400)
    since = t.testbed.wire.mark()
    source, destination = (inside.address, t.port()), (outside.address, t.port())
    inside.send(udp(source, destination, data, MAY_BE_CUT))
    pieces = gather(t, outside, [data[:MARK]], since, _UDP_HEADER + len(data))
    for piece in pieces:  # of a long one, the capture has the beginning
        at = max(0, piece.offset - _UDP_HEADER)
        seen = piece.body[0 if piece.offset else _UDP_HEADER :]
        if data[at : at + len(seen)] != seen:
            raise Violation(f"the data of {piece} differ from what was sent")
    return pieces


def flood(t: Exam, attacker: Host, external: str) -> None:
    """Later fragments of as many datagrams, whose first ones never come."""
    remote = (attacker.address, t.port())
    segment = udp_segment(remote, (external, t.port()), fresh(64))
    for _ in range(FLOOD):
        fields = IpFields(dont_fragment=False, more_fragments=False, offset=32)
        packet = ipv4(attacker.address, external, UDP, segment[32:], fields)
        attacker.send(Probe(packet, segment[-MARK:], "a fragment without a first"))


def too_big_is_told(t: Exam) -> None:
    """1400 bytes with DF towards a link of 1280: the sender is told, with the link's MTU."""
    inside, outside = t.host("n1"), t.host("y1")
    source, destination = (inside.address, t.port()), (outside.address, t.port())
    fits = udp(source, destination, fresh(NARROW_MTU - 28))
    t.passes(inside, fits, outside)
    probe = udp(source, destination, fresh(1400))
    since = t.testbed.wire.mark()
    error = t.answer(inside, probe, UNREACHABLE, 4)
    if error is None:
        raise Violation(f"no ICMP fragmentation needed came within {WAIT:g} s")
    t.require(
        error.rest & 0xFFFF == NARROW_MTU,
        f"{error}, next-hop MTU {NARROW_MTU}",
        f"the next-hop MTU in it is {error.rest & 0xFFFF}, not {NARROW_MTU}",
    )
    quoted = error.quoted
    t.require(
        quoted is not None and (quoted.sender, quoted.receiver) == (source, destination),
        "it quotes what was sent",
        f"it quotes {quoted}",
    )
    came = t.testbed.wire.captured(outside.where, lambda c: probe.mark in c.data, since=since)
    t.require(not came, "the packet itself was dropped", "the packet passed")


def identifications_differ(t: Exam) -> None:
    """Two hosts send datagrams that may be cut, with the same identification, to one server.

    Outside both come from one address. Had they the same identification, their fragments would
    be put together to nonsense (RFC 6864, section 5.3.1).
    """
    server = t.host("y1")
    flows = [t.open_udp(t.host(name), server) for name in ("x1", "x2")]
    identification = t.port()
    fields = IpFields(identification=identification, dont_fragment=False)
    seen = []
    for flow in flows:
        packet = t.passes(flow.inside, flow.outward(fields=fields), server)
        seen.append(packet.identification)
    t.require(
        seen[0] != seen[1],
        f"both were sent with identification {identification}, and arrived with {seen}",
        f"two hosts' datagrams to one server both have identification {seen[0]}",
    )
    pieces = [cut(flow.internal, flow.remote, fields) for flow in flows]
    since = t.testbed.wire.mark()
    for index in (0, 1, 2):
        for flow, (parts, _) in zip(flows, pieces, strict=True):
            flow.inside.send(parts[index])
    for flow, (parts, data) in zip(flows, pieces, strict=True):
        marks = [part.mark for part in parts]
        whole = put_together(gather(t, server, marks, since, _UDP_HEADER + len(data)))
        t.require(
            (whole.sender, whole.data) == (flow.external, data),
            f"the fragments of {flow.inside.name}, mixed with the other's, make up its datagram",
            f"the fragments of {flow.inside.name} make up {whole}",
        )


def own_errors_come_from_inside(t: Exam) -> None:
    """To an inside host the NAPT speaks from its inside address (RFC 1812, section 4.3.2.4)."""
    inside, outside = t.host("n1"), t.host("y1")
    source, destination = (inside.address, t.port()), (outside.address, t.port())
    too_long = udp(source, destination, fresh(1400))
    dies = udp(source, destination, fields=IpFields(ttl=1))
    for probe, kind, code in ((too_long, UNREACHABLE, 4), (dies, TIME_EXCEEDED, 0)):
        error = t.answer(inside, probe, kind, code)
        if error is None:
            raise NotProbed(f"no ICMP {kind}/{code} came within {WAIT:g} s")
        internal = t.napt("narrow").internal
        t.require(
            error.source == internal,
            f"ICMP {kind}/{code} comes from {internal}",
            f"ICMP {kind}/{code} comes from {error.source}, not {internal}",
        )
