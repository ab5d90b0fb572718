"""Lab 9c, played in silence, and what it leaves behind."""

from __future__ import annotations

import json
from typing import Any, cast

import pytest
from scapy.utils import RawPcapNgReader

from napt_lab.labs.level_9c.lab import LAB
from napt_lab.labs.records.stream import Stream
from napt_lab.labs.stage.pause import Go
from napt_lab.labs.stage.play import Play
from napt_lab.labs.stage.prediction import Choice, NotAnAnswer, choose
from napt_lab.labs.stage.steps import Lab, Part
from tests.network.lab_run import assert_all_hold, checks, play

pytestmark = pytest.mark.network(timeout=60)

CLAIMS = {"9c.private", "9c.no-rule", "9c.rule", "9c.direct", "9c.both-ways"}


def test_all_claims_hold(tmp_path):
    results, records = play(LAB, tmp_path)
    assert_all_hold(results, CLAIMS)
    assert (results["lab"], results["topology"], results["engine"]) == ("9c", "two-sites", "python")
    with RawPcapNgReader(str(tmp_path / "capture.pcapng")) as reader:
        places = {meta.ifname.decode() for _, meta in cast(Any, reader)}
    assert {"alice:eth0", "napt_a:lan0", "napt_a:wan0", "napt_b:wan0", "bob:eth0"} <= places
    drops = [r for r in records if r["event"] == "program" and r["name"] == "drop"]
    assert {drop["node"] for drop in drops} == {"napt_a", "napt_b"}


def small_lab(*actions):
    part = Part("p", topology="two-sites.yaml")
    for number, action in enumerate(actions, start=1):
        part.step(f"step {number}", say="s", proves=[f"x.{number}"])(action)
    return Lab("x", "a lab", "", (part,))


def good(number):
    def action(stage):
        with stage.claim(f"x.{number}", "holds") as claim:
            claim.require(stage.run("alice", "true").status == 0, "true is true")

    return action


def verdicts(results):
    return {check["claim"]: check["passed"] for check in checks(results)}


def test_a_failed_claim_does_not_stop_the_others_and_shows_the_tables(tmp_path):
    def bad(stage):
        with stage.claim("x.1", "holds") as claim:
            claim.require(stage.run("alice", "false").status == 0, "false is false")

    results, records = play(small_lab(bad, good(2)), tmp_path)
    assert verdicts(results) == {"x.1": False, "x.2": True}
    assert not results["passed"]
    tables = [record["node"] for record in records if record["event"] == "table"]
    assert tables == ["napt_a", "napt_b"]


def test_a_broken_step_leaves_its_claims_and_all_later_ones_unchecked(tmp_path):
    def breaks(stage):
        raise RuntimeError("out of order")

    results, records = play(small_lab(good(1), breaks, good(3)), tmp_path)
    assert verdicts(results) == {"x.1": True, "x.2": False, "x.3": False}
    assert not results["passed"]
    assert [step["title"] for step in results["steps"]] == ["step 1", "step 2", "step 3"]
    unchecked = [r for r in records if r["event"] == "check" and r["broken"]]
    assert all("RuntimeError: out of order" in r["evidence"][0] for r in unchecked)
    assert (tmp_path / "capture.pcapng").stat().st_size > 0


def test_a_persistent_run_goes_on_after_a_broken_step(tmp_path):
    def breaks(stage):
        good(1)(stage)
        raise RuntimeError("out of order")

    records, stream = [], Stream()
    stream.listen(records.append)
    lab = small_lab(breaks, good(2))
    assert not Play(lab, lab.parts, stream, tmp_path, None, persistent=True).run()
    told = [(r["claim"], r["passed"]) for r in records if r["event"] == "check"]
    assert told == [("x.1", True), ("x.1", False), ("x.2", True)]


def test_a_claim_that_a_step_promised_and_forgot_is_unchecked(tmp_path):
    results, _ = play(small_lab(lambda stage: None, good(2)), tmp_path)
    assert verdicts(results) == {"x.1": False, "x.2": True}


def test_ctrl_c_leaves_what_there_is(tmp_path):
    def interrupted(stage):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        play(small_lab(good(1), interrupted), tmp_path)
    results = json.loads((tmp_path / "results.json").read_text())
    assert verdicts(results) == {"x.1": True, "x.2": False}
    assert not results["passed"]
    assert (tmp_path / "capture.pcapng").exists()


def test_a_rule_that_a_student_has_added_by_hand_is_as_good(tmp_path):
    def pause(net, here):
        if here.step == 3:
            net.napt("napt_a").add("tcp", "24.9.3.7:8080", "10.0.0.7:8080")
        return here.on

    results, records = play(LAB, tmp_path, pause)
    assert_all_hold(results, CLAIMS)
    observed = [line for r in records if r["event"] == "observed" for line in r["lines"]]
    already = "You have already added the rule 24.9.3.7:8080 → 10.0.0.7:8080."
    aside = f"{already} It is taken out of napt_a's table for this step, and put back at its end."
    assert [line for line in observed if already in line] == [aside, already]


def test_a_rule_of_a_student_that_leads_elsewhere_is_told_and_replaced(tmp_path):
    def pause(net, here):
        if here.step == 4:
            net.napt("napt_a").add("tcp", "24.9.3.7:8080", "10.0.0.7:80")
            net.napt("napt_a").add("udp", "24.9.3.7:8080", "10.0.0.7:8080")
        return here.on

    results, records = play(LAB, tmp_path, pause)
    assert_all_hold(results, CLAIMS)
    observed = [line for r in records if r["event"] == "observed" for line in r["lines"]]
    assert (
        "You have added the rule 24.9.3.7:8080 → 10.0.0.7:80, which does not lead to "
        "10.0.0.7:8080. It is removed from napt_a's table."
    ) in observed


def test_a_step_that_fails_tells_what_the_student_did_before(tmp_path):
    def bad(stage):
        with stage.claim("x.2", "holds") as claim:
            claim.require(False, "it does not")

    def pause(net, here):
        if here.step == 2:
            net.napt("napt_a").add("tcp", "24.9.3.7:8081", "10.0.0.7:80")
            net.happen("unplug bob")
            net.log.wait_for(lambda e: e.name == "rule-added", deadline=5.0, what="the rule")
        return here.on

    _, records = play(small_lab(good(1), bad), tmp_path, pause)
    (told,) = [r["lines"] for r in records if r["event"] == "observed"]
    assert told[1:3] == ["  rule add napt_a tcp 24.9.3.7:8081 10.0.0.7:80", "  event unplug bob"]


def test_an_answer_that_comes_after_its_step_has_begun_is_refused(tmp_path):
    predict = []

    def late(stage):
        for answer in predict:
            with pytest.raises(NotAnAnswer, match="does not wait for an answer any more"):
                answer("a")
        good(len(predict))(stage)

    def pause(net, here):
        predict.append(here.predict)
        if here.step == 2:
            with pytest.raises(NotAnAnswer, match="step 1 does not wait"):
                predict[0]("a")
        return here.on

    part = Part("p", topology="two-sites.yaml")
    asked = choose(Choice("yes", "yes"), Choice("no", "no", "a belief"))
    for number in (1, 2):
        part.step("s", say="s", proves=[f"x.{number}"], ask="?", predict=asked)(late)
    results, _ = play(Lab("x", "a lab", "", (part,)), tmp_path, pause)
    assert verdicts(results) == {"x.1": True, "x.2": True}


def test_quit_at_the_prompt_is_not_a_pass(tmp_path):
    answers = iter([Go(1), None])
    results, records = play(
        small_lab(good(1), good(2)), tmp_path, pause=lambda net, here: next(answers)
    )
    assert verdicts(results) == {"x.1": True, "x.2": False}
    assert not results["passed"]
    (stopped,) = [record for record in records if record["event"] == "stopped"]
    assert (stopped["where"], stopped["unchecked"]) == ("before step 2", ["x.2"])
