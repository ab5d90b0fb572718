"""What Tab offers, what is remembered of a prompt's lines, and how packets are told."""

from __future__ import annotations

import os
import threading
from types import SimpleNamespace
from typing import Any

import pytest

from napt_lab.labs.capture.watching import REWRITTEN, Place, Teller
from napt_lab.labs.exercises.exercise_cli import _in_background
from napt_lab.labs.prompt import history
from napt_lab.labs.prompt.background import Background, without_ampersand
from napt_lab.labs.prompt.completion import vocabulary
from napt_lab.labs.prompt.examples import EXAMPLES, suited
from napt_lab.labs.records.state import state_folder
from napt_lab.labs.stage.output_words import output_in_words
from napt_lab.topologies.spec.checkout import TOPOLOGIES
from napt_lab.topologies.spec.link import Link
from napt_lab.topologies.spec.loader import load
from tests.packets import ethernet, tcp
from tests.waiting import wait_until


def unknown(**fields: Any) -> Any:
    return SimpleNamespace(**fields)


@pytest.fixture(autouse=True)
def state(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    return tmp_path / "napt-lab"


@pytest.mark.parametrize(
    ("before", "offered"),
    [
        ("", ["draw", "rule", "internet", "alice"]),
        ("rule", ["add", "del"]),
        ("rule add", ["napt_a", "napt_b"]),
        ("rule add napt_a", ["tcp", "udp"]),
        ("rule add napt_b tcp", ["203.0.113.77:"]),
        ("rule add napt_b tcp 203.0.113.77:80", ["10.0.0.9:"]),
        ("rule del napt_b tcp 203.0.113.77:80", []),
        ("rule add nobody", []),
        ("packets bob", ["eth0", "while"]),
        ("packets bob eth0 while", ["internet", "alice"]),
        ("time bob", ["curl", "ping"]),
        ("bob curl", ["24.9.3.7", "http://24.9.3.7:"]),
        ("nobody", []),
        ("draw draw", []),
    ],
)
def test_tab_offers_what_can_come_next(before, offered):
    words = vocabulary(load(TOPOLOGIES / "two-sites.yaml"), INTERFACES)
    words.commands.extend(["draw", "rule", "rules", "time"])
    found = words.candidates(before.split())
    assert set(offered) <= set(found)
    assert bool(found) == bool(offered)


def test_examples_have_the_names_of_the_network():
    one = load(TOPOLOGIES / "one-site.yaml")
    usual = "rule add napt_a tcp 24.9.3.7:8080 10.0.0.7:8080"
    assert suited(usual, one) == "rule add napt tcp 24.9.3.7:8080 10.0.0.7:8080"
    assert suited("packets bob while alice COMMAND", one) == "packets pc3 while pc COMMAND"
    two = load(TOPOLOGIES / "two-sites.yaml")
    assert all(suited(example, two) == example for example, _ in EXAMPLES)


INTERFACES = {
    "internet": ["isp1", "isp2", "isp3"],
    "alice": ["eth0"],
    "bob": ["eth0"],
    "napt_a": ["wan0", "lan0"],
}


def test_lines_are_kept_between_runs_and_bounded(state, monkeypatch):
    monkeypatch.setattr(history, "KEPT_LINES", 5)
    first = history.History()
    for line in ("rules", "rules", "", "why", "x" * 2000, "naïve \udc80"):
        first.add(line)
    assert lines_of(state) == ["rules", "why", "naïve ?"]
    for number in range(9):
        first.add(f"line {number}")
    assert len(lines_of(state)) == 12
    history.History().add("last")
    assert lines_of(state) == [f"line {n}" for n in range(4, 9)] + ["last"]
    assert (state / "history").stat().st_mode & 0o777 == 0o600


def lines_of(state):
    return (state / "history").read_text().splitlines()


def test_two_prompts_at_once_lose_no_line(state):
    prompts = [history.History(), history.History()]
    threads = [
        threading.Thread(target=lambda p=p, n=n: [p.add(f"{n} {i}") for i in range(100)])
        for n, p in enumerate(prompts)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(lines_of(state)) == 200


def test_where_nothing_can_be_written_there_is_no_history_and_no_complaint(state):
    state.write_text("a file in the folder's place")
    history.History().add("rules")


def test_a_relative_state_folder_is_not_meant(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_STATE_HOME", "here")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert state_folder() == tmp_path / ".local/state/napt-lab"


# ── packets ────────────────────────────────────────────────────────────────────────────────

INSIDE, OUTSIDE = ("10.0.0.9", 40001), ("203.0.113.77", 1024)
SERVER = ("24.9.3.7", 8080)


def frame(source, destination, *, sequence=7, identification=1):
    """A TCP segment with SYN."""
    here, there = (f"{address}:{port}" for address, port in (source, destination))
    return ethernet(tcp(here, there, seq=sequence, id=identification))


def told(*frames, link=None):
    """The lines for (time in ms, interface, outgoing, frame)."""
    lines = []
    teller = Teller(0, lines.append)
    for milliseconds, interface, outgoing, data in frames:
        node, port = unknown(), unknown(segment=interface, link=link)
        place = Place(node, port, interface)
        teller.tell(milliseconds * 1_000_000, place, outgoing, data)
    return lines


def test_what_a_napt_has_rewritten_is_highlighted():
    before, after = told(
        (1, "lan0", False, frame(INSIDE, SERVER)), (2, "wan0", True, frame(OUTSIDE, SERVER))
    )
    assert before.plain == "  0.001 lan0 in  10.0.0.9:40001 → 24.9.3.7:8080 tcp SYN seq 7"
    assert after.plain == (
        "  0.002 wan0 out 203.0.113.77:1024 → 24.9.3.7:8080 tcp SYN seq 7  (was 10.0.0.9:40001)"
    )
    shown = [after.plain[s.start : s.end] for s in after.spans if s.style == REWRITTEN]
    assert shown == ["203.0.113.77:1024"]
    assert not [s for s in before.spans if s.style == REWRITTEN]


@pytest.mark.parametrize(("link", "words"), [(Link(delay=0.04), "40.0 ms on the wire"), (None, "")])
def test_a_packet_says_how_long_it_was_on_a_slow_wire(link, words):
    one = frame(OUTSIDE, SERVER)
    left, came = told((1, "wan0", True, one), (41, "isp1", False, one), link=link)
    assert "on the wire" not in left.plain
    assert came.plain.partition("seq 7")[2].strip() == words


def test_a_packet_may_be_on_a_wire_for_as_long_as_its_link_takes():
    one, queue = frame(OUTSIDE, SERVER), Link(rate=8 * 1514, queue=3)  # four packets: 4 s
    sent, arrives = (1, "wan0", True, one), (3901, "isp1", False, one)
    _, came = told(sent, arrives, link=queue)
    assert "3900.0 ms on the wire" in came.plain
    _, other = told(sent, arrives, link=Link(delay=0.04))
    assert "on the wire" not in other.plain


@pytest.mark.parametrize(
    "later",
    [
        (2, "wan0", True, frame(OUTSIDE, SERVER, sequence=8)),
        (2, "wan0", True, frame(OUTSIDE, SERVER, identification=2)),
        (1500, "wan0", True, frame(OUTSIDE, SERVER)),
        (2, "lan0", False, frame(INSIDE, SERVER)),
    ],
)
def test_another_packet_is_not_taken_for_it(later):
    lines = told((1, "lan0", False, frame(INSIDE, SERVER)), later)
    assert "was" not in lines[1].plain


@pytest.mark.parametrize(
    ("line", "program", "words"),
    [
        ("false &", "false", ["false", "&"]),
        ("false&", "false", ["false", "&"]),
        ("false", None, []),
        ("&", None, []),
        ("true && &", "true &&", []),
        ("true &&", None, []),
        ("true # &", None, []),
        ("echo '&", None, []),
        ("echo a '&'", None, []),
        ("echo a \\&", None, []),
        ("sleep 9 & echo a", None, []),
        ('sh -c "true; exit 5" &', 'sh -c "true; exit 5"', ["sh", "-c", "true; exit 5", "&"]),
        ('curl "//a/?b=1&c=2" &', 'curl "//a/?b=1&c=2"', ["curl", "//a/?b=1&c=2", "&"]),
        ("dial $relayed &", "dial $relayed", ["dial", "$relayed", "&"]),
        ('sh -c "exit $A" &', 'sh -c "exit $A"', []),
        ("curl a > page &", "curl a > page", []),
        ("curl a | head -1 &", "curl a | head -1", []),
    ],
)  # fmt: skip
def test_a_last_ampersand_is_the_prompts_unless_it_is_quoted(line, program, words):
    """What needs no shell is, at the prompt of an exercise, words without quotes."""
    assert (without_ampersand(line), _in_background(line)) == (program, words)


def test_what_fails_in_the_background_is_told_once(tmp_path):
    bob = unknown(name="bob", entry=[], environment=os.environ, home=tmp_path)
    background, statuses = Background(), []
    line = "until [ -e go ]; do sleep 0.01; done; exit 5"
    waits = background.start(bob, line, statuses.append)
    assert waits == "until on bob goes on in the background"
    assert background.news() == []
    (tmp_path / "go").touch()
    news = wait_until(background.news, "the end of bob's loop")
    assert news == ["until on bob ended, exit status 5"]
    assert background.news() == []
    assert background.start(bob, "exit 4", statuses.append) == "exit on bob ended, exit status 4"
    assert statuses == [4], "only of what ends at once"


@pytest.mark.parametrize(
    ("what", "said"),
    [("exit 2", "file-server on bob ended, exit status 2"),
     ("sleep 9", "file-server on bob goes on in the background")],
)  # fmt: skip
def test_a_python_program_that_refuses_its_arguments_does_not_go_on(tmp_path, what, said):
    program = tmp_path / "file-server"
    program.write_text(f"#!/bin/sh\nsleep 0.5\necho usage\n{what}\n")
    program.chmod(0o755)
    path = {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    bob = unknown(name="bob", entry=[], environment=os.environ | path, home=tmp_path)
    assert Background().start(bob, "file-server --port abc", lambda _: None) == said


@pytest.mark.parametrize("at_terminal", [True, False])
def test_what_is_printed_in_the_background_has_its_node(tmp_path, monkeypatch, capsys, at_terminal):
    """Into a pipe a program prints other things than at a terminal."""
    monkeypatch.setattr("sys.stdout.isatty", lambda: at_terminal)
    bob = unknown(name="bob", entry=[], environment=os.environ, home=tmp_path)
    line = "printf '10 %%\\r100 %%\\nto the end'; [ -t 1 ] && printf ' at a terminal' >&2; exit 1"
    ended = Background().start(bob, line, lambda _: None)
    assert ended == "printf on bob ended, exit status 1"
    last = "to the end at a terminal" if at_terminal else "to the end"
    assert capsys.readouterr().out == f"bob: 100 %\nbob: {last}\n"


def test_a_carriage_return_begins_a_line_anew():
    meter = "  % Total\r  0  0\r100  5\n\rcurl: (28) timed out\r\nend\n"
    assert output_in_words(meter) == "100  5\ncurl: (28) timed out\nend"
