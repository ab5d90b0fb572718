"""Level 9e: what is counted on the wires, and its part of all pairs."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from napt_lab.labs.capture.packets import Packet, decode_ipv4
from napt_lab.labs.capture.wire import Captured
from napt_lab.labs.level_9e import checks, pairs
from napt_lab.labs.matrix.cell import Cell, Result
from napt_lab.labs.matrix.napt_types import chosen
from napt_lab.labs.matrix.prediction import Method, Way
from napt_lab.labs.stage.steps import Claim
from tests.packets import tcp

SYMMETRIC, OPEN = chosen("symmetric,full-cone", None)[0]


def play(monkeypatch, *results):
    """The answers and the checks of the step."""
    answers: list[Any] = []
    checks: list[dict[str, Any]] = []
    stream: Any = SimpleNamespace(emit=lambda _, **fields: checks.append(fields))
    stage: Any = SimpleNamespace(
        net=None,
        wire=None,
        see=lambda *_: None,
        answer=lambda *answer: answers.append(answer),
        claim=lambda *words: Claim(stream, *words),
    )
    monkeypatch.setattr(pairs, "Ground", lambda *_: None)
    monkeypatch.setattr(pairs, "try_cells", lambda *_: list(results))
    pairs.all_pairs(stage)
    return answers, checks


def result(a, b, way, *evidence, trouble=""):
    return Result(Cell(Method.UDP, a, b), way, evidence, 0.0, trouble)


FAILS = result(SYMMETRIC, SYMMETRIC, Way.FAILS, "napt_b dropped it: filtered")


def test_a_pair_that_could_not_be_tried_leaves_the_question_open(monkeypatch):
    lost = result(OPEN, SYMMETRIC, None, trouble="the control failed")
    answers, (predicted, dropped) = play(monkeypatch, FAILS, lost)
    assert answers == []
    assert predicted["broken"]
    assert predicted["evidence"][-1].endswith("full-cone with symmetric: the control failed")
    assert dropped["passed"]


def test_the_answer_is_how_many_pairs_fail(monkeypatch):
    direct = result(OPEN, SYMMETRIC, Way.DIRECT)
    answers, checks = play(monkeypatch, FAILS, direct)
    assert answers == [(1, "symmetric with symmetric")]
    assert all(check["passed"] for check in checks)


@pytest.mark.parametrize("seen", [Way.FAILS, None])
def test_the_columns_of_the_grid_stand_below_their_names(seen):
    rows = [(a, b) for a in (SYMMETRIC, OPEN) for b in (SYMMETRIC, OPEN)]
    assert pairs.grid([result(a, b, seen if a is b else Way.DIRECT) for a, b in rows]) == [
        "           symmetric  full",
        f"symmetric  {str(seen or '?').ljust(9)}  direct",
        f"full       direct     {seen or '?'}",
    ]


def datagram(seconds, source, destination, data, payload=0):
    captured = Captured("napt_b:wan0", int(seconds * 1e9), True, 60, b"")
    captured._packet = Packet(
        raw=b"\x45" + bytes(27) + data,
        source=source[0],
        source_port=source[1],
        destination=destination[0],
        destination_port=destination[1],
        protocol="udp",
        payload=payload or len(data),
    )
    return captured


def segment(source, data, sequence):
    captured = Captured("relay:eth0", 0, False, 60, b"")
    captured._packet = decode_ipv4(
        tcp(f"{source[0]}:{source[1]}", f"{RELAY[0]}:{RELAY[1]}", "PA", data, seq=sequence)
    )
    return captured


def stage_of(*seen) -> Any:
    """A stage on whose wires these packets were seen."""
    return SimpleNamespace(
        wire=SimpleNamespace(
            packets=lambda _where, test, since: [c for c in seen if test(c.packet)]
        )
    )


RELAY, HOME, OTHER = ("198.51.100.11", 9000), ("24.9.3.7", 40_001), ("203.0.113.77", 40_002)


def test_the_bytes_of_the_file_are_counted_and_no_others():
    stage = stage_of(
        datagram(1, HOME, RELAY, b"hello, who is there?" * 9),
        datagram(2, HOME, RELAY, b"DATA\0\0\0\0" + bytes(100), payload=1208),  # cut off
        datagram(3, HOME, RELAY, b"DATA\0\0\0\0" + bytes(100), payload=1208),  # again
        datagram(4, HOME, RELAY, b"DATA\0\0\0\1" + bytes(100)),
        datagram(5, RELAY, HOME, b"DATA\0\0\0\2" + bytes(100)),  # from the server
    )
    peers: Any = SimpleNamespace(wire_since=0)
    assert checks.bytes_of_the_file_at(stage, "relay", peers) == 1300


def test_what_a_relay_gets_by_tcp_may_be_the_file_except_what_peers_say_to_meet():
    word, data = b"0123456789abcdef" * 2 + b"\n", bytes(range(256))
    again = (HOME[0], HOME[1] + 2)
    met = [
        segment(HOME, word + b"24.9.3.7:40001\n", 1),
        segment(OTHER, word + b"203.0.113.77:40002\n", 1),
        segment(HOME, b"", 49),  # an ACK
    ]
    passed = [
        segment(again, word + data, 1),
        segment(again, data, 290),
        segment(again, data, 290),  # sent again
        segment(OTHER, data, 290),  # of another connection
        segment(RELAY, data, 290),  # from the server
    ]
    peers: Any = SimpleNamespace(wire_since=0)
    assert checks.bytes_of_the_file_at(stage_of(*met), "relay", peers) == 0
    assert checks.bytes_of_the_file_at(stage_of(*met, *passed), "relay", peers) == 3 * 256


def test_a_rule_is_used_by_what_leaves_and_by_what_comes():
    seen = [
        datagram(1, OTHER, HOME, b"out"),
        datagram(2, HOME, OTHER, b"in"),
        datagram(3, RELAY, HOME, b"of another rule"),
        datagram(5, HOME, OTHER, b"too late"),
    ]
    assert checks.last_used(stage_of(*seen), "napt_b", "203.0.113.77:40002", 4.0, 0) == 2.0
