"""Our translator against the kernel's NAT, packet by packet; every difference has its reason.

With the settings that the kernel can have (address-and-port-dependent, ports preserved) the two
must do the same: pass or drop, rewrite the same fields, tell the sender the same. Where they do
not, the difference stands below with its reason, and a reason that no packet meets any more
fails the test, too.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial

import pytest

from napt_lab.nat_node.core.behavior import parse_address
from tests.fuzz import packets
from tests.fuzz.packets import ACK, DF, FIN, PSH, RST, SYN, echo, error, fragments
from tests.network.two_engines import HOST, SERVER, Step, TwoEngines, differences

pytestmark = pytest.mark.network(timeout=120)

SEEDS = range(12)
ROUTER = parse_address("151.101.1.1")


@dataclass(frozen=True, slots=True)
class Explained:
    """A difference: for which steps, in which fields, and why it is right that it is there."""

    kinds: frozenset[str]
    fields: frozenset[str]
    why: str


def explained(kinds: str, fields: str, why: str) -> Explained:
    return Explained(frozenset(kinds.split(", ")), frozenset(fields.split(", ")), why)


EXPLAINED = [
    explained(
        "udp, pieces, ttl", "ident",
        "What leaves and may be cut gets an Identification of ours, so that two inside hosts never "
        "use one number at the same time (RFC 6864, 5.3.1). The kernel keeps the hosts' own.",
    ),
    explained(
        "ttl, private", "ident",
        "An error has a number of whoever writes it: the router's counter, or 0.",
    ),
    explained(
        "private", "tos",
        "Our errors have the class of service of what they speak of, as a NAT should (RFC 5508, "
        "section 7.7); the kernel's have the precedence that a router should give them (RFC 1812, "
        "section 4.3.2.5).",
    ),
    explained(
        "ping", "ident, fragment",
        "Our answer to a ping is its request, turned round, with Don't Fragment and number as they "
        "came. The kernel writes a new packet. Nobody looks at either.",
    ),
    explained(
        "pieces", "only ours, packets",
        "The kernel keeps the pieces until it has all, and cuts the whole anew. Ours sends each "
        "on as it comes, also out of order (RFC 4787, REQ-14).",
    ),
    explained(
        "wrong sum", "only ours",
        "Connection tracking takes a packet with a wrong checksum for invalid. A NAPT has not to "
        "judge the payload: the receiver does, and finds it as wrong as it was (RFC 1624).",
    ),
    explained(
        "other protocol", "only kernel",
        "The kernel lets one inside host at a time use a protocol without ports. Ours translates "
        "TCP, UDP and ICMP, and says so: unsupported-protocol.",
    ),
    explained(
        "forged", "only kernel",
        "The kernel translates whatever source comes from inside. Ours drops what no host there "
        "can have: spoofed-source (RFC 2827).",
    ),
    explained(
        "window, damaged tcp", "only ours",
        "Connection tracking follows sequence numbers and takes what lies outside of the window, "
        "or comes after a segment that it has not seen, for invalid. Ours leaves that to the two "
        "ends: a segment on the way elsewhere may be what it missed.",
    ),
]  # fmt: skip


def tcp(inside: bool, port: int, flags: int, seq: int, ack: int, payload: bytes = b"", **ip):
    """A segment of the connection between port `port` inside and 80 outside."""

    def build(external: int) -> bytes:
        here, there = (HOST, port), (SERVER, 80)
        source, destination = (here, there) if inside else (there, (external, port))
        data = packets.tcp(source, destination, flags, payload, **({"fragment": DF} | ip))
        start = (data[0] & 15) * 4
        body = data[start : start + 4] + seq.to_bytes(4, "big") + ack.to_bytes(4, "big")
        body += data[start + 12 : start + 16] + b"\0\0" + data[start + 18 :]
        sum_ = packets.checksum(packets.pseudo_header(data, len(body)) + body)
        return data[:start] + body[:16] + sum_.to_bytes(2, "big") + body[18:]

    return build


def udp_out(port: int, payload: bytes = b"ask", to: int = SERVER, **ip):
    return lambda external: packets.udp((HOST, port), (to, 53), payload, **({"fragment": DF} | ip))


def udp_in(port: int, payload: bytes = b"say", source=(SERVER, 53), **ip):
    return lambda external: packets.udp(
        source, (external, port), payload, **({"fragment": DF} | ip)
    )


def a_connection(port: int) -> Iterator[Step]:
    """From the first SYN to the last ACK, and what comes too late."""
    yield Step("tcp", True, tcp(True, port, SYN, 100, 0))
    yield Step("tcp", False, tcp(False, port, SYN | ACK, 500, 101))
    yield Step("tcp", True, tcp(True, port, ACK, 101, 501))
    yield Step("tcp", True, tcp(True, port, ACK | PSH, 101, 501, b"hello", tos=0xB9))
    yield Step("tcp", False, tcp(False, port, ACK | PSH, 501, 106, b"there"))
    yield Step("tcp", True, tcp(True, port, FIN | ACK, 106, 506))
    yield Step("tcp", False, tcp(False, port, FIN | ACK, 506, 107))
    yield Step("tcp", True, tcp(True, port, ACK, 107, 507))


def a_reset(port: int) -> Iterator[Step]:
    yield Step("tcp", True, tcp(True, port, SYN, 100, 0))
    yield Step("tcp", False, tcp(False, port, RST | ACK, 0, 101))


def strays(port: int) -> Iterator[Step]:
    """What belongs to no connection."""
    yield Step("stray", True, tcp(True, port, ACK, 1, 1))
    yield Step("stray", False, tcp(False, port, ACK, 1, 1))
    yield Step("stray", False, tcp(False, port, SYN, 1, 0))
    yield Step("stray", False, udp_in(port))
    yield Step("stray", False, lambda external: echo(SERVER, external, port, kind=0))


def datagrams(port: int) -> Iterator[Step]:
    yield Step("udp", True, udp_out(port))
    yield Step("udp", False, udp_in(port))
    yield Step("udp", False, udp_in(port, source=(SERVER, 54)))
    yield Step("udp", True, udp_out(port, summed=False))
    yield Step("udp", False, udp_in(port, summed=False))
    yield Step("udp", True, udp_out(port, fragment=0, ident=7))
    yield Step("udp", False, udp_in(port, fragment=0, ident=7))
    yield Step("udp", True, udp_out(port, options=b"\x94\x04\0\0"))
    for ttl in (1, 2, 3):
        yield Step("ttl", True, udp_out(port, ttl=ttl))
        yield Step("ttl", False, udp_in(port, ttl=ttl))


def pings(identifier: int) -> Iterator[Step]:
    yield Step("ping", True, lambda external: echo(HOST, SERVER, identifier, fragment=DF))
    yield Step("ping", False, lambda external: echo(SERVER, external, identifier, 0, fragment=DF))
    yield Step("ping", False, lambda external: echo(SERVER, external, 5, 8, b"you?", fragment=DF))


def errors(port: int) -> Iterator[Step]:
    """Complaints about a datagram, from outside and from inside."""
    yield Step("udp", True, udp_out(port))
    for kind, code in ((3, 3), (3, 4), (3, 13), (11, 0)):

        def outside(external: int, kind: int = kind, code: int = code) -> bytes:
            about = packets.udp((external, port), (SERVER, 53), b"ask", fragment=DF)
            return error(ROUTER, external, kind, code, about, fragment=DF)

        yield Step("error", False, outside)
    yield Step("udp", False, udp_in(port))
    yield Step(
        "error",
        True,
        lambda external: error(
            HOST, SERVER, 3, 3, packets.udp((SERVER, 53), (HOST, port), b"say", fragment=DF),
            fragment=DF,
        ),
    )  # fmt: skip

    def unrelated(external: int) -> bytes:
        about = packets.udp((external, port + 1), (SERVER, 53), b"?", fragment=DF)
        return error(ROUTER, external, 3, 3, about, fragment=DF)

    yield Step("error", False, unrelated)


def explicit_rules() -> Iterator[Step]:
    def call(inside: bool, flags: int, sequence: int, acknowledged: int):
        def build(external: int) -> bytes:
            there = (SERVER, 4000)
            ends = ((HOST, 80), there) if inside else (there, (external, 8080))
            numbers = sequence, acknowledged
            return packets.tcp(*ends, flags, numbers=numbers, fragment=DF)

        return build

    yield Step("explicit", False, call(False, SYN, 1, 0))
    yield Step("explicit", True, call(True, SYN | ACK, 1, 2))
    yield Step("explicit", False, udp_in(8080, source=(SERVER, 700)))


def pieces(port: int, order: int) -> Iterator[Step]:
    yield Step("udp", True, udp_out(port))
    for inside in (True, False):
        whole = (udp_out if inside else udp_in)(port, bytes(range(64)), fragment=0, ident=port)
        for number in (0, 1)[::order]:
            yield Step("pieces", inside, partial(piece, whole, number))


def piece(whole: Callable[[int], bytes], number: int, external: int) -> bytes:
    return fragments(whole(external), 40)[number]


def odd_ones(port: int) -> Iterator[Step]:
    def spoiled(external: int) -> bytes:
        return udp_out(port)(external)[:-1] + b"X"

    yield Step("wrong sum", True, spoiled)
    yield Step(
        "other protocol", True,
        lambda external: packets.header(47, HOST, SERVER, 8, fragment=DF) + bytes(8),
    )  # fmt: skip
    for to in ("192.168.3.3", "172.16.1.1"):
        yield Step("private", True, udp_out(port, to=parse_address(to)))
    yield Step(
        "forged", True,
        lambda external: packets.udp((parse_address("192.168.9.9"), 5), (SERVER, 53), fragment=DF),
    )  # fmt: skip
    yield Step("window", True, tcp(True, port, SYN, 100, 0))
    yield Step("window", False, tcp(False, port, SYN | ACK, 500, 101))
    yield Step("window", True, tcp(True, port, ACK, 101, 501))
    yield Step("window", False, tcp(False, port, ACK, 5_000_000, 101, b"far ahead"))


def recorded() -> Iterator[Step]:
    """Each kind of story once, on a port of its own."""
    yield from a_connection(20_001)
    yield from a_reset(20_002)
    yield from strays(20_003)
    yield from datagrams(20_004)
    yield from pings(20_005)
    yield from errors(20_006)
    yield from explicit_rules()
    yield from pieces(20_007, 1)
    yield from pieces(20_008, -1)
    yield from odd_ones(20_009)


def generated(seed: int) -> Iterator[Step]:
    """Several stories at the same time, their steps shuffled into each other."""
    rng = random.Random(seed)
    makers = [a_connection, a_reset, strays, datagrams, pings, errors]
    stories = [rng.choice(makers)(30_000 + 20 * seed + number) for number in range(10)]
    damaged = set()
    while stories:
        story = rng.choice(stories)
        step = next(story, None)
        if step is None:
            stories.remove(story)
            continue
        times = rng.choices([1, 0, 2], [18, 1, 1])[0]  # some are lost, and some come twice
        if times != 1:
            damaged.add(story)
        if story in damaged and step.kind == "tcp":
            step = replace(step, kind="damaged tcp")
        yield from [step] * times


def test_both_engines_do_the_same_with_every_packet():
    met: set[str] = set()
    unexplained = []
    passed: Counter[str] = Counter()
    with TwoEngines() as both:
        steps = [*recorded(), *(step for seed in SEEDS for step in generated(seed))]
        for number, step in enumerate(steps):
            seen = both.observe(step)
            passed[step.kind] += bool(seen["ours"])
            found = differences(seen["ours"], seen["kernel"])
            for reason in EXPLAINED:
                if found & reason.fields and step.kind in reason.kinds:
                    found -= reason.fields
                    met.add(reason.why)
            if found:
                side = "inside" if step.inside else "outside"
                unexplained.append(
                    f"step {number} ({step.kind}, from {side}): {', '.join(sorted(found))}\n"
                    f"  ours   {seen['ours']}\n  kernel {seen['kernel']}"
                )
    assert not unexplained, "\n".join(unexplained)
    assert all(passed[kind] > 3 for kind in ("tcp", "udp", "ttl", "error", "ping")), passed
    stale = [reason.why for reason in EXPLAINED if reason.why not in met]
    assert not stale, f"explained, but no longer there: {stale}"


def test_a_difference_is_seen():
    """Where the two are given different packets, or one of them none that may pass."""
    ours = parse_address("24.9.3.7")

    def other_class(external: int) -> bytes:
        return udp_out(40_001, tos=4 if external == ours else 8)(external)

    def other_port(external: int) -> bytes:
        return udp_out(40_001 if external == ours else 40_002)(external)

    def for_one(external: int) -> bytes:
        return udp_in(40_001 if external == ours else 40_003)(external)

    with TwoEngines() as both:
        for build, inside, fields in (
            (other_class, True, {"tos"}),
            (other_port, True, {"ports"}),
            (for_one, False, {"only ours"}),
        ):
            seen = both.observe(Step("different", inside, build))
            assert differences(seen["ours"], seen["kernel"]) == fields
