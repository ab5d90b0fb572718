"""Packets in pieces (RFC 4787 REQ-14): any order, both ways, and bounded against floods."""

import itertools

import pytest
from scapy.layers.inet import UDP

from napt_lab.nat_node.core import fragments as limits
from napt_lab.nat_node.core.verdict import Drop
from tests.packets import (
    fragments,
    ping,
    pong,
    reassemble,
    set_bytes,
    tcp,
    udp,
    with_right_header_checksum,
)
from tests.unit.nat_node.nat_testing import (
    ALICE,
    BOB,
    EI,
    EXTERNAL,
    INSIDE,
    IP,
    OTHER,
    OUTSIDE,
    SERVER,
    Nat,
    check_table,
    show,
    source,
    wrong_checksums,
)

PC, WEB = f"{ALICE}:40000", f"{SERVER}:80"
DATA = bytes(range(200))
FLOOD = 300  # datagrams: more than there is room for


def sent_through(pass_on, pieces):
    return [piece for came in pieces for piece in pass_on(came)]


def numbered(piece, identification):
    return with_right_header_checksum(set_bytes(piece, 4, identification.to_bytes(2, "big")))


@pytest.mark.parametrize("order", [*itertools.permutations(range(3))])
@pytest.mark.parametrize("make", [udp, tcp])
def test_any_order_outbound(make, order):
    nat = Nat(ports=range(2000, 2001))
    whole = make(PC, WEB, payload=DATA)
    pieces = fragments(whole, 48, 96)
    sent = sent_through(nat.inside, [pieces[n] for n in order])
    assert len(sent) == 3
    arrived = reassemble(sent)
    assert show(arrived).endswith("24.9.3.7:2000 > 151.101.1.69:80")
    assert arrived.endswith(DATA)
    assert not wrong_checksums(arrived)
    assert len(nat.translator.fragments) == 1
    nat.wait(15)
    assert len(nat.translator.fragments) == 0
    assert nat.translator.drops == {}


@pytest.mark.parametrize("order", [*itertools.permutations(range(3))])
def test_any_order_inbound(order):
    nat = Nat()
    external = source(nat.out(udp(PC, WEB)))
    pieces = fragments(udp(WEB, external, DATA), 48, 96)
    sent = sent_through(nat.outside, [pieces[n] for n in order])
    arrived = reassemble(sent)
    assert show(arrived) == f"udp {WEB} > {PC}"
    assert not wrong_checksums(arrived)


@pytest.mark.parametrize("order", [*itertools.permutations(range(3))])
def test_any_order_hairpinned(order):
    nat = Nat(filtering=EI)
    external = source(nat.out(udp(f"{BOB}:53", WEB)))
    pieces = fragments(udp(PC, external, DATA), 48, 96)
    arrived = reassemble(sent_through(nat.inside, [pieces[n] for n in order]))
    assert (IP(arrived).src, IP(arrived).dst, IP(arrived).dport) == (EXTERNAL, BOB, 53)
    assert not wrong_checksums(arrived)


def test_a_large_ping_and_its_answer():
    nat = Nat(ports=range(2000, 2001))
    request = sent_through(nat.inside, fragments(ping(ALICE, SERVER, 77, data=DATA), 64, 128))
    assert not wrong_checksums(reassemble(request))
    answer = fragments(pong(SERVER, EXTERNAL, 2000, id=9), 64, 128)
    arrived = reassemble(sent_through(nat.outside, answer))
    assert (IP(arrived).dst, IP(arrived).payload.id) == (ALICE, 77)
    assert not wrong_checksums(arrived)


def test_pieces_without_a_udp_checksum():
    nat = Nat()
    whole = set_bytes(udp(PC, WEB, DATA), 26, b"\0\0")
    arrived = reassemble(sent_through(nat.inside, fragments(whole, 48)))
    assert IP(arrived)[UDP].chksum in (None, 0)


def test_each_piece_keeps_its_own_header():
    """Type of service, time to live, flags and offset are the sender's; all have one number."""
    nat = Nat()
    numbers = set()
    for piece in fragments(udp(PC, WEB, DATA, tos=0x29, ttl=17, id=4711), 48, 96):
        (sent,) = nat.inside(piece)
        assert set_bytes(sent, 4, piece[4:6])[:10] == piece[:10]
        numbers.add(sent[4:6])
    assert len(numbers) == 1


@pytest.mark.parametrize(
    ("first", "side", "drop"),
    [
        (udp(PC, "192.168.3.3:80", DATA), "inside", Drop.PRIVATE_DESTINATION),
        (udp(f"{OTHER}:1", f"{EXTERNAL}:2000", DATA), "outside", Drop.FILTERED),
        (tcp(PC, WEB, "A", DATA), "inside", Drop.NO_CONNECTION),
        (udp("10.0.0.255:1", WEB, DATA), "inside", Drop.SPOOFED_SOURCE),  # everybody, so nobody
    ],
)
@pytest.mark.parametrize("first_comes", ["first", "last"])
def test_the_siblings_of_a_dropped_one_are_dropped(first, side, drop, first_comes):
    nat = Nat(ports=range(2000, 2001))
    nat.out(udp(PC, WEB))
    head, *tail = fragments(first, 48, 96)
    pass_on = nat.inside if side == "inside" else nat.outside
    if first_comes == "first":
        pass_on(head)
        for piece in tail:
            assert pass_on(piece) == []
            assert nat.drop is drop
    else:
        for piece in tail:
            assert pass_on(piece) == []
        assert all(show(sent).startswith("icmp 3") for sent in pass_on(head))
        assert nat.drop is drop
        assert pass_on(tail[0]) == []
        nat.wait(limits.LIFETIME)
        assert nat.translator.drops == {drop: 2, Drop.FRAGMENT_LOST: 2}


def test_a_later_piece_from_an_address_that_is_not_inside_does_not_wait():
    nat = Nat()
    _, later = fragments(udp("192.168.3.3:1", WEB, DATA), 48)[:2]
    assert nat.inside(later) == []
    assert nat.drop is Drop.SPOOFED_SOURCE
    assert len(nat.translator.fragments) == 0
    nat.inside(fragments(udp(PC, WEB, DATA), 48)[1])  # the control: it waits for its first piece
    assert nat.drop is None
    assert len(nat.translator.fragments) == 1


def test_a_later_datagram_with_the_same_identification_is_judged_anew():
    nat = Nat(ports=range(2000, 2001))
    question = fragments(udp(WEB, f"{EXTERNAL}:2000", DATA), 48)
    assert sent_through(nat.outside, question) == []  # there is no rule yet
    nat.out(udp(PC, WEB))
    assert len(sent_through(nat.outside, question)) == 2


def test_a_later_datagram_with_the_same_identification_has_its_own_time():
    nat = Nat(ports=range(2000, 2001))
    nat.out(udp(PC, WEB))
    first, *others = fragments(udp(WEB, f"{EXTERNAL}:2000", DATA), 48)
    assert nat.outside(first)
    nat.wait(limits.LIFETIME - 1)
    assert nat.outside(first)
    nat.wait(limits.LIFETIME - 1)
    assert all(nat.outside(piece) for piece in others)


@pytest.mark.parametrize("order", ["0012", "0102", "1020", "01020"])
def test_a_first_piece_that_comes_twice_keeps_its_identification(order):
    """Else its receiver could not put the datagram together."""
    nat = Nat()
    whole = udp(PC, WEB, b"x" * 3000)
    pieces = fragments(whole, 1000, 2000)
    sent = [left for number in order for left in nat.inside(pieces[int(number)])]
    assert len({IP(left).id for left in sent}) == 1
    assert len(sent) == len(order)
    other = nat.inside(numbered(pieces[0], 99))
    assert IP(other[0]).id != IP(sent[0]).id


def test_after_its_time_a_first_piece_belongs_to_another_datagram():
    nat = Nat()
    first, _ = fragments(udp(PC, WEB, b"x" * 2000), 1000)
    (before,) = nat.inside(first)
    nat.wait(limits.LIFETIME - 1)
    assert IP(nat.inside(first)[0]).id == IP(before).id
    nat.wait(limits.LIFETIME)
    assert IP(nat.inside(first)[0]).id != IP(before).id


def test_the_sides_are_kept_apart():
    """A piece from outside does not pass as a sibling of one from the inside."""
    nat = Nat()
    first, later = fragments(udp(PC, WEB, DATA), 48)
    nat.inside(first)
    assert nat.outside(later) == []
    assert nat.inside(later)


@pytest.mark.parametrize(
    ("at", "new"),
    [
        (4, b"\x47\x11"),  # identification
        (9, b"\x06"),  # protocol
        (12, b"\x0a\0\0\x08"),  # source
        (16, b"\x97\x65\x01\x46"),  # destination
    ],
)
def test_a_sibling_is_known_by_all_four_fields(at, new):
    nat = Nat()
    first, later = fragments(udp(PC, WEB, DATA), 64)
    nat.inside(first)
    assert nat.inside(with_right_header_checksum(set_bytes(later, at, new))) == []
    assert nat.inside(later)


def test_a_piece_that_waits_in_vain_is_counted_and_forgotten():
    nat = Nat()
    _, later = fragments(udp(PC, WEB, DATA), 48)
    assert nat.inside(later) == []
    assert nat.drop is None  # it waits
    nat.wait(limits.LIFETIME)
    assert nat.translator.drops == {Drop.FRAGMENT_LOST: 1}
    assert len(nat.translator.fragments) == 0
    first, _ = fragments(udp(PC, WEB, DATA), 48)
    assert len(nat.inside(first)) == 1


def test_a_flood_of_pieces_of_one_datagram():
    nat = Nat()
    pieces = fragments(udp(PC, WEB, b"x" * 4000), *range(8, 4000, 8))
    for piece in pieces[1:]:
        nat.inside(piece)
    assert nat.drop is Drop.FRAGMENTS_FULL
    assert len(nat.inside(pieces[0])) == 1 + limits.WAITING_PIECES


def test_a_flood_of_datagrams_without_a_first_piece():
    nat = Nat()
    later = fragments(udp(f"{OTHER}:1", f"{EXTERNAL}:1", DATA), 48)[1]
    for ident in range(FLOOD):
        piece = bytearray(numbered(later, ident))
        assert nat.translator.receive(piece, OUTSIDE, nat.now).packets == []
    assert len(nat.translator.fragments) == limits.ROOM // (limits.ENTRY + len(later))
    nat.wait(limits.LIFETIME)
    assert len(nat.translator.fragments) == 0
    assert nat.translator.drops[Drop.FRAGMENT_LOST] == FLOOD
    # the positive control: pieces pass again
    assert len(sent_through(nat.inside, fragments(udp(PC, WEB, DATA), 48))) == 2


@pytest.mark.parametrize("flood", ["later pieces", "first pieces that nobody wants"])
def test_who_comes_in_order_passes_through_a_flood(flood):
    """RFC 4787, REQ-14a."""
    nat = Nat()
    external = source(nat.out(udp(PC, WEB)))
    in_order = fragments(udp(WEB, external, DATA, id=4711), 48, 96)
    sent = nat.outside(in_order[0])
    which = flood == "later pieces"
    noise = fragments(udp(f"{OTHER}:1", f"{EXTERNAL}:1", b"x" * 8000), 48)[which]
    for ident in range(FLOOD):
        nat.translator.receive(bytearray(numbered(noise, ident)), OUTSIDE, nat.now)
    sent += [*nat.outside(in_order[1]), *nat.outside(in_order[2])]
    assert show(reassemble(sent)) == f"udp {WEB} > {PC}"
    assert len(nat.translator.fragments) <= limits.ROOM // limits.ENTRY + 1


def test_the_datagrams_that_pass_are_bounded_too(monkeypatch):
    monkeypatch.setattr(limits, "PASSING_DATAGRAMS", 10)
    nat = Nat()
    for ident in range(20):
        assert nat.inside(fragments(udp(PC, WEB, DATA, id=ident), 48)[0])
    assert len(nat.translator.fragments) == 10


def test_a_flood_of_large_pieces():
    nat = Nat()
    later = fragments(udp(f"{OTHER}:1", f"{EXTERNAL}:1", b"x" * 65000), 8)[1]
    for ident in range(40):
        nat.outside(numbered(later, ident))
    assert len(nat.translator.fragments) == limits.ROOM // (limits.ENTRY + len(later))
    nat.wait(limits.LIFETIME)
    assert nat.translator.drops == {Drop.FRAGMENT_LOST: 40}


@pytest.mark.parametrize("flooder", [BOB, OTHER])
@pytest.mark.parametrize("size", [100, 8000])
def test_whoever_floods_pushes_out_what_is_his_own(flooder, size):
    """Everyone outside counts as one, for out there a source is easily forged."""
    nat = Nat()
    mine = fragments(udp(PC, WEB, DATA), 48, 96)
    assert sent_through(nat.inside, mine[1:]) == []
    side, to = (INSIDE, WEB) if flooder == BOB else (OUTSIDE, f"{EXTERNAL}:1")
    noise = fragments(udp(f"{flooder}:1", to, b"x" * size), 48)[1]
    for number in range(FLOOD):
        if side is OUTSIDE:
            noise = set_bytes(noise, 13, number.to_bytes(3, "big"))
        nat.translator.receive(bytearray(numbered(noise, number)), side, nat.now)
    check_table(nat.translator)
    assert len(nat.inside(mine[0])) == 3
    nat.wait(limits.LIFETIME)
    assert nat.translator.drops == {Drop.FRAGMENT_LOST: FLOOD}


def test_a_datagram_that_is_alone_and_too_large_gives_way_to_itself(monkeypatch):
    monkeypatch.setattr(limits, "ROOM", limits.ENTRY + 1000)
    nat = Nat()
    pieces = fragments(udp(PC, WEB, b"x" * 1600), 400, 800, 1200)
    assert sent_through(nat.inside, pieces[1:]) == []
    assert len(nat.inside(pieces[0])) == 2, "itself, and the last of the others"


def test_the_buffer_is_used_again_while_a_piece_waits():
    nat = Nat()
    first, later = fragments(udp(PC, WEB, DATA), 48)
    buffer = bytearray(later)
    nat.translator.receive(buffer, INSIDE, nat.now)
    buffer[:] = bytes(len(buffer))
    sent = nat.inside(first)
    assert sent[1][20:] == later[20:]
