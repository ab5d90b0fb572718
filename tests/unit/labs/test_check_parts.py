"""Parts of the checks that need no network: STUN, time to wait, and a packet's path."""

from __future__ import annotations

import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from napt_lab.labs.capture.packets import ACK, PSH, Packet
from napt_lab.labs.capture.wire import Captured
from napt_lab.labs.check import run, stun_binding
from napt_lab.labs.check.outcome import CannotTell
from napt_lab.labs.check.trail import Trail, classify
from napt_lab.labs.verdict.verdicts import Verdict
from napt_lab.topologies.spec.assertions import Via
from napt_lab.topologies.spec.loader import loads

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
    monkeypatch.setattr(run, "_try", lambda *_: (Verdict(next(coming)), ["seen"]))
    ground: Any = SimpleNamespace(stopped=threading.Event())
    assert run._check(ground, None, expectation(wait), {}).verdict == outcome
    assert len(list(coming)) == len(verdicts) - tries


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
