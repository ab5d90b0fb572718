"""The IPv4 Identification behind one external address (RFC 6864, section 5.3.1; RFC 7857, 10)."""

from itertools import pairwise

import pytest
from scapy.layers.inet import IP

from napt_lab.nat_node.core import identification
from tests.packets import error, fragments, ping, reassemble, tcp, udp
from tests.unit.nat_node.nat_testing import (
    ALICE,
    BOB,
    EI,
    EXTERNAL,
    SERVER,
    Nat,
    quoted,
    source,
    wrong_checksums,
)

WEB = f"{SERVER}:80"
MAKE = {
    "udp": lambda host, **ip: udp(f"{host}:40000", WEB, b"x" * 200, **ip),
    "tcp": lambda host, **ip: tcp(f"{host}:40000", WEB, payload=b"x" * 200, **ip),
    "ping": lambda host, **ip: ping(host, SERVER, data=b"x" * 200, **ip),
}
every_protocol = pytest.mark.parametrize("make", MAKE.values(), ids=MAKE)


@every_protocol
def test_two_hosts_pieces_with_one_number_are_not_mixed_up(make):
    nat = Nat()
    alice, bob = (fragments(make(host, id=7), 48, 96) for host in (ALICE, BOB))
    sent = [nat.out(piece) for pair in zip(alice, bob, strict=True) for piece in pair]
    datagrams = {IP(piece).id: [] for piece in sent}
    for piece in sent:
        datagrams[IP(piece).id].append(piece)
    assert len(datagrams) == 2
    for pieces in datagrams.values():
        assert not wrong_checksums(reassemble(pieces))


@every_protocol
def test_whole_packets_that_may_be_cut_further_on_have_different_numbers_too(make):
    nat = Nat()
    sent = [nat.out(make(host, id=7)) for _ in range(10) for host in (ALICE, BOB)]
    assert len({IP(packet).id for packet in sent}) == 20


@every_protocol
def test_what_cannot_be_cut_keeps_its_number(make):
    """RFC 6864, section 4.1: in an atomic datagram it says nothing."""
    assert IP(Nat().out(make(ALICE, id=7, flags="DF"))).id == 7


def test_what_comes_in_keeps_its_number():
    """Its sender has one address outside and one inside: his numbers stay different."""
    nat = Nat()
    external = source(nat.out(MAKE["udp"](ALICE)))
    (arrived,) = nat.outside(udp(WEB, external, id=7))
    assert IP(arrived).id == 7


def test_the_numbers_cannot_be_foretold_and_do_not_repeat_soon():
    first = [IP(Nat(seed).out(MAKE["udp"](ALICE))).id for seed in range(20)]
    assert len(set(first)) == 20
    nat = Nat()
    numbers = [IP(nat.out(MAKE["udp"](ALICE))).id for _ in range(20)]
    assert all((b - a) % 65536 in (1, 2) for a, b in pairwise(numbers))


@every_protocol
def test_an_error_quotes_the_number_that_its_reader_gave(make):
    """RFC 5508, REQ-4a."""
    nat = Nat()
    about = make(ALICE, id=7)
    sent = nat.out(about)
    assert IP(sent).id != 7
    (arrived,) = nat.outside(error("203.0.113.1", EXTERNAL, sent))
    assert quoted(arrived) == about[:28]


@every_protocol
def test_an_error_quotes_the_number_that_a_whole_packet_has_kept(make):
    """Another packet may just have been given that number, in place of its own."""
    nat = Nat()
    given = IP(nat.out(make(ALICE, id=7))).id
    about = make(BOB, id=given, flags="DF")
    (arrived,) = nat.outside(error("203.0.113.1", EXTERNAL, nat.out(about)))
    assert quoted(arrived) == about[:28]


def test_hairpinned_pieces_are_numbered_anew_and_their_errors_are_right():
    nat = Nat(filtering=EI)
    external = source(nat.out(udp(f"{BOB}:53", WEB)))
    about = udp(f"{ALICE}:1", external, id=7)
    (arrived,) = nat.inside(about)
    (told,) = nat.inside(error(BOB, EXTERNAL, arrived))
    assert (IP(told).dst, quoted(told)) == (ALICE, about[:28])


def test_what_is_remembered_is_bounded(monkeypatch):
    """The latest few thousand; a number that is forgotten stays what it is."""
    monkeypatch.setattr(identification, "REMEMBERED", 32)
    nat = Nat()
    many = identification.REMEMBERED + 9
    sent = [nat.out(MAKE["udp"](ALICE, id=number)) for number in range(many)]
    (latest,) = nat.outside(error("203.0.113.1", EXTERNAL, sent[-1]))
    assert IP(quoted(latest)).id == many - 1
    (forgotten,) = nat.outside(error("203.0.113.1", EXTERNAL, sent[0]))
    assert quoted(forgotten)[4:6] == sent[0][4:6]
