"""The step engine without a network: what a check can end as, and what a run writes down."""

from __future__ import annotations

import io
import json
import threading
import xml.etree.ElementTree as ET
from typing import Any

import pytest
from rich.console import Console

from napt_lab.labs.course.registry import LABS
from napt_lab.labs.records.rundir import RunDirectory
from napt_lab.labs.records.stream import Stream
from napt_lab.labs.stage.drawing import draw
from napt_lab.labs.stage.narration import Narration
from napt_lab.labs.stage.steps import Claim, ClaimFailed
from napt_lab.labs.verdict.claims import CLAIMS
from napt_lab.labs.verdict.results import Results
from napt_lab.nat_node.control import rule_lines
from napt_lab.topologies.network.processes import DeadlinePassed, EventLog, ProgramEnded
from napt_lab.topologies.spec.checkout import TOPOLOGIES
from napt_lab.topologies.spec.loader import load


@pytest.fixture
def stream():
    return Stream()


@pytest.fixture
def records(stream):
    seen = []
    stream.listen(seen.append)
    return seen


def test_a_claim_holds_only_if_every_requirement_does(stream, records):
    with Claim(stream, "1.a", "two of two") as claim:
        claim.require(True, "first")
        claim.require(True, "second")
    with Claim(stream, "1.a", "one of two") as claim:
        claim.require(True, "first")
        claim.require(False, "second")
        claim.require(True, "never come to")
    good, bad = records
    assert (good["passed"], good["broken"], good["evidence"]) == (True, False, ["first", "second"])
    assert (bad["passed"], bad["broken"], bad["evidence"]) == (False, False, ["first", "second"])


def test_a_claim_that_requires_nothing_is_broken(stream, records):
    with Claim(stream, "1.a", "nothing"):
        pass
    assert (records[0]["passed"], records[0]["broken"]) == (False, True)


def test_what_did_not_come_in_time_is_a_failure(stream, records):
    with Claim(stream, "1.a", "awaited"):
        raise DeadlinePassed("a SYN at alice:eth0", 2)
    assert (records[0]["passed"], records[0]["broken"]) == (False, False)
    assert records[0]["evidence"] == ["timed out after 2 s waiting for a SYN at alice:eth0"]


def test_a_check_that_cannot_be_made_is_broken_and_the_lab_goes_on(stream, records):
    with Claim(stream, "1.a", "impossible"):
        raise OSError("no such device")
    assert (records[0]["passed"], records[0]["broken"]) == (False, True)
    assert "could not be checked: OSError: no such device" in records[0]["evidence"]


def test_a_claim_that_needs_what_a_failed_one_was_to_find_says_so(stream, records):
    with Claim(stream, "1.a", "found"):
        raise ClaimFailed("nothing came")
        packet = 1
    with Claim(stream, "1.b", "looked at"):
        print(packet)
    assert (records[1]["passed"], records[1]["broken"]) == (False, True)
    assert "needs what an earlier claim of this step" in records[1]["evidence"][0]


def test_ctrl_c_is_not_a_verdict(stream, records):
    with pytest.raises(KeyboardInterrupt), Claim(stream, "1.a", "interrupted"):
        raise KeyboardInterrupt
    assert not records


def tell_a_run(stream, *, passed=True, broken=False, evidence="seq 1 \x00 <&>"):
    stream.emit("lab", lab="9c", title="A title", intro="An intro")
    stream.emit(
        "part",
        part="p",
        first=1,
        title="",
        topology="two-sites",
        engine="python",
        drawing=["a ── b"],
    )
    stream.emit("network", seconds=0.1)
    stream.emit(
        "step",
        number=1,
        of=1,
        title="A step",
        say="Words " * 40,
        ask="?",
        choices=[],
        usage="",
        proves=["9c.x"],
    )
    stream.emit("command", node="bob", command="curl " + "x" * 120)
    stream.emit(
        "output", node="bob", command="curl x", status=0, seconds=0.1, stdout="[bold]", stderr=""
    )
    stream.emit("observed", lines=["a line"])
    stream.emit(
        "check", claim="9c.x", text="it works", passed=passed, broken=broken, evidence=[evidence]
    )
    learned = ["A NAPT has `rules`."]
    stream.emit("end", passed=passed, seconds=1.5, learned=learned, error="")


def test_results_are_the_stable_interface(stream, tmp_path):
    results = Results(tmp_path)
    stream.listen(results)
    tell_a_run(stream, evidence="seen")
    results.write()
    assert json.loads((tmp_path / "results.json").read_text()) == {
        "lab": "9c",
        "topology": "two-sites",
        "engine": "python",
        "parts": ["p"],
        "passed": True,
        "seconds": 1.5,
        "steps": [
            {
                "title": "A step",
                "checks": [
                    {"claim": "9c.x", "text": "it works", "passed": True, "evidence": "seen"}
                ],
            }
        ],
        "predictions": [],
    }
    events = [json.loads(line) for line in (tmp_path / "events.jsonl").read_text().splitlines()]
    assert [event["event"] for event in events][:2] == ["lab", "part"]
    assert all("time" in event for event in events)


@pytest.mark.parametrize(
    ("passed", "broken", "child"),
    [(True, False, "system-out"), (False, False, "failure"), (False, True, "error")],
)
def test_junit_tells_a_failure_from_an_error(stream, tmp_path, passed, broken, child):
    results = Results(tmp_path)
    stream.listen(results)
    tell_a_run(stream, passed=passed, broken=broken)
    results.write()
    suite = ET.parse(tmp_path / "junit.xml").getroot()[0]
    case = suite.find("testcase")
    assert case.get("classname") == "9c.x"
    assert [element.tag for element in case] == [child]
    assert suite.get("tests") == "1"
    assert suite.get("failures") == str(int(child == "failure"))
    assert suite.get("errors") == str(int(child == "error"))


def test_a_run_that_did_not_begin_is_written_as_failed(tmp_path):
    results = Results(tmp_path)
    results.write()
    assert json.loads((tmp_path / "results.json").read_text())["passed"] is False


@pytest.mark.parametrize("passed", [True, False])
def test_narration_in_a_pipe_is_plain_and_breaks_no_line_of_evidence(stream, passed):
    out = io.StringIO()
    stream.listen(Narration(Console(file=out, width=80, highlight=False)))
    evidence = "seen " * 30 + "to the end"
    tell_a_run(stream, passed=passed, evidence=evidence)
    text = out.getvalue()
    assert "\x1b" not in text
    whole = [f"  bob$ curl {'x' * 120}", f"    {evidence}"]
    assert [line for line in text.splitlines() if len(line) > 80] == whole
    assert "[bold]" in text  # what programs print is not markup
    assert ("✓ 9c.x it works" in text) is passed


def test_an_unchecked_claim_is_not_shown_as_held(stream):
    out = io.StringIO()
    stream.listen(Narration(Console(file=out, width=80, highlight=False)))
    tell_a_run(stream, passed=False, broken=True)
    assert "! 9c.x" in out.getvalue()
    assert "1 was not checked" in out.getvalue()


def test_a_run_that_was_stopped_says_so_in_one_line(stream):
    out = io.StringIO()
    stream.listen(Narration(Console(file=out, width=80, highlight=False)))
    stream.emit("lab", lab="9c", title="A title", intro="")
    check = {"text": "t", "evidence": ["e"]}
    stream.emit("check", claim="9c.a", passed=True, broken=False, **check)
    stream.emit("check", claim="9c.b", passed=True, broken=False, **check)
    stream.emit("stopped", where="before step 2", unchecked=["9c.b", "9c.c"])
    stream.emit("check", claim="9c.c", passed=False, broken=True, **check)
    stream.emit("end", passed=False, seconds=1.0, error="", learned=[])
    text = out.getvalue()
    assert text.count("9c.c") == 1
    assert "You stopped before step 2. Not checked: 9c.b (the rest of it), 9c.c." in text
    assert "Claims: 1 holds." in text


def test_a_claim_that_failed_before_the_stop_is_told_once(stream):
    out = io.StringIO()
    stream.listen(Narration(Console(file=out, width=80, highlight=False)))
    check = {"text": "t", "evidence": ["e"]}
    stream.emit("check", claim="9c.a", passed=False, broken=False, **check)
    stream.emit("stopped", where="before step 2", unchecked=["9c.a"])
    stream.emit("end", passed=False, seconds=1.0, error="", learned=[])
    assert "Claims: 1 does not hold." in out.getvalue()
    assert out.getvalue().endswith("You stopped before step 2.\n")


def test_what_stands_between_backticks_is_bold_on_a_terminal(stream):
    pipe, terminal = io.StringIO(), io.StringIO()
    stream.listen(Narration(Console(file=pipe, width=80)))
    colors: dict[str, Any] = {"force_terminal": True, "color_system": "standard", "no_color": False}
    stream.listen(Narration(Console(file=terminal, width=80, highlight=False, **colors)))
    step = {"number": 1, "of": 1, "title": "t", "proves": []}
    stream.emit("step", say="port 80 of `files`", ask="who is `files`?", choices=[], **step)
    assert "port 80 of `files`" in pipe.getvalue()
    assert "port 80 of \x1b[1mfiles\x1b[0m" in terminal.getvalue()
    assert "who is \x1b[0m\x1b[1;33mfiles\x1b[0m" in terminal.getvalue()


def test_rules_fit_a_terminal_and_keep_their_endpoints_whole():
    longest = "255.255.255.255:65535"
    session = {"remote": longest, "state": "half_closed_out", "idle": 1, "expires_in": 7440.0}
    rule = {
        "protocol": "icmp", "internal": longest, "external": longest, "remote": longest,
        "explicit": False, "packets_out": 10**9, "packets_in": 10**9, "sessions": [session],
        "made_by": f"ICMP echo request to {longest}",
    }  # fmt: skip
    lines = rule_lines.rule_lines([rule], total=2)
    text = "\n".join(lines)
    assert max(map(len, lines)) <= 78
    assert text.count(longest) == 4
    assert "half closed out, expires in 7440.0 s" in text
    assert lines[-1] == "… 2 rules in all"
    assert rule_lines.rule_lines([]) == ["no rules"]


def used_by(*sessions, **rule):
    """An explicit TCP rule with sessions in these states."""
    listed = [{"state": state, "expires_in": 240.0} for state in sessions]
    return {"protocol": "tcp", "explicit": True, "sessions": listed} | rule


LEASE = {"protocol": "pcp", "expires_in": 60.0, "ended": False}
LIVES = [
    (used_by(), "stays until it is removed"),
    (used_by("closed"), "stays until it is removed; 1 connection through it: closed"),
    (
        used_by("established", "half_closed_in", "established"),
        "stays until it is removed; 3 connections through it: 2 established, 1 half closed in",
    ),
    (
        used_by(None, None, protocol="udp", session_count=1002),
        "stays until it is removed; 1,002 sessions through it: 2 in use, 1,000 more",
    ),
    (used_by(lease=LEASE), "leased by pcp for another 60.0 s"),
    (
        used_by("refused", lease=LEASE),
        "leased by pcp for another 60.0 s; 1 connection through it: refused",
    ),
    (
        used_by("established", explicit=False, lease=LEASE | {"ended": "expired"}),
        "established, expires in 240.0 s",
    ),
    (used_by("closed", explicit=False), "closed, expires in 240.0 s"),
    (used_by(explicit=False), "ending"),
]


@pytest.mark.parametrize(("rule", "words"), LIVES)
def test_an_explicit_rule_is_not_closed_with_its_connections(rule, words):
    assert rule_lines.life(rule) == words


def test_the_drawing_has_every_name_and_address_and_fits():
    for path in sorted(TOPOLOGIES.glob("*.yaml")):
        topology = load(path)
        lines = draw(topology)
        assert max(map(len, lines)) <= 78
        text = "\n".join(lines)
        for host in topology.hosts():
            assert f"{host.name} {host.address.ip}" in text
        for site in topology.sites:
            assert str(site.gateway.public.ip) in text
            assert site.gateway.name in text


def test_every_lab_has_steps_that_prove_claims_of_its_own():
    for lab_id, entry in LABS.items():
        lab = entry.lab()
        assert (lab.id, lab.title) == (lab_id, entry.title)
        assert lab.parts[0].topology_path == entry.topology
        for part in lab.parts:
            assert part.steps
            for step in part.steps:
                assert step.say
                assert all(claim.startswith(f"{lab_id}.") for claim in step.proves)
                lost = set(step.proves) - set(CLAIMS)
                assert not lost, (
                    f"put {lost} into CLAIMS in labs/verdict/claims.py, and what they say"
                )


# ── runs/ ──────────────────────────────────────────────────────────────────────────────────


def finished_run(runs, lab="9c", text="done"):
    directory = RunDirectory(lab, runs)
    (directory.path / "results.json").write_text(text)
    directory.publish()


def test_the_newest_run_replaces_the_one_before(tmp_path):
    finished_run(tmp_path, text="old")
    finished_run(tmp_path, "8", text="other lab")
    finished_run(tmp_path, text="new")
    assert (tmp_path / "9c" / "results.json").read_text() == "new"
    assert (tmp_path / "8" / "results.json").read_text() == "other lab"
    assert (tmp_path / "latest" / "results.json").read_text() == "new"
    assert len([path for path in tmp_path.iterdir() if not path.is_symlink()]) == 2


def test_a_run_that_was_stopped_replaces_no_finished_one(tmp_path):
    finished_run(tmp_path, text="finished")
    for text in ("stopped", "stopped again"):
        directory = RunDirectory("9c", tmp_path)
        (directory.path / "results.json").write_text(text)
        assert directory.publish(stopped=True) == tmp_path / "9c-stopped"
    assert (tmp_path / "9c" / "results.json").read_text() == "finished"
    for link in ("9c-stopped", "latest"):
        assert (tmp_path / link / "results.json").read_text() == "stopped again"
    assert len([path for path in tmp_path.iterdir() if not path.is_symlink()]) == 2


def test_what_has_no_report_is_not_the_latest(tmp_path):
    finished_run(tmp_path)
    graded = RunDirectory("grade", tmp_path)
    assert graded.publish(latest=False).resolve() == graded.path
    assert (tmp_path / "latest").resolve() == (tmp_path / "9c").resolve() != graded.path


def test_a_run_under_way_is_left_alone_and_a_dead_one_is_removed(tmp_path):
    under_way = RunDirectory("9c", tmp_path)
    (tmp_path / ".9c-killed").mkdir()  # nobody holds it locked
    finished_run(tmp_path)
    assert under_way.path.is_dir()
    assert not (tmp_path / ".9c-killed").exists()
    under_way.publish()
    assert (tmp_path / "9c").resolve() == under_way.path


def test_runs_that_end_together_leave_one_whole_run(tmp_path):
    threads = [
        threading.Thread(target=finished_run, args=(tmp_path, "9c", str(number)))
        for number in range(16)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (tmp_path / "9c").resolve() == (tmp_path / "latest").resolve()
    assert (tmp_path / "9c" / "results.json").read_text().isdigit()
    assert len([path for path in tmp_path.iterdir() if not path.is_symlink()]) == 1


# ── the event log ──────────────────────────────────────────────────────────────────────────


def test_the_log_gives_what_came_before_and_what_comes_later():
    log = EventLog()
    log.add("alice", "files", {"event": "ready", "time": 1.5})
    mark = log.mark()
    threading.Timer(0.02, log.add, ("bob", "files", {"event": "ready"})).start()
    first = log.wait_for(lambda e: e.name == "ready", deadline=2, what="ready")
    later = log.wait_for(lambda e: e.name == "ready", deadline=2, what="ready", since=mark)
    assert (first.node, first.time) == ("alice", 1.5)
    assert later.node == "bob"
    assert later.time > 1_600_000_000  # one without a time gets the present


def test_the_log_says_what_was_awaited_in_vain():
    with pytest.raises(DeadlinePassed, match=r"timed out after 0\.01 s waiting for a rule"):
        EventLog().wait_for(lambda _: True, deadline=0.01, what="a rule")


def test_the_log_does_not_wait_for_the_dead():
    with pytest.raises(ProgramEnded, match="it died while waiting for ready"):
        EventLog().wait_for(lambda _: True, deadline=9, what="ready", give_up=lambda: "it died")
