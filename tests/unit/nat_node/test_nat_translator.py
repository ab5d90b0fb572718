"""What happens to one packet: rows of (what arrives, from which side, what becomes of it)."""

import random

import pytest

from napt_lab.nat_node.core.behavior import parse_address
from napt_lab.nat_node.core.events import Dropped
from napt_lab.nat_node.core.verdict import Drop
from tests.packets import (
    error,
    fragments,
    ping,
    pong,
    set_bytes,
    tcp,
    udp,
    with_right_header_checksum,
)
from tests.unit.nat_node.nat_testing import (
    AD,
    ALICE,
    APD,
    BOB,
    EI,
    EXTERNAL,
    INSIDE,
    IP,
    OTHER,
    ROUTER,
    SERVER,
    Nat,
    assert_empty,
    quoted,
    show,
    source,
)

PC, WEB = f"{ALICE}:40000", f"{SERVER}:80"
OURS = f"{EXTERNAL}:2000"  # the external endpoint of PC: the pool has this port only
BOBS = f"{EXTERNAL}:8080"  # an explicit rule for tcp and udp, to BOB's port 80
SOURCE_ROUTES = (b"\x83\x07\x04" + bytes(4) + b"\0", b"\x01\x89\x07\x04" + bytes(4))
GRE = with_right_header_checksum(set_bytes(udp(PC, WEB), 9, b"\x2f"))


def nat_with_a_talk(**options):
    """PC talks with WEB in TCP and UDP, BOB has explicit rules."""
    nat = Nat(**{"ports": range(2000, 2001)} | options)
    nat.add_rule(6, 8080, f"{BOB}:80")
    nat.add_rule(17, 8080, f"{BOB}:80")
    nat.connect(PC, WEB)
    nat.out(udp(PC, WEB))
    return nat


@pytest.mark.parametrize(
    ("packet", "becomes"),
    [
        (udp(PC, WEB), f"udp {OURS} > {WEB}"),
        (tcp(PC, WEB, "A"), f"tcp {OURS} > {WEB}"),
        (udp(PC, f"{OTHER}:53"), f"udp {OURS} > {OTHER}:53"),  # endpoint-independent mapping
        (ping(ALICE, SERVER), f"icmp 8 {EXTERNAL} > {SERVER}"),
        (udp(PC, BOBS), f"udp {OURS} > {BOB}:80"),  # hairpinning: RFC 4787 REQ-9
        (tcp(PC, BOBS, "S"), f"tcp {OURS} > {BOB}:80"),
        (ping(ALICE, EXTERNAL), f"icmp 0 {EXTERNAL} > {ALICE}"),  # answered
        (udp(f"{BOB}:80", WEB), f"udp {BOBS} > {WEB}"),  # from an explicit rule's port
        (udp(PC, WEB, flags="DF"), f"udp {OURS} > {WEB}"),
        (udp(PC, WEB, options=b"\x94\x04\0\0"), f"udp {OURS} > {WEB}"),
        # private: means nothing outside
        (udp(PC, "10.0.0.9:53"), Drop.PRIVATE_DESTINATION),
        (udp(PC, "10.9.9.9:53"), Drop.PRIVATE_DESTINATION),
        (udp(PC, "172.16.0.1:53"), Drop.PRIVATE_DESTINATION),
        (udp(PC, "172.31.255.255:53"), Drop.PRIVATE_DESTINATION),
        (udp(PC, "172.32.0.1:53"), f"udp {OURS} > 172.32.0.1:53"),  # the first one beyond
        (udp(PC, "192.168.0.1:53"), Drop.PRIVATE_DESTINATION),
        (tcp(PC, "192.168.0.1:80"), Drop.PRIVATE_DESTINATION),
        (ping(ALICE, "192.168.0.1"), Drop.PRIVATE_DESTINATION),
        (udp(PC, "127.0.0.1:53"), Drop.PRIVATE_DESTINATION),
        (udp(PC, "169.254.1.1:53"), Drop.PRIVATE_DESTINATION),
        (udp(PC, "224.0.0.251:5353"), Drop.PRIVATE_DESTINATION),
        (udp(PC, "255.255.255.255:67"), Drop.PRIVATE_DESTINATION),
        (udp(PC, "0.0.0.0:53"), Drop.PRIVATE_DESTINATION),
        (tcp(PC, WEB[:-3] + ":81", "A"), Drop.NO_CONNECTION),
        # sources that cannot come from the inside
        (udp("10.0.0.0:1", WEB), Drop.SPOOFED_SOURCE),
        (udp("10.0.0.255:1", WEB), Drop.SPOOFED_SOURCE),
        (udp("10.0.1.7:1", WEB), Drop.SPOOFED_SOURCE),
        (udp("192.168.0.7:1", WEB), Drop.SPOOFED_SOURCE),
        (udp(f"{OTHER}:1", WEB), Drop.SPOOFED_SOURCE),
        (udp(f"{EXTERNAL}:2000", WEB), Drop.SPOOFED_SOURCE),
        (udp("127.0.0.1:1", WEB), Drop.SPOOFED_SOURCE),
        (ping(OTHER, SERVER), Drop.SPOOFED_SOURCE),
        # what a NAPT does not translate
        (GRE, Drop.UNSUPPORTED_PROTOCOL),
        (pong(ALICE, SERVER), Drop.ICMP_UNSUPPORTED),
        (ping(ALICE, SERVER, kind=15), Drop.ICMP_UNSUPPORTED),
        (fragments(ping(ALICE, EXTERNAL, data=b"x" * 99), 48)[0], f"icmp 0 {EXTERNAL} > {ALICE}"),
        *((udp(PC, WEB, options=route), Drop.SOURCE_ROUTED) for route in SOURCE_ROUTES),
        # a full pool, and no packet at all
        (udp(f"{ALICE}:1", WEB), Drop.PORTS_EXHAUSTED),
        (b"\x45", Drop.MALFORMED),
    ],
)
def test_from_the_inside(packet, becomes):
    nat = nat_with_a_talk()
    judge(nat, nat.inside(packet), becomes)


@pytest.mark.parametrize(
    ("packet", "becomes"),
    [
        (udp(WEB, OURS), f"udp {WEB} > {PC}"),
        (tcp(WEB, OURS, "A"), f"tcp {WEB} > {PC}"),
        (udp(f"{OTHER}:9", BOBS), f"udp {OTHER}:9 > {BOB}:80"),  # an explicit rule invites all
        (tcp(f"{OTHER}:9", BOBS, "S"), f"tcp {OTHER}:9 > {BOB}:80"),
        (ping(SERVER, EXTERNAL), f"icmp 0 {EXTERNAL} > {SERVER}"),  # answered
        (udp(f"{SERVER}:81", OURS), Drop.FILTERED),
        (udp(f"{OTHER}:80", OURS), Drop.FILTERED),
        (tcp(f"{OTHER}:80", OURS, "S"), Drop.FILTERED),
        (udp(WEB, f"{EXTERNAL}:2001"), Drop.NO_RULE),
        (tcp(WEB, f"{EXTERNAL}:80", "S"), Drop.NO_RULE),
        (tcp(f"{OTHER}:9", BOBS, "A"), Drop.NO_CONNECTION),
        # not for us
        (udp(WEB, "24.9.3.8:2000"), Drop.NOT_FOR_US),
        (udp(WEB, PC), Drop.NOT_FOR_US),  # the inside's own address, as if there were no NAPT
        (ping(SERVER, ALICE), Drop.NOT_FOR_US),
        (udp(WEB, f"{ROUTER}:53"), Drop.NOT_FOR_US),
        (udp(WEB, "255.255.255.255:2000"), Drop.NOT_FOR_US),
        # sources that cannot come from outside
        (udp("10.0.0.8:80", BOBS), Drop.SPOOFED_SOURCE),
        (udp("10.0.0.1:80", BOBS), Drop.SPOOFED_SOURCE),
        (tcp("192.168.0.7:80", BOBS), Drop.SPOOFED_SOURCE),
        (udp(f"{EXTERNAL}:80", BOBS), Drop.SPOOFED_SOURCE),
        (udp("127.0.0.1:80", BOBS), Drop.SPOOFED_SOURCE),
        (udp("0.0.0.0:80", BOBS), Drop.SPOOFED_SOURCE),
        (udp("224.0.0.1:80", BOBS), Drop.SPOOFED_SOURCE),
        (ping("10.0.0.8", EXTERNAL), Drop.SPOOFED_SOURCE),
        (ping("255.255.255.255", EXTERNAL), Drop.SPOOFED_SOURCE),
        # what a NAPT does not translate
        (with_right_header_checksum(set_bytes(udp(WEB, OURS), 9, b"\x2f")),
         Drop.UNSUPPORTED_PROTOCOL),
        (ping(SERVER, EXTERNAL, kind=17), Drop.ICMP_UNSUPPORTED),
        (fragments(ping(SERVER, EXTERNAL, data=b"x" * 99), 48)[0],
         f"icmp 0 {EXTERNAL} > {SERVER}"),
        *((udp(WEB, OURS, options=route), Drop.SOURCE_ROUTED) for route in SOURCE_ROUTES),
        (udp(WEB, OURS)[:-1], Drop.MALFORMED),
    ],
)  # fmt: skip
def test_from_the_outside(packet, becomes):
    nat = nat_with_a_talk()
    judge(nat, nat.outside(packet), becomes)


def judge(nat, sent, becomes):
    if isinstance(becomes, Drop):
        assert nat.drop is becomes
        assert nat.translator.drops == {becomes: 1}
        assert all(show(packet).startswith("icmp 3") for packet in sent)
        (event,) = (event for event in nat.events if isinstance(event, Dropped))
        assert event.reason is becomes
    else:
        assert nat.drop is None
        assert [show(packet) for packet in sent] == [becomes]


# -- hairpinning ------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [udp, tcp])
def test_hairpinning_shows_the_external_source_and_the_answer_finds_its_way(make):
    """RFC 4787 REQ-9 a; RFC 5382 REQ-8: the receiver sees the sender's external endpoint."""
    nat = Nat(filtering=EI)
    alices = source(nat.out(make(PC, WEB)))
    bobs = source(nat.out(make(f"{BOB}:53", WEB)))
    (came,) = nat.inside(make(PC, bobs))
    assert show(came).split()[1:] == [alices, ">", f"{BOB}:53"]
    answer = tcp(f"{BOB}:53", alices, "SA") if make is tcp else udp(f"{BOB}:53", alices)
    (back,) = nat.inside(answer)
    assert show(back).split()[1:] == [bobs, ">", PC]


@pytest.mark.parametrize("filtering", [EI, AD, APD])
def test_hairpinned_packets_are_filtered_like_all_others(filtering):
    nat = Nat(filtering=filtering)
    bobs = source(nat.out(udp(f"{BOB}:53", WEB)))
    assert bool(nat.inside(udp(PC, bobs))) == (filtering is EI)
    alices = f"{EXTERNAL}:{nat.rules[1].external[1]}"
    # Once BOB has sent there, ALICE is admitted: hole punching within one site.
    nat.inside(udp(f"{BOB}:53", alices))
    assert nat.inside(udp(PC, bobs))


@pytest.mark.parametrize("behavior", [AD, APD])
@pytest.mark.parametrize("seed", range(4))
def test_a_hairpinned_packet_does_not_come_back_to_its_sender(behavior, seed):
    """Of two ports the receiver's is free for another remote endpoint, but is the wrong one."""
    nat = Nat(seed, mapping=behavior, filtering=behavior, ports=range(5000, 5002))
    bobs = source(nat.out(udp(f"{BOB}:53", WEB)))
    assert nat.inside(udp(PC, bobs)) == []
    assert nat.drop in {Drop.FILTERED, Drop.NO_RULE}


def test_hairpinning_can_be_switched_off():
    nat = nat_with_a_talk(hairpinning=False)
    assert nat.inside(tcp(PC, BOBS)) == []
    assert nat.drop is Drop.HAIRPINNING_OFF
    assert nat.inside(ping(ALICE, EXTERNAL))  # that is for ourselves, and goes nowhere
    assert nat.outside(tcp(WEB, BOBS))  # the positive control


def test_a_host_reaches_itself_by_its_external_endpoint():
    nat = nat_with_a_talk()
    (came,) = nat.inside(udp(f"{BOB}:80", BOBS))
    assert show(came) == f"udp {BOBS} > {BOB}:80"


@pytest.mark.parametrize("busy", [ALICE, BOB])
def test_a_hairpinned_packet_that_is_refused_is_spoken_of_as_it_came(busy):
    """Whether the sender or the receiver has too many sessions."""
    nat = Nat(host_limit=2)
    nat.add_rule(6, 8080, f"{BOB}:80")
    for port in (1, 2):
        nat.inside(tcp(f"{busy}:{port}", WEB))
    refused = tcp(PC, BOBS)
    (told,) = nat.inside(refused)
    assert (nat.drop, IP(told).dst, quoted(told)) == (Drop.HOST_LIMIT, ALICE, refused)
    assert nat.events[-1].packet == f"tcp SYN {PC} > {BOBS}"


# -- time -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sender", "kept"),
    [
        ("inside", True),  # RFC 4787 REQ-6: outbound refresh
        ("outside", False),  # no inbound refresh: an attacker would keep a rule open for ever
    ],
)
def test_udp_is_refreshed_by_the_inside_only(sender, kept):
    nat = Nat(udp_idle=300)
    external = source(nat.out(udp(PC, WEB)))
    for _ in range(3):
        nat.wait(90)
        if sender == "inside":
            nat.out(udp(PC, WEB))
        else:
            assert nat.outside(udp(WEB, external))
    nat.wait(31)
    assert bool(nat.outside(udp(WEB, external))) == kept


def test_each_remote_endpoint_is_admitted_for_its_own_time():
    """One rule, two sessions: the filter forgets the one that is not used."""
    nat = Nat(udp_idle=300)
    external = source(nat.out(udp(PC, WEB)))
    nat.wait(200)
    assert source(nat.out(udp(PC, f"{OTHER}:53"))) == external
    nat.wait(100)
    assert nat.outside(udp(WEB, external)) == []
    assert nat.drop is Drop.FILTERED
    assert nat.outside(udp(f"{OTHER}:53", external))
    nat.wait(200)
    assert nat.outside(udp(f"{OTHER}:53", external)) == []
    assert nat.drop is Drop.NO_RULE


def test_an_address_is_admitted_while_one_of_its_sessions_lives():
    nat = Nat(filtering=AD, udp_idle=300)
    external = source(nat.out(udp(PC, f"{SERVER}:1")))
    nat.wait(200)
    nat.out(udp(PC, f"{SERVER}:2"))
    nat.wait(150)
    assert nat.sessions == 1
    assert nat.outside(udp(f"{SERVER}:3", external))
    nat.wait(200)
    assert nat.outside(udp(f"{SERVER}:3", external)) == []


def test_a_flush_leaves_only_explicit_rules():
    nat = nat_with_a_talk()
    assert nat.outside(tcp(f"{OTHER}:5", BOBS))  # a session of an explicit rule
    assert nat.translator.flush() == 3
    assert nat.sessions == 0
    assert all(rule.explicit for rule in nat.rules)
    assert nat.outside(udp(WEB, OURS)) == []
    assert nat.drop is Drop.NO_RULE
    assert nat.outside(tcp(f"{OTHER}:5", BOBS, "A")) == []
    assert nat.drop is Drop.NO_CONNECTION
    assert nat.translator.flush() == 0


def test_without_a_watcher_it_does_the_same():
    nat = Nat()
    nat.translator.watchers.notify = None
    assert nat.inside(b"\x45") == []
    assert nat.drop is Drop.MALFORMED
    nat.add_rule(6, 8080, f"{BOB}:80")
    assert nat.outside(tcp(WEB, BOBS))
    nat.remove_rule(6, 8080)
    assert nat.outside(tcp(WEB, BOBS)) == []
    assert nat.drop is Drop.NO_RULE
    assert not nat.events


# -- limits -----------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [udp, tcp])
def test_one_host_cannot_starve_the_others(make):
    nat = Nat(host_limit=5)
    for port in range(1, 10):
        nat.inside(make(f"{ALICE}:{port}", WEB))
    assert nat.drop is Drop.HOST_LIMIT
    assert len(nat.rules) == 5
    assert nat.out(make(f"{BOB}:1", WEB))
    assert nat.out(make(f"{ALICE}:5", WEB))  # the living are not disturbed


@pytest.mark.parametrize("behavior", [EI, APD])
@pytest.mark.parametrize("make", [tcp, udp])
def test_by_default_one_host_cannot_take_every_port(make, behavior):
    """Not even with SYNs that are never answered, each of which keeps its port for 4 minutes."""
    translator = Nat(mapping=behavior, filtering=behavior).translator

    templates = {host: make(f"{host}:1", WEB) for host in (ALICE, BOB)}

    def send(host, port):
        packet = bytearray(templates[host])  # scapy takes long to make so many
        packet[20:22] = port.to_bytes(2, "big")
        return translator.receive(packet, INSIDE, 1000.0)

    for port in range(1, 20_000):  # a limit that holds for thousands holds for the rest
        last = send(ALICE, port)
    assert last.drop is Drop.HOST_LIMIT
    assert len(translator.table) == 16_384
    assert send(BOB, 1).drop is None
    assert len(translator.settings.ports) - len(translator.table) > 48_000  # left for the others


def test_the_table_is_bounded():
    nat = Nat(session_limit=5)
    for port in range(1, 10):
        nat.inside(udp(f"10.0.0.{port + 1}:1", WEB))
    assert nat.drop is Drop.TABLE_FULL
    assert (len(nat.rules), nat.sessions) == (5, 5)
    nat.wait(300)
    assert nat.out(udp(PC, WEB))


def test_a_flood_of_syns_to_an_explicit_rule_is_bounded_and_ends():
    nat = Nat(host_limit=20)
    nat.add_rule(6, 8080, f"{BOB}:80")
    for port in range(1, 100):
        nat.outside(tcp(f"{OTHER}:{port}", BOBS))
    assert nat.sessions == 5  # a quarter of what BOB may have
    assert nat.out(udp(PC, WEB))  # ALICE does not notice
    assert nat.out(udp(f"{BOB}:5000", WEB))  # nor does BOB, who dials out
    nat.wait(240)
    assert nat.outside(tcp(WEB, BOBS))


# -- a NAPT behind a NAPT ---------------------------------------------------------------------


def test_a_private_external_address_makes_private_destinations_ordinary():
    nat = Nat(external=parse_address("192.168.1.2"))
    verdict = nat.translator.receive(bytearray(udp(PC, "192.168.1.9:53")), INSIDE, nat.now)
    (sent,) = verdict.packets
    assert show(bytes(sent.data)).endswith("> 192.168.1.9:53")
    for there in ("10.0.0.9:53", "127.0.0.1:53"):  # but never our own inside, nor loopback
        nat.inside(udp(PC, there))
        assert nat.drop is Drop.PRIVATE_DESTINATION


# -- no leak ----------------------------------------------------------------------------------


@pytest.mark.parametrize(("mapping", "filtering"), [(EI, EI), (EI, APD), (AD, AD), (APD, APD)])
def test_a_day_of_random_traffic_leaves_nothing(mapping, filtering):
    """24 hours of virtual time: at its end the table is empty, and so is every counter and heap."""
    chance = random.Random(f"{mapping}{filtering}")
    nat = Nat(mapping=mapping, filtering=filtering, ports=range(2000, 2050), host_limit=60)
    hosts = [f"10.0.0.{n}" for n in range(2, 7)]
    remotes = [f"{SERVER}:80", f"{SERVER}:81", f"{OTHER}:80", f"{OTHER}:53"]
    made, end = 0, nat.now + 24 * 3600
    while nat.now < end:
        nat.wait(chance.choice([0, 1, 10, 60, 900]))
        host, remote = f"{chance.choice(hosts)}:{chance.randrange(1, 40)}", chance.choice(remotes)
        external = f"{EXTERNAL}:{chance.randrange(2000, 2050)}"
        flags = chance.choice(["S", "S", "SA", "A", "FA", "R"])
        match chance.randrange(7):
            case 0 | 1:
                nat.inside(tcp(host, remote, flags))
            case 2:
                nat.outside(tcp(remote, external, flags))
            case 3:
                nat.inside(udp(host, remote))
            case 4:
                nat.outside(udp(remote, external))
            case 5:
                nat.inside(ping(host.split(":")[0], remote.split(":")[0], chance.randrange(99)))
            case 6:
                for piece in chance.sample(fragments(udp(host, remote, b"x" * 99), 24, 48), 2):
                    nat.inside(piece)
        made = max(made, len(nat.rules))
    assert made > 3
    nat.wait(3 * 3600)
    assert_empty(nat.translator)


def test_an_error_cannot_make_a_rule():
    nat = Nat()
    nat.inside(error(ALICE, SERVER, udp(WEB, PC)))
    nat.outside(error(SERVER, EXTERNAL, udp(OURS, WEB)))
    assert_empty(nat.translator)


def test_a_dial_that_nobody_answers_is_not_kept_alive_from_outside():
    nat = Nat()
    ours = source(nat.out(tcp(PC, WEB, "S")))
    for _ in range(3):
        nat.wait(200)
        nat.outside(tcp(WEB, ours, "A"))
    assert not nat.rules


def test_a_translator_whose_events_are_not_followed_decides_the_same():
    """A daemon without clients sets no `notify`."""
    followed, alone = Nat(), Nat()
    alone.translator.watchers.notify = None
    for nat in (followed, alone):
        rule = nat.add_rule(6, 8080, f"{ALICE}:80")
        assert nat.inside(b"\x45") == []
        assert nat.drop is Drop.MALFORMED
        assert nat.outside(udp(f"{SERVER}:53", f"{EXTERNAL}:4000")) == []
        assert nat.drop is Drop.NO_RULE
        assert show(nat.outside(tcp(f"{SERVER}:9", f"{EXTERNAL}:8080"))[0]).endswith(f"{ALICE}:80")
        assert nat.translator.remove_rule(6, (0, 8080), nat.now) is rule
    assert followed.events
    assert alone.events == []
    assert alone.translator.drops == followed.translator.drops
