"""What a NAPT does with pings, and what it says itself in ICMP (RFC 5508, RFC 792)."""

import pytest

from napt_lab.nat_node.core.verdict import Drop
from tests.packets import (
    error,
    fragments,
    ping,
    pong,
    reassemble,
    tcp,
    udp,
    with_right_header_checksum,
)
from tests.unit.nat_node.nat_testing import (
    ALICE,
    BEHAVIORS,
    BOB,
    EXTERNAL,
    ICMP,
    IP,
    OTHER,
    ROUTER,
    SERVER,
    Nat,
    quoted,
    show,
    wrong_checksums,
)

PC, WEB = f"{ALICE}:40000", f"{SERVER}:80"


# -- pings ------------------------------------------------------------------------------------


@pytest.mark.parametrize("mapping", BEHAVIORS)
def test_a_ping_and_its_answer(mapping):
    nat = Nat(mapping=mapping)
    sent = IP(nat.out(ping(ALICE, SERVER, 77)))
    assert sent.src == EXTERNAL
    (answer,) = nat.outside(pong(SERVER, EXTERNAL, sent[ICMP].id))
    assert (IP(answer).dst, IP(answer)[ICMP].id) == (ALICE, 77)


@pytest.mark.parametrize("mapping", BEHAVIORS)
def test_a_timestamp_query_and_its_answer(mapping):
    """RFC 5508, REQ-1: a query, as an echo is (RFC 1122, section 3.2.2)."""
    nat = Nat(mapping=mapping)
    times = bytes(12)
    left = nat.out(ping(ALICE, SERVER, 77, kind=13, data=times))
    ours = IP(left)[ICMP].id
    assert show(left) == f"icmp 13 {EXTERNAL} > {SERVER}"
    (came,) = nat.outside(ping(SERVER, EXTERNAL, ours, kind=14, data=times))
    assert show(came) == f"icmp 14 {SERVER} > {ALICE}"
    assert IP(came)[ICMP].id == 77
    (told,) = nat.outside(error(OTHER, EXTERNAL, left))
    assert quoted(told) == ping(ALICE, SERVER, 77, kind=13, data=times)[:28]


@pytest.mark.parametrize("kind", [15, 17, 10, 13, 14])
def test_other_queries_do_not_pass(kind):
    """Obsolete ones, those for one's own network, and what nobody asked for or we do not answer."""
    nat = Nat()
    if kind in (13, 14):
        nat.inside(ping(ALICE, EXTERNAL, kind=kind))
        assert nat.drop is Drop.ICMP_UNSUPPORTED
        assert nat.outside(ping(SERVER, EXTERNAL, kind=kind)) == []
        assert nat.drop is (Drop.ICMP_UNSUPPORTED if kind == 13 else Drop.NO_RULE)
    else:
        nat.inside(ping(ALICE, SERVER, kind=kind))
        assert nat.drop is Drop.ICMP_UNSUPPORTED
    assert not nat.rules


def test_two_hosts_with_one_identifier_are_kept_apart():
    nat = Nat()
    idents = {host: IP(nat.out(ping(host, SERVER, 77)))[ICMP].id for host in (ALICE, BOB)}
    for host, ident in idents.items():
        (answer,) = nat.outside(pong(SERVER, EXTERNAL, ident))
        assert IP(answer).dst == host


@pytest.mark.parametrize(
    ("packet", "drop"),
    [
        (pong(OTHER, EXTERNAL, 2000), Drop.NO_RULE),  # someone who was not asked
        (pong(SERVER, EXTERNAL, 2001), Drop.NO_RULE),  # an identifier nobody has
        (pong(SERVER, "24.9.3.8", 2000), Drop.NOT_FOR_US),
        (ping(SERVER, EXTERNAL, 2000, kind=13), Drop.ICMP_UNSUPPORTED),  # timestamp
        (ping(SERVER, EXTERNAL, 2000, kind=5), Drop.ICMP_UNSUPPORTED),  # redirect
        (ping(SERVER, EXTERNAL, 2000, kind=4), Drop.ICMP_UNSUPPORTED),  # source quench
    ],
)
def test_what_does_not_come_in(packet, drop):
    nat = Nat(ports=range(2000, 2001))
    nat.out(ping(ALICE, SERVER, 77))
    assert nat.outside(packet) == []
    assert nat.drop is drop
    assert nat.outside(pong(SERVER, EXTERNAL, 2000))  # the positive control


def test_a_query_is_kept_for_60_seconds_and_an_answer_does_not_prolong_it():
    """RFC 5508 REQ-2."""
    nat = Nat(ports=range(2000, 2001))
    nat.out(ping(ALICE, SERVER))
    nat.wait(59)
    assert nat.outside(pong(SERVER, EXTERNAL, 2000))
    nat.wait(1)
    assert nat.outside(pong(SERVER, EXTERNAL, 2000)) == []


@pytest.mark.parametrize("host", [SERVER, ALICE])
def test_pings_to_our_own_address_are_answered(host):
    nat = Nat()
    arrive = nat.outside if host == SERVER else nat.inside
    (answer,) = arrive(ping(host, EXTERNAL, 77, data=b"payload"))
    seen = IP(answer)
    assert (seen.src, seen.dst, seen[ICMP].type, seen[ICMP].id) == (EXTERNAL, host, 0, 77)
    assert bytes(seen[ICMP].payload) == b"payload"
    assert not nat.rules


@pytest.mark.parametrize("host", [SERVER, ALICE])
def test_a_damaged_ping_is_not_answered(host):
    """An answer would have a right checksum over the wrong bytes."""
    nat = Nat()
    arrive = nat.outside if host == SERVER else nat.inside
    damaged = ping(host, EXTERNAL, data=b"payload")[:-1] + b"!"
    assert arrive(damaged) == []
    assert nat.drop is Drop.BAD_CHECKSUM


@pytest.mark.parametrize("host", [SERVER, ALICE])
@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0)])
def test_a_ping_to_us_in_pieces_is_answered_in_pieces(host, order):
    nat = Nat()
    arrive = nat.outside if host == SERVER else nat.inside
    pieces = fragments(ping(host, EXTERNAL, 77, data=bytes(range(200))), 48, 96)
    answer = reassemble([sent for n in order for sent in arrive(pieces[n])])
    seen = IP(answer)
    assert (seen.src, seen.dst, seen[ICMP].type, seen[ICMP].id) == (EXTERNAL, host, 0, 77)
    assert bytes(seen[ICMP].payload) == bytes(range(200))
    assert not wrong_checksums(answer)


def test_with_options_a_ping_to_us_is_answered_too():
    nat = Nat()
    request = with_right_header_checksum(ping(SERVER, EXTERNAL, options=b"\x94\x04\0\0"))
    (answer,) = nat.outside(request)
    assert (IP(answer).src, IP(answer).dst) == (EXTERNAL, SERVER)


# -- what we say ourselves --------------------------------------------------------------------


@pytest.mark.parametrize("make", [udp, tcp, lambda a, b: ping(a.split(":")[0], b.split(":")[0])])
@pytest.mark.parametrize("options", [b"", b"\x94\x04\0\0"])
def test_prohibited(make, options):
    """RFC 5508 REQ-8: type 3, code 13, about a packet that may not pass."""
    nat = Nat()
    refused = make(PC, "192.168.3.3:80")
    if options:
        whole = IP(refused)
        whole.options = options
        del whole.ihl, whole.len, whole.chksum
        refused = bytes(whole)
    (told,) = nat.inside(refused)
    seen = IP(told)
    assert (seen.src, seen.dst, seen.ttl) == (ROUTER, ALICE, 64)
    assert (seen[ICMP].type, seen[ICMP].code) == (3, 13)
    assert quoted(told) == refused


def test_a_refusal_quotes_what_576_bytes_can_hold_and_is_of_the_same_class():
    """RFC 1812, section 4.3.2.3; RFC 5508, section 7.7."""
    refused = udp(PC, "192.168.3.3:80", b"x" * 1400, tos=0xB9)
    (told,) = Nat().inside(refused)
    assert len(told) == 576
    assert quoted(told) == refused[:548]
    assert IP(told).tos == 0xB8


def test_refusals_are_limited_in_rate():
    """RFC 5508, REQ-10f; RFC 1812, section 4.3.2.8: a flood is not doubled."""
    nat = Nat()
    refused = [udp(PC, f"192.168.3.3:{port}") for port in range(1, 110)]

    def told():
        return sum(len(nat.inside(packet)) for packet in refused)

    assert told() == 100
    nat.wait(0.5)
    assert told() == 50
    nat.wait(3600)
    assert told() == 100, "no more may be saved up than that"


@pytest.mark.parametrize("address", ["224.0.0.1", "239.1.2.3", "255.255.255.255"])
def test_nothing_is_said_about_multicast_or_broadcast(address):
    """RFC 1122, section 3.2.2."""
    nat = Nat()
    assert nat.inside(udp(PC, f"{address}:1900")) == []
    assert nat.drop is Drop.PRIVATE_DESTINATION


def test_nothing_is_said_to_the_outside():
    nat = Nat(host_limit=0)
    nat.add_rule(6, 80, f"{ALICE}:80")
    assert nat.outside(tcp(WEB, f"{EXTERNAL}:80")) == []
    assert nat.drop is Drop.HOST_LIMIT


def test_nothing_is_said_about_a_later_fragment():
    nat = Nat()
    first, later = fragments(udp(PC, "192.168.3.3:80", b"x" * 100), 48)
    assert len(nat.inside(first)) == 1
    assert nat.inside(later) == []
    assert nat.drop is Drop.PRIVATE_DESTINATION
