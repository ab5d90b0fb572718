"""The fast path against the slow one: the same packets give the same bytes, counters and table."""

import os
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napt_lab.nat_node.core.packet import Side, give_back_hop
from napt_lab.nat_node.fast_path import flow_cache
from napt_lab.nat_node.fast_path.flow_cache import NEEDS_CHECKSUM, VNET_HEADER
from tests.packets import fragments, set_bytes, tcp, udp, with_right_header_checksum
from tests.unit.nat_node.nat_testing import (
    ALICE,
    APD,
    BEHAVIORS,
    BOB,
    EI,
    EXTERNAL,
    INSIDE,
    OTHER,
    OUTSIDE,
    SERVER,
    Nat,
    check_table,
    source,
    wrong_checksums,
)

PC, WEB = f"{ALICE}:40000", f"{SERVER}:80"
EXAMPLES = int(os.environ.get("NAPT_FUZZ_EXAMPLES", "60"))


class Fast:
    """A translator behind its flow cache, as in the node's loop."""

    def __init__(self, **options):
        self.nat = Nat(**options)
        self.hits = 0

    def pass_through(self, packet, side, partial=False):
        """What is written to the device, and how the packet went."""
        flows = self.nat.flows.inside if side is INSIDE else self.nat.flows.outside
        frame = bytearray(VNET_HEADER) + packet + bytes(100)  # longer than the packet
        frame[0] = NEEDS_CHECKSUM if partial else 0
        length = VNET_HEADER + len(packet)
        if flows.forward(frame, length, self.nat.now):
            self.hits += 1
            return [bytes(frame[VNET_HEADER:length])]
        return slow(self.nat, packet, side, partial)

    def out(self, packet):
        (sent,) = self.pass_through(packet, INSIDE)
        return sent


def slow(nat, packet, side, partial=False):
    verdict = nat.translator.receive(bytearray(packet), side, nat.now, partial)
    nat.drop = verdict.drop
    for piece in verdict.packets:
        give_back_hop(piece.data)
    return [bytes(piece.data) for piece in verdict.packets]


def state(nat):
    """Everything that a translator knows, as values."""
    return [
        (
            mapping.protocol, mapping.internal, mapping.external[1], mapping.packets_out,
            mapping.bytes_out, mapping.packets_in, mapping.bytes_in,
            [(s.remote, s.last_used, s.lifetime, s.state) for s in mapping.sessions],
        )
        for mapping in nat.rules
    ] + [dict(nat.translator.drops)]  # fmt: skip


def established(**options):
    fast = Fast(**options)
    external = source(fast.out(tcp(PC, WEB, "S")))
    fast.pass_through(tcp(WEB, external, "SA"), OUTSIDE)
    fast.out(tcp(PC, WEB, "A"))
    fast.pass_through(tcp(WEB, external, "A"), OUTSIDE)
    assert fast.hits == 0
    return fast, external


@pytest.mark.parametrize("make", [udp, tcp])
def test_what_is_used_more_than_once_is_known_in_both_directions(make):
    fast, external = established()
    if make is udp:
        external = source(fast.out(udp(PC, WEB)))
        assert len(fast.nat.flows.inside.udp) == 0  # most questions are the only one
        fast.pass_through(udp(WEB, external), OUTSIDE)
        fast.out(udp(PC, WEB))
    data = {} if make is udp else {"segment": "PA"}
    out = fast.out(make(PC, WEB, payload=b"one", **data))
    (back,) = fast.pass_through(make(WEB, external, payload=b"two", **data), OUTSIDE)
    assert fast.hits == 2
    assert source(out) == external
    assert not wrong_checksums(out) + wrong_checksums(back)


@pytest.mark.parametrize(
    "packet",
    [
        tcp(PC, WEB, "S"),
        tcp(PC, WEB, "FA"),
        tcp(PC, WEB, "R"),
        tcp(PC, WEB, "A", options=b"\x94\x04\0\0"),
        fragments(tcp(PC, WEB, "A", b"x" * 100), 48)[0],
        fragments(tcp(PC, WEB, "A", b"x" * 100), 48)[1],
        tcp(PC, WEB, "A", ttl=255),
        tcp(PC, WEB, "A", version=6),
        tcp(PC, WEB, "A")[:39],
        tcp(PC, WEB, "A")[:20],
        b"",
        udp(PC, WEB),  # a flow of the same 12 bytes, but of another protocol
        tcp(f"{ALICE}:40001", WEB, "A"),
    ],
)
def test_what_the_fast_path_leaves_to_the_slow_one(packet):
    fast, _ = established()
    fast.pass_through(packet, INSIDE)
    assert fast.hits == 0
    fast, _ = established()
    fast.out(tcp(PC, WEB, "A"))  # the positive control
    assert fast.hits == 1


@pytest.mark.parametrize("make", [udp, tcp])
def test_flows_are_kept_apart_by_side(make):
    """A packet from outside that forges an inside flow, or the other way round, is not passed."""
    fast, external = established()
    if make is udp:
        external = source(fast.out(udp(PC, WEB)))
        fast.pass_through(udp(WEB, external), OUTSIDE)
    data = {} if make is udp else {"segment": "PA"}
    assert fast.pass_through(make(PC, WEB, **data), OUTSIDE) == []
    assert fast.pass_through(make(WEB, external, **data), INSIDE) == []
    assert fast.hits == 0


@pytest.mark.parametrize("closing", [">FA <FA", "<FA >FA", ">R", "<R"])
def test_a_closing_connection_is_followed_again(closing):
    fast, external = established()
    fast.out(tcp(PC, WEB, "A"))
    for segment in closing.split():
        if segment[0] == ">":
            fast.out(tcp(PC, WEB, segment[1:]))
        else:
            assert fast.pass_through(tcp(WEB, external, segment[1:]), OUTSIDE)
    assert fast.hits == 1
    assert len(fast.nat.flows.inside) == len(fast.nat.flows.outside) == 0
    fast.nat.wait(240)
    assert not fast.nat.rules


def test_a_flush_leaves_no_flow():
    fast, external = established()
    assert fast.out(tcp(PC, WEB, "A"))
    fast.nat.translator.flush()
    assert len(fast.nat.flows.inside) == len(fast.nat.flows.outside) == 0
    assert fast.pass_through(tcp(WEB, external, "A"), OUTSIDE) == []


def test_a_removed_rule_leaves_no_flow():
    fast = Fast()
    fast.nat.add_rule(6, 8080, PC)
    for segment, side in (("S", OUTSIDE), ("SA", INSIDE), ("A", OUTSIDE), ("A", INSIDE)):
        ends = (WEB, f"{EXTERNAL}:8080") if side is OUTSIDE else (PC, WEB)
        fast.pass_through(tcp(*ends, segment), side)
    assert fast.pass_through(tcp(WEB, f"{EXTERNAL}:8080", "A"), OUTSIDE)
    assert fast.hits == 1
    fast.nat.remove_rule(6, 8080)
    assert fast.pass_through(tcp(WEB, f"{EXTERNAL}:8080", "A"), OUTSIDE) == []
    assert fast.pass_through(tcp(PC, WEB, "A"), INSIDE) == []


def test_an_idle_flow_goes_with_its_rule():
    fast = Fast()
    external = source(fast.out(udp(PC, WEB)))
    for _ in range(10):  # RFC 4787 REQ-6: what comes in does not refresh, by the fast path either
        fast.nat.wait(29)
        assert fast.pass_through(udp(WEB, external), OUTSIDE)
    fast.nat.wait(10)
    assert fast.pass_through(udp(WEB, external), OUTSIDE) == []
    assert fast.hits == 9


def test_use_by_the_fast_path_keeps_a_rule_alive():
    fast = Fast()
    fast.out(udp(PC, WEB))
    for _ in range(10):
        fast.nat.wait(299)
        fast.out(udp(PC, WEB))
    assert fast.hits == 9
    assert len(fast.nat.rules) == 1


def test_a_udp_checksum_of_zero_and_one_that_would_become_zero():
    fast = Fast()
    fast.out(udp(PC, WEB))
    packet = udp(PC, WEB, b"\0\0")
    assert fast.out(set_bytes(packet, 26, b"\0\0"))[26:28] == b"\0\0"
    flows = fast.nat.flows.inside
    became = set()
    for word in range(1, 0x10000):
        frame = bytearray(VNET_HEADER) + set_bytes(packet, 26, word.to_bytes(2, "big"))
        assert flows.forward(frame, len(frame), 0.0)
        became.add(bytes(frame[36:38]))
    assert b"\0\0" not in became
    assert b"\xff\xff" in became


def test_a_full_cache_starts_anew_and_nothing_is_lost(monkeypatch):
    monkeypatch.setattr(flow_cache, "CAPACITY", 10)
    fast = Fast()
    for _ in range(2):
        for port in range(1000, 1035):
            assert fast.out(udp(f"{ALICE}:{port}", WEB))
            check_table(fast.nat.translator)
            assert len(fast.nat.flows.inside) <= 10
    fast.nat.wait(300)
    check_table(fast.nat.translator)


# -- the same packets through both ------------------------------------------------------------

hosts = st.sampled_from([PC, f"{ALICE}:40001", f"{BOB}:40000"])
remotes = st.sampled_from([WEB, f"{SERVER}:81", f"{OTHER}:80"])
segments = st.sampled_from(["S", "SA", "A", "A", "PA", "PA", "FA", "R"])
payloads = st.binary(max_size=5)
steps = st.one_of(
    st.tuples(st.just("out"), hosts, remotes, segments, payloads, st.booleans(), st.booleans()),
    st.tuples(st.just("in"), hosts, remotes, segments, payloads, st.booleans(), st.booleans()),
    st.tuples(st.just("wait"), st.sampled_from([0.5, 50, 200, 301, 8000])),
)


@given(
    story=st.lists(steps, min_size=5, max_size=40),
    mapping=st.sampled_from([EI, APD]),
    filtering=st.sampled_from(BEHAVIORS),
)
@settings(max_examples=EXAMPLES, deadline=None)
def test_both_paths_do_the_same(story, mapping, filtering):
    options = {"mapping": mapping, "filtering": filtering, "ports": range(2000, 2006)}
    one, other = Fast(**options), Nat(**options)
    for rule in ((6, 2000, PC), (17, 2000, PC)):
        one.nat.add_rule(*rule)
        other.add_rule(*rule)
    for what, *step in story:
        if what == "wait":
            one.nat.wait(step[0])
            other.wait(step[0])
            continue
        host, remote, segment, payload, is_tcp, partial = step
        side = Side.INSIDE if what == "out" else Side.OUTSIDE
        if what == "in":
            ports = {rule.external[1] for rule in other.rules if rule.internal[1] == 40000}
            ends = (remote, f"{EXTERNAL}:{min(ports, default=2000)}")
        else:
            ends = (host, remote)
        packet = tcp(*ends, segment, payload) if is_tcp else udp(*ends, payload)
        assert one.pass_through(packet, side, partial) == slow(other, packet, side, partial)
        assert state(one.nat) == state(other)
        assert one.nat.translator.next_deadline() == other.translator.next_deadline()
        check_table(one.nat.translator)


def test_the_property_above_does_meet_the_fast_path():
    """Its stories would prove nothing if every packet went the slow way."""
    fast, external = established(ports=range(2000, 2006))
    for _ in range(3):
        fast.out(tcp(PC, WEB, "PA"))
        fast.pass_through(tcp(WEB, external, "PA"), OUTSIDE)
    assert fast.hits == 6


def test_frames_longer_than_a_packet_can_be_on_a_wire():
    """With segmentation offload, 64 KB of TCP come at once."""
    fast, _ = established()
    large = tcp(PC, WEB, "A", b"x" * 65000)
    assert not wrong_checksums(fast.out(large))
    assert fast.hits == 1


def test_bytes_are_counted_without_the_frames_header():
    fast, _ = established()
    packets = [tcp(PC, WEB, "A", b"x" * size) for size in (1, 10, 100)]
    before = fast.nat.rules[0].bytes_out
    for packet in packets:
        fast.out(packet)
    assert fast.nat.rules[0].bytes_out - before == sum(map(len, packets))


def test_the_header_checksum_holds_after_a_hop_is_given_back():
    fast, _ = established()
    for ttl in range(1, 255):
        sent = fast.out(with_right_header_checksum(tcp(PC, WEB, "A", ttl=ttl)))
        assert sent[8] == ttl + 1
        assert not wrong_checksums(sent)


class Hands:
    """A carrier that only notes what it is given."""

    def __init__(self):
        self.held = []

    def propose(self, session, outbound):
        self.held.append((session, outbound))

    def release(self, session):
        self.held = [each for each in self.held if each[0] is not session]


def test_a_flow_that_moves_much_is_proposed_to_the_carrier_and_taken_back_at_its_end():
    fast = Fast()
    flows = fast.nat.flows
    hands: Any = Hands()
    flows.carrier = hands
    port = source(fast.out(tcp(PC, WEB, "S"))).rpartition(":")[2]
    ours = f"{EXTERNAL}:{port}"
    fast.pass_through(tcp(WEB, ours, "SA"), OUTSIDE)
    for _ in range(5):  # not yet worth it
        fast.out(tcp(PC, WEB, "A", flags="DF"))
    assert (hands.held, fast.hits) == ([], 0)
    for _ in range(10):
        fast.out(tcp(PC, WEB, "A", flags="DF"))
    assert [outbound for _, outbound in hands.held] == [True]
    assert fast.hits > 0  # until it is taken
    fast.pass_through(tcp(WEB, ours, "A"), OUTSIDE)
    assert [outbound for _, outbound in hands.held] == [True, False]
    fast.pass_through(tcp(WEB, ours, "R"), OUTSIDE)
    assert hands.held == []


def test_a_datagram_flow_is_proposed_one_way_at_a_time_and_again_when_it_was_given_back():
    fast = Fast()
    flows = fast.nat.flows
    hands: Any = Hands()
    flows.carrier = hands
    for _ in range(20):
        fast.out(udp(PC, f"{SERVER}:53", flags="DF"))
    ((session, outbound),) = hands.held
    assert outbound
    hands.held.clear()
    flows.learn_anew(session, outbound)
    for _ in range(20):
        fast.out(udp(PC, f"{SERVER}:53", flags="DF"))
    assert hands.held == [(session, True)]
    fast.nat.wait(301)
    assert hands.held == []


def test_many_short_flows_of_one_rule_are_not_worth_it():
    fast = Fast(mapping=EI)
    hands: Any = Hands()
    fast.nat.flows.carrier = hands
    for port in range(1, 100):
        fast.out(udp(PC, f"{SERVER}:{port}", flags="DF"))
    assert len(fast.nat.rules) == 1
    assert hands.held == []


def test_what_may_be_cut_is_not_proposed_on_its_way_out():
    fast = Fast()
    hands: Any = Hands()
    fast.nat.flows.carrier = hands
    for _ in range(20):
        sent = fast.out(udp(PC, WEB))
    assert hands.held == []
    for _ in range(20):
        fast.pass_through(udp(WEB, source(sent)), OUTSIDE)
    assert [outbound for _, outbound in hands.held] == [False]
