"""A TCP connection's life at the translator, in virtual time (RFC 5382; RFC 7857, section 2)."""

import pytest

from napt_lab.nat_node.core import half_open
from napt_lab.nat_node.core.events import RuleEnded
from napt_lab.nat_node.core.tcp_state import TcpState, follow
from napt_lab.nat_node.core.verdict import Drop
from tests.packets import tcp
from tests.unit.nat_node.nat_testing import (
    ALICE,
    BEHAVIORS,
    EI,
    HOUR,
    MINUTE,
    OTHER,
    SERVER,
    Nat,
    source,
)

PC, WEB = f"{ALICE}:40000", f"{SERVER}:80"
IDLE, TRANSITORY, HOLD = 2 * HOUR + 4 * MINUTE, 4 * MINUTE, 4 * MINUTE
FLAGS = {"S": 2, "SA": 18, "A": 16, "PA": 24, "F": 1, "FA": 17, "R": 4, "RA": 20, "-": 0}


@pytest.mark.parametrize(
    ("segments", "state"),  # from the inside: ">S"; from the outside: "<S"
    [
        (">S", "OPENING_OUT"),
        (">S >S >S", "OPENING_OUT"),  # not answered, repeated
        (">S <SA", "ESTABLISHED"),
        (">S <S", "ESTABLISHED"),  # simultaneous open (RFC 5382 REQ-2)
        (">S <S >SA <SA", "ESTABLISHED"),
        ("<S", "OPENING_IN"),  # through an explicit rule
        ("<S >SA", "ANSWERED"),  # nobody knows yet whether the caller is who he says
        ("<S >SA >SA <S", "ANSWERED"),
        ("<S >SA <A", "ESTABLISHED"),
        ("<S >SA <PA >PA", "ESTABLISHED"),
        ("<S >SA >FA", "HALF_CLOSED_OUT"),
        ("<S >SA <FA", "HALF_CLOSED_IN"),
        ("<S >SA >R", "REFUSED"),
        ("<S >S", "ANSWERED"),  # simultaneous open, the other way round
        ("<S >S <SA", "ESTABLISHED"),
        (">S >A", "OPENING_OUT"),  # nothing came back
        (">S >F", "OPENING_OUT"),
        (">S <SA >A >PA <PA", "ESTABLISHED"),
        (">S <SA >A >S", "ESTABLISHED"),  # a late duplicate
        (">S <SA >A >FA", "HALF_CLOSED_OUT"),
        (">S <SA >A <FA", "HALF_CLOSED_IN"),
        (">S <SA >A >FA >FA", "HALF_CLOSED_OUT"),  # the same FIN again closes nothing
        (">S <SA >A >FA <PA <PA >A", "HALF_CLOSED_OUT"),  # data the other way goes on
        (">S <SA >A >FA <A <FA", "CLOSED"),
        (">S <SA >A <FA >FA", "CLOSED"),
        (">S <SA >A <FA >FA <A >A", "CLOSED"),
        (">S <SA >A <FA >FA >S", "OPENING_OUT"),  # the same ports used for the next one
        (">S <SA >A <FA >FA <S", "OPENING_IN"),
        (">S <SA >A <FA >FA <RA", "CLOSED"),  # a RST after the end changes nothing
        (">S <RA", "REFUSED"),
        (">S <RA <A", "REFUSED"),  # it was never established: there is nothing to come back to
        (">S <RA >S", "OPENING_OUT"),
        (">S <RA <SA", "REFUSED"),  # the outside alone brings nothing back to life
        (">S <RA <SA >A", "ESTABLISHED"),  # the inside does: the RST was forged
        ("<S >RA <SA <A", "REFUSED"),
        (">S <SA >A <R <SA", "RESET"),  # a SYN-ACK opens nothing
        (">S <SA >A <FA >FA <SA", "CLOSED"),
        ("<S >RA", "REFUSED"),
        ("<S >RA <S", "OPENING_IN"),
        (">S <SA >A <R", "RESET"),
        (">S <SA >A >R", "RESET"),
        (">S <SA >A <R >R <R", "RESET"),
        (">S <SA >A <R >PA", "ESTABLISHED"),  # the RST was forged: RFC 7857, section 2.2
        (">S <SA >A <R <PA", "ESTABLISHED"),
        (">S <SA >A <R >FA", "HALF_CLOSED_OUT"),
        (">S <SA >A <R >S", "OPENING_OUT"),
        # A host that lost power after one FIN uses its port again.
        (">S <SA >A >FA >S", "REOPENING_OUT"),
        (">S <SA >A <FA >S", "REOPENING_IN"),
        (">S <SA >A >FA >S <SA", "ESTABLISHED"),
        (">S <SA >A >FA >S <SA >A >FA", "HALF_CLOSED_OUT"),
        (">S <SA >A >FA >S <SA >A <FA >FA", "CLOSED"),
        (">S <SA >A <FA >S <SA >A >FA", "HALF_CLOSED_OUT"),
        (">S <SA >A <FA >S >S <SA >A <FA", "HALF_CLOSED_IN"),
        ("<S >SA <A >FA <S >SA <A <FA", "HALF_CLOSED_IN"),
        ("<S >SA <A <FA <S >SA <A >FA", "HALF_CLOSED_OUT"),
        # The SYN was forged, or a SYN-ACK came twice: the old connection goes on.
        (">S <SA >A >FA <S >A <FA", "CLOSED"),
        (">S <SA >A >FA <S >FA", "REOPENING_OUT"),  # the FIN comes again: the server goes on
        (">S <SA >A >FA <S >FA <PA >FA <FA", "CLOSED"),
        (">S <SA >A <FA >S <FA", "REOPENING_IN"),
        (">S <SA >A <FA <S <FA >FA", "CLOSED"),
        (">S <SA >A >FA >S >FA <SA", "ESTABLISHED"),
        (">S <SA >A >FA <SA <FA", "CLOSED"),
        (">S <SA >A >FA >S <R", "RESET"),
        (">S <SA >A >S <SA >FA", "HALF_CLOSED_OUT"),  # established: nothing to begin afresh
    ],
)
def test_states(segments, state):
    """The bare state machine, and the same through the whole translator."""
    first, *others = segments.split()
    nat = Nat()
    if first == ">S":
        now = TcpState.OPENING_OUT
        external = source(nat.out(tcp(PC, WEB, "S")))
    else:
        now = TcpState.OPENING_IN
        nat.add_rule(6, 8080, PC)
        external = "24.9.3.7:8080"
        assert nat.outside(tcp(WEB, external, "S"))
    for segment in others:
        outbound, flags = segment[0] == ">", segment[1:]
        now = follow(now, FLAGS[flags], outbound)
        passed = (
            nat.inside(tcp(PC, WEB, flags)) if outbound else nat.outside(tcp(WEB, external, flags))
        )
        assert len(passed) == 1
    assert now.name == state
    (session,) = nat.rules[0].sessions
    assert session.state.name == state


@pytest.mark.parametrize(
    ("segments", "silence"),
    [
        (">S", TRANSITORY),  # RFC 5382 REQ-5: partially open: at least 4 min
        (">S <SA", IDLE),  # RFC 5382 REQ-5: established: at least 2 h 4 min
        (">S <S", IDLE),
        (">S <SA >A >FA", IDLE),  # half-closed, and data may flow for long
        (">S <SA >A >FA <FA", HOLD),  # RFC 7857, section 2.1
        (">S <SA >A <R", HOLD),  # RFC 7857, section 2.2
        (">S <SA >A <R >A", IDLE),  # alive after all
        (">S <SA >A >FA <FA >S", TRANSITORY),
        (">S <SA >A >FA <S", IDLE),  # a forged SYN takes no time from a living connection
    ],
)
def test_how_long_silence_may_last(segments, silence):
    nat = Nat()
    for segment in segments.split():
        nat.now += 1
        if segment[0] == ">":
            external = source(nat.out(tcp(PC, WEB, segment[1:])))
        else:
            assert nat.outside(tcp(WEB, external, segment[1:]))
    nat.wait(silence - 0.001)
    assert len(nat.rules) == 1
    nat.wait(0.001)
    assert len(nat.rules) == 0
    assert nat.outside(tcp(WEB, external, "A")) == []
    assert nat.drop is Drop.NO_RULE
    assert nat.inside(tcp(PC, WEB, "A")) == []
    assert nat.drop is Drop.NO_CONNECTION


@pytest.mark.parametrize(
    ("segments", "silence"),
    [
        ("<S", TRANSITORY),
        ("<S >SA", TRANSITORY),  # not established: only one side has sent an ACK (RFC 5382, 5)
        ("<S >SA <A", IDLE),
    ],
)
def test_how_long_a_call_from_outside_may_be_silent(segments, silence):
    nat = Nat()
    nat.add_rule(6, 8080, PC)
    for segment in segments.split():
        nat.now += 1
        ends = (PC, WEB) if segment[0] == ">" else (WEB, "24.9.3.7:8080")
        assert (nat.inside if segment[0] == ">" else nat.outside)(tcp(*ends, segment[1:]))
    nat.wait(silence - 0.001)
    assert nat.sessions == 1
    nat.wait(0.001)
    assert nat.sessions == 0


@pytest.mark.parametrize("answer", ["", "SA", "RA"])
def test_a_flood_of_calls_leaves_the_host_its_own_connections(answer, monkeypatch):
    """However the inside answers them; and whoever does get through counts no longer."""
    monkeypatch.setattr(half_open, "LIMIT", 10)
    nat = Nat(filtering=EI, host_limit=100)
    external = nat.connect(PC, WEB)
    for port in range(1, 200):
        if nat.outside(tcp(f"{OTHER}:{port}", external, "S")) and answer:
            nat.out(tcp(PC, f"{OTHER}:{port}", answer))
    assert nat.drop is Drop.UNANSWERED
    assert nat.sessions == 11
    nat.connect(f"{ALICE}:40001", WEB)
    if answer == "SA":
        assert nat.outside(tcp(f"{OTHER}:1", external, "A"))
        assert nat.outside(tcp(f"{OTHER}:1000", external, "S"))
    nat.wait(HOLD)
    assert nat.outside(tcp(f"{OTHER}:2000", external, "S")), "the flood is over"


@pytest.mark.parametrize("sender", "><")
def test_use_from_either_side_keeps_a_connection(sender):
    nat = Nat()
    external = nat.connect(PC, WEB)
    for _ in range(10):
        nat.wait(2 * HOUR)
        assert (
            nat.inside(tcp(PC, WEB, "A")) if sender == ">" else nat.outside(tcp(WEB, external, "A"))
        )
    assert [rule.external[1] for rule in nat.rules] == [int(external.split(":")[1])]


@pytest.mark.parametrize(
    ("last", "again"),  # what ended it, and what the outside sends for ever
    [(">FA <FA", "A"), (">FA <FA", "FA"), ("<R", "R"), ("<FA >FA", "A")],
)
def test_from_outside_nobody_keeps_the_rule_of_a_connection_that_is_over(last, again):
    nat = Nat()
    external = nat.connect(PC, WEB)
    for segment in last.split():
        pass_on = nat.inside if segment[0] == ">" else nat.outside
        ends = (PC, WEB) if segment[0] == ">" else (WEB, external)
        assert pass_on(tcp(*ends, segment[1:]))
    for _ in range(4):
        assert nat.rules
        nat.outside(tcp(WEB, external, again))
        nat.wait(HOLD / 4)
    assert nat.rules == []


def test_a_refusal_keeps_no_rule_alive():
    """RFC 7857, section 7.1: an outbound RST that answers a call from outside refreshes nothing."""
    nat = Nat(filtering=EI, udp_idle=HOUR)
    external = source(nat.out(tcp(PC, WEB, "S")))
    nat.wait(TRANSITORY - 1)
    assert nat.outside(tcp(f"{SERVER}:9", external, "S"))
    nat.wait(100)
    nat.out(tcp(PC, f"{SERVER}:9", "RA"))
    nat.wait(HOLD - 100 - 1)
    assert nat.rules
    nat.wait(1)
    assert nat.rules == []


def why_ended(nat):
    return [event.why for event in nat.events if isinstance(event, RuleEnded)]


@pytest.mark.parametrize(
    ("segments", "why"),
    [(">FA <FA", "closed"), ("<FA >FA", "closed"), (">R", "reset"), ("<R", "reset"), ("", "idle")],
)
def test_a_rule_that_ends_says_why(segments, why):
    nat = Nat()
    external = nat.connect(PC, WEB)
    for segment in segments.split():
        assert (
            nat.inside(tcp(PC, WEB, segment[1:]))
            if segment[0] == ">"
            else nat.outside(tcp(WEB, external, segment[1:]))
        )
    nat.wait(IDLE)
    assert why_ended(nat) == [why]


def test_the_hold_is_a_setting_and_the_last_ack_still_passes():
    nat = Nat(closing_hold=1.0)
    external = nat.connect(PC, WEB)
    nat.out(tcp(PC, WEB, "FA"))
    nat.outside(tcp(WEB, external, "FA"))
    nat.wait(0.5)
    nat.out(tcp(PC, WEB, "A"))
    assert nat.outside(tcp(WEB, external, "FA"))  # repeated: the ACK got lost
    nat.wait(1.0)
    assert not nat.rules


def test_a_reset_connection_comes_back_to_life_in_full():
    """RFC 7857, section 2.2: data after a (forged) RST, and it lasts 2 h 4 min again."""
    nat = Nat()
    external = nat.connect(PC, WEB)
    assert nat.outside(tcp(WEB, external, "R"))
    nat.wait(HOLD - 1)
    nat.out(tcp(PC, WEB, "PA", b"still here"))
    nat.wait(IDLE - 1)
    assert nat.outside(tcp(WEB, external, "PA"))


@pytest.mark.parametrize("flags", ["A", "PA", "FA", "R", "RA", "SA", "SF", "SR", "", "FPU"])
@pytest.mark.parametrize("side", ["inside", "outside"])
def test_only_a_syn_opens(flags, side):
    nat = Nat()
    nat.add_rule(6, 8080, PC)
    if side == "inside":
        nat.inside(tcp(f"{ALICE}:5", WEB, flags))
    else:
        nat.outside(tcp(WEB, "24.9.3.7:8080", flags))
    assert nat.drop is Drop.NO_CONNECTION
    assert nat.sessions == 0


@pytest.mark.parametrize("flags", ["S", "SEC", "SP", "SU"])
def test_a_syn_opens_whatever_stands_beside_it(flags):
    """ECN is negotiated with ECE and CWR in the SYN (RFC 3168)."""
    nat = Nat()
    assert nat.out(tcp(PC, WEB, flags))


@pytest.mark.parametrize("mapping", BEHAVIORS)
def test_simultaneous_open(mapping):
    """RFC 5382 REQ-2: both sides send a SYN, and both are translated."""
    nat = Nat(mapping=mapping)
    external = source(nat.out(tcp(PC, WEB, "S")))
    assert nat.outside(tcp(WEB, external, "S"))
    nat.out(tcp(PC, WEB, "SA"))
    assert nat.outside(tcp(WEB, external, "SA"))
    nat.out(tcp(PC, WEB, "A", b"hello"))
    nat.wait(IDLE - 1)
    assert nat.outside(tcp(WEB, external, "A"))


def test_an_unsolicited_syn_is_dropped_in_silence_and_the_inside_may_dial_meanwhile():
    """RFC 5382 REQ-4: no answer to it for 6 s, so that hole punching works."""
    nat = Nat(ports=range(2000, 2001))
    nat.out(tcp(PC, f"{SERVER}:81", "S"))
    assert nat.outside(tcp(WEB, "24.9.3.7:2000", "S")) == []
    assert nat.drop is Drop.FILTERED
    nat.now += 3
    assert source(nat.out(tcp(PC, WEB, "S"))) == "24.9.3.7:2000"
    assert nat.outside(tcp(WEB, "24.9.3.7:2000", "S"))
