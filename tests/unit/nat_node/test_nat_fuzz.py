"""Anything at all, in any order: no exception, no wrong checksum, nothing private outside.

`Nat` judges every packet and the table after each. NAPT_FUZZ_EXAMPLES makes the run longer.
"""

import contextlib
import os

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from napt_lab.nat_node.core.explicit_rules import RuleRefused
from napt_lab.nat_node.core.packet import give_back_hop
from napt_lab.nat_node.core.settings import PortAssignment
from tests.packets import error, fragments, ping, tcp, udp, with_right_header_checksum
from tests.unit.nat_node.nat_testing import (
    ALICE,
    BEHAVIORS,
    BOB,
    EXTERNAL,
    INSIDE,
    IP,
    OTHER,
    OUTSIDE,
    ROUTER,
    SERVER,
    Nat,
    assert_empty,
    wrong_checksums,
)

EXAMPLES = int(os.environ.get("NAPT_FUZZ_EXAMPLES", "100"))
profile = settings(
    max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)

POOL = range(2000, 2004)
sides = st.sampled_from([INSIDE, OUTSIDE])
addresses = st.sampled_from(
    [ALICE, BOB, ROUTER, EXTERNAL, SERVER, OTHER] * 3
    + ["10.0.0.255", "192.168.3.3", "127.0.0.1", "224.0.0.1", "255.255.255.255", "0.0.0.0"]
)
ports = st.sampled_from([*POOL, 53, 80, 40000] * 3 + [0, 1, 65535])
endpoints = st.builds("{}:{}".format, addresses, ports)
flags = st.sampled_from(["S", "SA", "A", "FA", "R", "", "SFRPAU"])
payloads = st.binary(max_size=40)
headers = st.fixed_dictionaries(
    {},
    optional={
        "tos": st.integers(0, 255),
        "ttl": st.sampled_from([0, 1, 64, 255]),
        "id": st.integers(0, 3),
        "flags": st.sampled_from(["DF", "MF", "evil"]),
        "options": st.sampled_from([b"\x94\x04\0\0", b"\x07\x07\x04\0\0\0\0\0"]),
    },
)


def call(function, *arguments):
    """Strategy for `function(*arguments, **headers)`."""
    return st.builds(lambda ip, *given: function(*given, **ip), headers, *arguments)


segments = call(tcp, endpoints, endpoints, flags, payloads)
datagrams = call(udp, endpoints, endpoints, payloads)
queries = call(ping, addresses, addresses, ports, st.sampled_from([0, 8, 13]), payloads)
plain = st.one_of(segments, datagrams, queries)
kinds = st.tuples(st.sampled_from([3, 3, 11, 12]), st.integers(0, 15))
errors = call(error, addresses, addresses, plain, kinds, st.sampled_from([0, 20, 28, 40, None]))
valid = st.one_of(plain, plain, errors)


@st.composite
def pieces(draw):
    whole = draw(st.one_of(datagrams, segments, queries))
    size = draw(st.sampled_from([8, 24, 48]))
    if len(whole) <= 20 + size or whole[0] != 0x45:
        return whole
    return draw(st.sampled_from(fragments(whole, size)))


@st.composite
def mutated(draw):
    """A packet with some bytes changed, cut or lengthened; sometimes its header adds up again."""
    data = bytearray(draw(valid))
    for _ in range(draw(st.integers(1, 3))):
        data[draw(st.integers(0, len(data) - 1))] = draw(st.integers(0, 255))
    data = data[: draw(st.integers(0, len(data)))] if draw(st.booleans()) else data
    data += draw(st.binary(max_size=4))
    if len(data) >= 20 and draw(st.booleans()):
        data[2:4] = len(data).to_bytes(2, "big")
        return with_right_header_checksum(bytes(data))
    return bytes(data)


packets = st.one_of(valid, pieces(), mutated())
steps = st.one_of(
    st.tuples(st.just("packet"), sides, packets, st.booleans()),
    st.tuples(st.just("packet"), sides, packets, st.booleans()),
    st.tuples(st.just("packet"), sides, packets, st.booleans()),
    st.tuples(st.just("answer"), st.integers(0, 9)),
    st.tuples(st.just("error"), st.integers(0, 9), st.one_of(st.none(), addresses)),
    st.tuples(st.just("wait"), st.sampled_from([0.1, 16, 61, 241, 8000])),
    st.tuples(st.just("kill")),
    st.tuples(st.just("add"), st.sampled_from([1, 6, 17]), ports, endpoints),
    st.tuples(st.just("remove"), st.sampled_from([6, 17]), ports),
)
options = st.fixed_dictionaries(
    {
        "mapping": st.sampled_from(BEHAVIORS),
        "filtering": st.sampled_from(BEHAVIORS),
        "port_assignment": st.sampled_from(PortAssignment),
        "hairpinning": st.booleans(),
        "ports": st.just(POOL),
        "host_limit": st.sampled_from([3, 1000]),
        "session_limit": st.sampled_from([5, 1000]),
        "ports_per_subscriber": st.sampled_from([1, 2]),  # deterministic assignment needs some
    }
)


@given(data=st.binary(max_size=120), side=sides, partial=st.booleans())
@profile
def test_arbitrary_bytes(data, side, partial):
    nat = Nat()
    nat.pass_through(data, side, partial)
    nat.wait(8000)
    assert_empty(nat.translator)


@given(data=mutated(), side=sides, partial=st.booleans())
@profile
def test_mutated_packets(data, side, partial):
    nat = Nat(ports=POOL)
    nat.connect(f"{ALICE}:40000", f"{SERVER}:80")
    nat.out(udp(f"{ALICE}:40000", f"{SERVER}:80"))
    nat.out(ping(ALICE, SERVER, 53))
    nat.pass_through(data, side, partial)


@given(settings_=options, story=st.lists(steps, max_size=30))
@profile
def test_any_story_keeps_the_promises_and_ends_with_an_empty_table(settings_, story):
    nat = Nat(**settings_)
    sent = nat.inside(udp(f"{ALICE}:53", f"{SERVER}:53")) + nat.inside(
        tcp(f"{ALICE}:40000", f"{SERVER}:80")
    )
    for what, *step in story:
        match what:
            case "packet":
                side, packet, partial = step
                sent += nat.pass_through(packet, side, partial)
            case "answer" if sent:
                sent += answer(nat, sent[step[0] % len(sent)])
            case "error" if sent:
                sent += error_about(nat, sent[step[0] % len(sent)], step[1])
            case "wait":
                nat.wait(step[0])
            case "kill":
                nat.kill()
            case "add":
                try_rule(nat.add_rule, *step)
            case "remove":
                try_rule(nat.remove_rule, *step)
    for rule in nat.rules:
        if rule.explicit:
            nat.remove_rule(rule.protocol, rule.external[1])
    nat.wait(3 * 7440)
    assert_empty(nat.translator)


def try_rule(do, protocol, port, *internal):
    with contextlib.suppress(RuleRefused, ValueError):  # ValueError: port 0 is no endpoint
        do(protocol, port, *internal)


def receiver_side(packet):
    return (
        OUTSIDE if IP(packet).src == EXTERNAL and not IP(packet).dst.startswith("10.") else INSIDE
    )


def answer(nat, packet):
    """What its receiver would send back: the same bytes with both ends exchanged."""
    size = (packet[0] & 15) * 4
    back = packet[:12] + packet[16:20] + packet[12:16] + packet[20:size]
    if packet[9] in (6, 17):
        back += packet[size + 2 : size + 4] + packet[size : size + 2] + packet[size + 4 :]
    else:
        back += packet[size:]
    return nat.pass_through(back, receiver_side(packet))


def error_about(nat, packet, to):
    """An ICMP error of its receiver's about it, to its sender or to someone else."""
    seen = IP(packet)
    return nat.pass_through(error(seen.dst, to or seen.src, packet), receiver_side(packet))


@given(packet=plain)
@profile
def test_a_hop_given_back_leaves_a_right_checksum(packet):
    data = bytearray(packet)
    give_back_hop(data)
    assert "ip" not in wrong_checksums(bytes(data))
