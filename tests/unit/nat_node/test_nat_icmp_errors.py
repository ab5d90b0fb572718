"""ICMP errors about what was translated (RFC 5508, section 4): what they quote, and which pass."""

import pytest

from napt_lab.nat_node.core.verdict import Drop
from tests.packets import (
    error,
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
    BEHAVIORS,
    BOB,
    EI,
    EXTERNAL,
    ICMP,
    IP,
    OTHER,
    ROUTER,
    SERVER,
    Nat,
    destination,
    quoted,
    source,
    wrong_checksums,
)

PC, WEB = f"{ALICE}:40000", f"{SERVER}:80"
HOP = "203.0.113.1"  # a router somewhere on the way
UNREACHABLE, TOO_BIG, EXPIRED, BAD_OPTION = (3, 3), (3, 4), (11, 0), (12, 0)
LOOSE_ROUTE = b"\x83\x07\x04" + bytes(4) + b"\0"
ABOUT = {"udp": udp(PC, WEB), "tcp": tcp(PC, WEB), "ping": ping(ALICE, SERVER)}

every_protocol = pytest.mark.parametrize("about", ABOUT.values(), ids=ABOUT.keys())
every_error = pytest.mark.parametrize("kind", [UNREACHABLE, TOO_BIG, EXPIRED, BAD_OPTION])
quotes = pytest.mark.parametrize("quote", [28, 40, None])  # 8 bytes beyond the header, 20, all


# -- errors from the outside ------------------------------------------------------------------


@every_protocol
@every_error
@quotes
def test_an_error_from_the_way_reaches_the_sender_as_if_nobody_had_translated(about, kind, quote):
    """RFC 5508 REQ-3, REQ-4: the quotation is, bit for bit, what the sender had sent."""
    nat = Nat()
    sent = nat.out(about)
    (arrived,) = nat.outside(error(HOP, EXTERNAL, sent, kind, quote))
    seen = IP(arrived)
    assert (seen.src, seen.dst) == (HOP, ALICE)
    assert (seen[ICMP].type, seen[ICMP].code) == kind
    assert quoted(arrived) == about[:quote]


def test_the_mtu_in_an_error_stays():
    nat = Nat()
    sent = nat.out(ABOUT["tcp"])
    too_big = bytes(IP(src=HOP, dst=EXTERNAL) / ICMP(type=3, code=4, nexthopmtu=1300) / sent[:28])
    (arrived,) = nat.outside(too_big)
    assert IP(arrived)[ICMP].nexthopmtu == 1300


def test_an_error_about_a_first_fragment_or_a_packet_with_options():
    nat = Nat()
    for about in (
        fragments(udp(PC, WEB, b"x" * 100), 48)[0],
        udp(PC, WEB, options=b"\x94\x04\0\0"),
    ):
        sent = nat.out(about)
        (arrived,) = nat.outside(error(HOP, EXTERNAL, sent, quote=None))
        assert quoted(arrived) == about


def test_a_quoted_udp_checksum_of_zero_stays_zero():
    nat = Nat()
    about = set_bytes(ABOUT["udp"], 26, b"\0\0")
    (arrived,) = nat.outside(error(HOP, EXTERNAL, nat.out(about)))
    assert quoted(arrived) == about[:28]


def damaged(packet):
    return packet[:-1] + bytes([packet[-1] ^ 1])


@pytest.mark.parametrize(
    ("make", "drop"),
    [
        # RFC 5508 REQ-3: an error with a wrong checksum is dropped
        (lambda sent: damaged(error(HOP, EXTERNAL, sent)), Drop.BAD_CHECKSUM),
        # REQ-4: about nothing that we translated
        (lambda sent: error(HOP, EXTERNAL, udp(f"{EXTERNAL}:9", WEB)), Drop.ICMP_UNRELATED),
        (lambda sent: error(HOP, EXTERNAL, udp(PC, WEB)), Drop.ICMP_UNRELATED),
        (lambda sent: error(HOP, EXTERNAL, udp(f"{EXTERNAL}:2000", f"{OTHER}:80")),
         Drop.ICMP_UNRELATED),
        (lambda sent: error(HOP, EXTERNAL, tcp(f"{EXTERNAL}:2000", WEB)), Drop.ICMP_UNRELATED),
        (lambda sent: error(HOP, EXTERNAL, with_right_header_checksum(set_bytes(sent, 9, b"\x2f"))),
         Drop.ICMP_UNRELATED),
        # REQ-3a: whoever quotes has seen a right header
        (lambda sent: error(HOP, EXTERNAL, set_bytes(sent, 8, b"\x01")), Drop.BAD_CHECKSUM),
        # section 7.3
        (lambda sent: error(HOP, EXTERNAL, udp(f"{EXTERNAL}:2000", WEB, options=LOOSE_ROUTE),
                            quote=None), Drop.SOURCE_ROUTED),
        # not addressed to us; from an address that cannot be out there
        (lambda sent: error(HOP, "24.9.3.8", sent), Drop.NOT_FOR_US),
        (lambda sent: error(ALICE, EXTERNAL, sent), Drop.SPOOFED_SOURCE),
        (lambda sent: error("127.0.0.1", EXTERNAL, sent), Drop.SPOOFED_SOURCE),
        (lambda sent: error("224.0.0.5", EXTERNAL, sent), Drop.SPOOFED_SOURCE),
        # a quotation that says too little, or is itself an error (RFC 1122)
        (lambda sent: error(HOP, EXTERNAL, sent, quote=27), Drop.MALFORMED),
        (lambda sent: error(HOP, EXTERNAL, sent, quote=0), Drop.MALFORMED),
        (lambda sent: error(HOP, EXTERNAL, error(EXTERNAL, SERVER, sent)), Drop.MALFORMED),
        (lambda sent: error(HOP, EXTERNAL, fragments(udp(PC, WEB, b"x" * 99), 48)[1]),
         Drop.MALFORMED),
        (lambda sent: fragments(error(HOP, EXTERNAL, sent, quote=None), 16)[0], Drop.MALFORMED),
    ],
)  # fmt: skip
def test_errors_from_outside_that_are_dropped(make, drop):
    nat = Nat(ports=range(2000, 2001))
    sent = nat.out(udp(PC, WEB))
    assert nat.outside(make(sent)) == []
    assert nat.drop is drop
    assert nat.outside(error(HOP, EXTERNAL, sent))  # the positive control


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1)])
@pytest.mark.parametrize("harm", [bytes, damaged])
def test_an_error_in_pieces(order, harm):
    """It arrives as it would have in one, and a damaged one stays damaged."""
    nat, about = Nat(), udp(PC, WEB, b"x" * 400)
    whole = harm(error(HOP, EXTERNAL, nat.out(about), quote=None))
    pieces = fragments(whole, 48, 96)
    arrived = reassemble([sent for n in order for sent in nat.outside(pieces[n])])
    assert (IP(arrived).src, IP(arrived).dst) == (HOP, ALICE)
    assert wrong_checksums(arrived) == wrong_checksums(whole)
    assert quoted(arrived) == harm(about)


def test_an_error_in_pieces_from_the_inside():
    nat = Nat(filtering=EI)
    external = source(nat.out(udp(PC, WEB)))
    about = udp(f"{OTHER}:9", external, b"x" * 400)
    (came,) = nat.outside(about)
    pieces = fragments(error(ALICE, OTHER, came, quote=None), 48)
    arrived = reassemble([sent for piece in pieces for sent in nat.inside(piece)])
    assert (IP(arrived).src, IP(arrived).dst) == (EXTERNAL, OTHER)
    assert not wrong_checksums(arrived)
    assert quoted(arrived) == about


def test_a_router_on_the_way_may_have_a_private_address():
    """Many providers number their routers so; a traceroute shows them."""
    nat = Nat()
    assert nat.outside(error("192.168.77.1", EXTERNAL, nat.out(udp(PC, WEB)), EXPIRED))


# -- errors from the inside -------------------------------------------------------------------


@pytest.mark.parametrize("writer", [ALICE, BOB, ROUTER])  # a host, a router within, ourselves
@every_protocol
@quotes
def test_an_error_from_the_inside_speaks_of_the_external_endpoint(about, writer, quote):
    """RFC 5508 REQ-5: what came in, as the remote endpoint had sent it."""
    nat = Nat()
    sent = nat.out(about)
    if about is ABOUT["ping"]:
        reply = pong(SERVER, EXTERNAL, IP(sent)[ICMP].id)
    else:
        reply = (tcp if about is ABOUT["tcp"] else udp)(WEB, source(sent))
    (came,) = nat.outside(reply)
    left = nat.out(error(writer, SERVER, came, quote=quote))
    assert (IP(left).src, IP(left).dst) == (EXTERNAL, SERVER)
    assert quoted(left) == reply[:quote]


@pytest.mark.parametrize("filtering", BEHAVIORS, ids=lambda b: b.value)
def test_a_closed_udp_port_behind_an_explicit_rule_says_so(filtering):
    """There is a rule, but no session: nobody inside has answered yet."""
    nat = Nat(filtering=filtering)
    nat.add_rule(17, 53, f"{ALICE}:53")
    question = udp(WEB, f"{EXTERNAL}:53")
    (came,) = nat.outside(question)
    left = nat.out(error(ALICE, SERVER, came))
    assert (IP(left).src, IP(left).dst) == (EXTERNAL, SERVER)
    assert quoted(left) == question[:28]
    assert nat.sessions == 0


def test_an_error_about_a_datagram_that_an_open_filter_let_in():
    nat = Nat(filtering=EI)
    external = source(nat.out(udp(PC, WEB)))
    uninvited = udp(f"{OTHER}:9", external)
    (came,) = nat.outside(uninvited)
    assert quoted(nat.out(error(ALICE, OTHER, came))) == uninvited[:28]


@pytest.mark.parametrize(
    ("make", "drop"),
    [
        (lambda came: damaged(error(ALICE, SERVER, came)), Drop.BAD_CHECKSUM),
        (lambda came: error(ALICE, SERVER, udp(WEB, f"{ALICE}:9")), Drop.ICMP_UNRELATED),
        (lambda came: error(ALICE, SERVER, tcp(WEB, f"{ALICE}:9")), Drop.ICMP_UNRELATED),
        (lambda came: error(ALICE, SERVER, udp(f"{OTHER}:80", PC)), Drop.ICMP_UNRELATED),
        (lambda came: error(OTHER, SERVER, came), Drop.SPOOFED_SOURCE),
        (lambda came: error(ROUTER, EXTERNAL, ping(ALICE, EXTERNAL)), Drop.ICMP_UNRELATED),
        # nothing leaves for a private destination, whatever it quotes
        (lambda came: error(ALICE, "192.168.3.3", came), Drop.PRIVATE_DESTINATION),
        (lambda came: error(ALICE, BOB, came), Drop.PRIVATE_DESTINATION),
        (lambda came: error(ALICE, "127.0.0.1", came), Drop.PRIVATE_DESTINATION),
        # nor does one of our own kernel's, about a packet with a forged source
        (lambda came: error(ROUTER, "192.168.3.3", udp("192.168.3.3:1", f"{EXTERNAL}:1"), EXPIRED),
         Drop.PRIVATE_DESTINATION),
    ],
)  # fmt: skip
def test_errors_from_inside_that_are_dropped_and_never_answered(make, drop):
    """No error is ever sent about an error (RFC 1122, section 3.2.2)."""
    nat = Nat()
    (came,) = nat.outside(udp(WEB, source(nat.out(udp(PC, WEB)))))
    assert nat.inside(make(came)) == []
    assert nat.drop is drop
    assert nat.inside(error(ALICE, SERVER, came))  # the positive control


def test_our_own_kernels_error_about_a_packet_not_yet_translated():
    """A packet to us whose time to live ends here: a traceroute from outside shows one hop."""
    nat = Nat()
    probe = udp(WEB, f"{EXTERNAL}:33434", ttl=1)
    left = nat.out(error(ROUTER, SERVER, probe, EXPIRED))
    assert (IP(left).src, IP(left).dst) == (EXTERNAL, SERVER)
    assert quoted(left) == probe[:28]


def test_a_ping_that_had_just_enough_hops_to_get_here_is_answered():
    """Our kernel says that it has none left; but it was for us, and a router answers it."""
    nat = Nat()
    came = ping(SERVER, EXTERNAL, 77, ttl=1)
    (answer,) = nat.inside(error(ROUTER, SERVER, came, EXPIRED, quote=None))
    seen = IP(answer)
    assert (seen.src, seen.dst, seen[ICMP].type, seen[ICMP].id) == (EXTERNAL, SERVER, 0, 77)
    long = ping(SERVER, EXTERNAL, data=b"x" * 1000, ttl=1)  # not all of it is quoted
    (told,) = nat.inside(error(ROUTER, SERVER, long, EXPIRED, quote=548))
    assert IP(told)[ICMP].type == 11


@pytest.mark.parametrize("sender", [ALICE, "10.0.0.1", EXTERNAL])
def test_an_error_carries_nobodys_address_out_but_that_of_its_receiver(sender):
    """RFC 1122, section 3.2.2: it goes to whoever sent what it quotes."""
    nat = Nat(filtering=EI)
    nat.out(udp(f"{ALICE}:4000", f"{SERVER}:53"))
    for quotation in (udp("10.0.0.99:5", f"{ALICE}:4000"), udp("10.0.0.99:5", f"{EXTERNAL}:4000")):
        assert not nat.inside(error(sender, OTHER, quotation))
        assert nat.drop is Drop.ICMP_UNRELATED


# -- hairpinned errors ------------------------------------------------------------------------


@pytest.mark.parametrize("explicit", [False, True])
@pytest.mark.parametrize("make", [udp, tcp])
def test_a_hairpinned_error(make, explicit):
    """RFC 5508 REQ-7: from one inside host to another, and each sees only external endpoints."""
    nat = Nat(filtering=EI)
    if explicit:
        nat.add_rule(6 if make is tcp else 17, 53, f"{BOB}:53")
        external = f"{EXTERNAL}:53"
    else:
        external = source(nat.out(make(f"{BOB}:53", WEB)))
    question = make(PC, external)
    (came,) = nat.inside(question)
    assert destination(came) == f"{BOB}:53"
    (arrived,) = nat.inside(error(BOB, EXTERNAL, came))
    assert (IP(arrived).src, IP(arrived).dst) == (EXTERNAL, ALICE)
    assert quoted(arrived) == question[:28]


@pytest.mark.parametrize("explicit", [False, True])
@pytest.mark.parametrize("make", [udp, tcp])
def test_our_own_error_about_a_hairpinned_packet_reaches_its_sender(make, explicit):
    """The packet was too long for the receiver's link: path MTU discovery (RFC 1191) needs it."""
    nat = Nat(filtering=EI)
    if explicit:
        nat.add_rule(6 if make is tcp else 17, 53, f"{BOB}:53")
        external = f"{EXTERNAL}:53"
    else:
        external = source(nat.out(make(f"{BOB}:53", WEB)))
    question = make(PC, external)
    (came,) = nat.inside(question)
    # The kernel routes what it sends to our external address to the outside device.
    (arrived,) = nat.outside(error(ROUTER, EXTERNAL, came, TOO_BIG))
    assert (IP(arrived).src, IP(arrived).dst) == (ROUTER, ALICE)
    assert quoted(arrived) == question[:28]
    # The control: about a packet to an inside host that nobody sent.
    unrelated = make(f"{EXTERNAL}:77", f"{BOB}:53")
    assert not nat.outside(error(ROUTER, EXTERNAL, unrelated, TOO_BIG))
    assert nat.drop is Drop.ICMP_UNRELATED


# -- what an error does not do ----------------------------------------------------------------


@every_protocol
@every_error
def test_an_error_neither_ends_a_rule_nor_keeps_it_alive(about, kind):
    """RFC 4787 REQ-12; RFC 5382 REQ-9, REQ-10; RFC 5508 REQ-6."""
    nat = Nat()
    sent = nat.out(about)
    end = nat.translator.next_deadline()
    nat.wait(30)
    assert nat.outside(error(HOP, EXTERNAL, sent, kind))
    assert len(nat.rules) == 1
    nat.wait(end - nat.now - 0.001)
    assert nat.outside(error(HOP, EXTERNAL, sent, kind))
    nat.wait(0.001)
    assert not nat.rules


def test_an_error_about_an_established_connection_leaves_it_established():
    nat = Nat()
    external = nat.connect(PC, WEB)
    assert nat.outside(error(HOP, EXTERNAL, tcp(external, WEB, "A"), UNREACHABLE))
    assert nat.outside(tcp(WEB, external, "A", b"data"))
    nat.wait(7439)
    assert len(nat.rules) == 1
