"""Parts of the checks that need no network: STUN, time to wait, and a packet's path."""

from __future__ import annotations

import socket
import threading
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from napt_lab.labs.capture.packets import ACK, PSH, RST, Packet
from napt_lab.labs.capture.wire import Captured
from napt_lab.labs.check import mapping_filtering, run, stun_binding, tcp_side
from napt_lab.labs.check.diagnosis import End
from napt_lab.labs.check.keeping import KeptConnection, has_answered_keep_alive
from napt_lab.labs.check.outcome import CannotTell, Evidence, Unmet
from napt_lab.labs.check.reaching import require_end
from napt_lab.labs.check.tcp_side import TcpSide
from napt_lab.labs.check.trail import Trail, classify
from napt_lab.labs.check.vantage import Vanished
from napt_lab.labs.verdict.verdicts import Verdict
from napt_lab.topologies.spec.assertions import Via
from napt_lab.topologies.spec.loader import loads
from napt_lab.topologies.spec.napt_settings import Behavior

TRANSACTION = bytes(range(12))


def test_a_binding_request_is_answered_with_its_source():
    answer = stun_binding.answer(stun_binding.request(TRANSACTION), ("24.9.3.7", 40001))
    assert stun_binding.mapped(answer, TRANSACTION) == ("24.9.3.7", 40001)
    assert bytes([24, 9, 3, 7]) not in answer  # lest a NAPT rewrites it
    assert stun_binding.mapped(answer, bytes(12)) is None
    assert stun_binding.answer(answer, ("24.9.3.7", 40001)) is None


@pytest.mark.parametrize("cut", range(32))
def test_what_is_cut_off_is_no_answer(cut):
    answer = stun_binding.answer(stun_binding.request(TRANSACTION), ("24.9.3.7", 40001))
    assert stun_binding.mapped(answer[:cut], TRANSACTION) is None
    assert (
        stun_binding.answer(stun_binding.request(TRANSACTION)[: min(cut, 19)], ("24.9.3.7", 1))
        is None
    )


def expectation(wait):
    text = (
        "internet: {a: 198.51.100.2, b: 198.51.100.3}\n"
        f"expect: [{{check: a reaches b, wait: {wait}}}]\n"
    )
    return loads(text.encode(), Path("t.yaml")).expect[0]


@pytest.mark.parametrize(
    ("wait", "verdicts", "outcome", "tries"),
    [
        ("0s", ["failed", "passed"], "failed", 1),
        ("1m", ["failed", "error", "passed"], "passed", 3),
        ("0.01s", ["failed", "error", "passed"], "error", 2),
    ],
)
def test_an_assertion_may_take_its_time_and_no_longer(monkeypatch, wait, verdicts, outcome, tries):
    monkeypatch.setattr(run, "PAUSE", 0.02)
    coming = iter(verdicts)
    monkeypatch.setattr(run, "_try", lambda *_: (Verdict(next(coming)), ["seen"], False))
    ground: Any = SimpleNamespace(stopped=threading.Event())
    assert run._check(ground, None, expectation(wait), {}).verdict == outcome
    assert len(list(coming)) == len(verdicts) - tries


@pytest.mark.parametrize(
    ("verdicts", "outcome", "tries"),
    [
        (["failed", "error", "passed"], "passed", 3),
        (["error"] * 20, "error", run.CHANCES),
        (["failed"] * 20, "failed", run.CHANCES),
    ],
)
def test_what_is_so_by_chance_is_tried_again(monkeypatch, verdicts, outcome, tries):
    made = []

    def one_try(*_):
        made.append(Verdict(verdicts[len(made)]))
        return made[-1], ["seen"], made[-1] is not Verdict.PASSED

    monkeypatch.setattr(run, "_try", one_try)
    ground: Any = SimpleNamespace(stopped=threading.Event())
    told = run._check(ground, None, expectation("0s"), {})
    assert (told.verdict, len(made)) == (outcome, tries)
    assert told.evidence == (f"seen (so in {tries} tries)" if outcome != "passed" else "seen",)


def test_chances_that_are_used_up_stay_so(monkeypatch):
    """While it may still come to hold it is tried with pauses, as without a loss."""
    pauses: list[float] = []

    def wait(seconds):
        pauses.append(seconds)
        return len(pauses) > 20

    stopped = SimpleNamespace(wait=wait)
    monkeypatch.setattr(run, "_try", lambda *_: (Verdict.ERROR, ["seen"], True))
    ground: Any = SimpleNamespace(stopped=stopped)
    run._check(ground, None, expectation("1m"), {})
    assert pauses == [0] * (run.CHANCES - 1) + [run.PAUSE] * (22 - run.CHANCES)


def seen(where, outgoing, source, destination, sequence=1):
    packet = Packet(
        source=source, destination=destination, protocol="tcp", source_port=5,
        destination_port=80, flags=PSH | ACK, sequence=sequence, payload=9,
    )  # fmt: skip
    captured = Captured(where, 0, outgoing, 60, b"")
    captured._packet = packet
    return captured


LEFT = seen("pc:eth0", True, "10.0.0.7", "24.9.3.7")
PATHS = {
    Via.DIRECT: [
        seen("napt:lan0", False, "10.0.0.7", "24.9.3.7"),
        seen("napt:wan0", True, "198.51.100.9", "24.9.3.7"),
        seen("b:eth0", False, "198.51.100.9", "24.9.3.7"),
    ],
    Via.FORWARDED: [
        seen("napt:wan0", False, "10.0.0.7", "24.9.3.7"),
        seen("napt:lan0", True, "10.0.0.7", "10.0.0.8"),
        seen("b:eth0", False, "10.0.0.7", "10.0.0.8"),
    ],
    Via.HAIRPINNED: [
        seen("napt:lan0", False, "10.0.0.7", "24.9.3.7"),
        seen("napt:lan0", True, "24.9.3.7", "10.0.0.8"),
        seen("b:eth0", False, "24.9.3.7", "10.0.0.8"),
    ],
    Via.PROXIED: [
        seen("proxy:lan0", False, "10.0.0.7", "24.9.3.7"),
        seen("proxy:wan0", True, "198.51.100.9", "24.9.3.7", sequence=2),
        seen("b:eth0", False, "198.51.100.9", "24.9.3.7", sequence=2),
    ],
}


@pytest.mark.parametrize("via", PATHS)
def test_the_kind_of_a_path_follows_from_what_was_rewritten(via):
    trail = Trail((LEFT, *PATHS[via]))
    found, nodes, shown = classify("pc", "b", trail)
    assert found is via
    made_by = {Via.DIRECT: [], Via.PROXIED: ["proxy"]}
    assert nodes == made_by.get(via, ["napt"])
    assert shown[0].startswith("pc:eth0: 10.0.0.7:5")


def test_a_packet_that_is_not_seen_at_both_ends_has_no_path():
    with pytest.raises(CannotTell):
        classify("pc", "b", Trail((LEFT,)))


def segment(outgoing, flags, sequence, acknowledgment, payload=0):
    captured = Captured("pc:eth0", 0, outgoing, 60, b"")
    captured._packet = Packet(
        protocol="tcp", flags=flags, sequence=sequence, acknowledgment=acknowledgment,
        payload=payload,
    )  # fmt: skip
    return captured


KEEP_ALIVE = segment(True, ACK, 999, 70)  # its next sequence number would be 1000
ANSWER = segment(False, ACK, 70, 1000)
PUSHED = segment(False, PSH | ACK, 70, 1000, payload=9)  # the other end speaks by itself
PUSHED_ACKED = segment(True, ACK, 1000, 79)
OTHERS_KEEP_ALIVE = segment(False, ACK, 69, 1000)


@pytest.mark.parametrize(
    ("came", "answered"),
    [
        ([KEEP_ALIVE, ANSWER], True),
        ([PUSHED, PUSHED_ACKED, KEEP_ALIVE, ANSWER], True),
        ([segment(True, ACK, 2**32 - 1, 70), segment(False, ACK, 70, 0)], True),
        ([segment(True, ACK, 999, 2**32 - 1), segment(False, ACK, 2**32 - 1, 1000)], True),
        ([segment(True, ACK, 999, 2**32 - 1), segment(False, ACK, 8, 1000)], True),
        ([KEEP_ALIVE, PUSHED, segment(False, ACK, 79, 1000)], True),  # it spoke at the same time
        ([OTHERS_KEEP_ALIVE, KEEP_ALIVE, ANSWER], True),
        ([KEEP_ALIVE], False),
        ([ANSWER, KEEP_ALIVE], False),  # it answers something else
        ([KEEP_ALIVE, PUSHED, PUSHED_ACKED], False),  # that is one direction only
        ([KEEP_ALIVE, OTHERS_KEEP_ALIVE], False),  # one direction as well
        ([segment(True, ACK, 999, 0), segment(False, ACK, 2**32 - 1, 1000)], False),
        ([PUSHED, segment(True, ACK, 999, 79), segment(False, ACK, 78, 1000)], False),
        ([PUSHED, PUSHED_ACKED, ANSWER], False),  # no keep-alive was sent
        ([KEEP_ALIVE, segment(False, RST | ACK, 70, 1000)], False),
    ],
)
def test_only_the_ack_of_a_keep_alive_answers_it(came, answered):
    assert has_answered_keep_alive(came) is answered


@pytest.mark.parametrize(
    ("reason", "at", "expected"),
    [("no-rule", None, "no-rule"), (None, "b", "at b"), ("no-rule", "b", "no-rule at b")],
)
def test_what_was_expected_is_only_what_the_sentence_says(reason, at, expected):
    ground: Any = SimpleNamespace(net=[])
    claim: Any = SimpleNamespace(reason=reason, at=at)
    with pytest.raises(Unmet, match=rf"because of no-route at a; expected: {expected}$"):
        require_end(ground, claim, [End("no-route", "a", ())])
    claim.reason, claim.at = "no-route", None
    require_end(ground, claim, [End("no-route", "a", ())])


class OneWay:
    """The public node's end of a connection on which nothing comes from the host any more."""

    def __init__(self, end, nothing):
        self.sendall, self.recv, self.fileno = end.sendall, end.recv, nothing.fileno


@pytest.mark.parametrize("is_cut", [False, True])
def test_a_host_is_answered_if_both_directions_carry(monkeypatch, is_cut):
    monkeypatch.setattr(tcp_side, "PATIENCE", 0.05)
    host, node = socket.socketpair()
    nothing, other = socket.socketpair()
    with closing(host), closing(node), closing(nothing), closing(other):
        side: Any = TcpSide.__new__(TcpSide)
        side._asking, side._answering = host, OneWay(node, nothing) if is_cut else node
        assert side.still_answered() is not is_cut


def test_what_a_try_of_filtering_has_seen_is_forgotten_if_it_is_made_again():
    spots: Any = [SimpleNamespace(endpoint=("198.51.100.2", port), node="a") for port in range(4)]
    inside = SimpleNamespace(node="pc", endpoint=("10.0.0.7", 5))
    asked = []

    def seen_as(_inside, _outside):
        asked.append(("24.9.3.7", 40_000 + len(asked)))
        return asked[-1]

    def fate(_sender, _to, receiver):
        if len(asked) == 1:
            raise Vanished("gone")
        return receiver.endpoint, ""

    around: Any = SimpleNamespace(four=spots, inside=lambda _: [inside], seen_as=seen_as, fate=fate)
    evidence = Evidence()
    evidence.add("known before")
    found = mapping_filtering._filtering(around, evidence)
    assert found is Behavior.ENDPOINT_INDEPENDENT
    assert evidence.lines[0] == "known before"
    assert len(evidence.lines) == 5
    assert not [line for line in evidence.lines if "40000" in line]


class WithoutRights:
    """A socket of a process that may not use TCP_REPAIR."""

    def setsockopt(self, *_):
        raise PermissionError(1, "Operation not permitted")


def test_a_keep_alive_that_the_kernel_refuses_says_nothing_about_the_connection():
    kept: Any = object.__new__(KeptConnection)
    kept._sock = WithoutRights()
    with pytest.raises(CannotTell, match="refuses to send a keep-alive"):
        kept._send_keep_alive()
