"""What a student did between two steps, told where a later step fails."""

from __future__ import annotations

import pytest

from napt_lab.labs.stage.own_changes import OwnChanges

HEAD = "What you did on this network before this step may be why:"
FOOT = "`repeat` plays the step on a fresh network, without that."


@pytest.fixture
def own():
    own = OwnChanges()
    own({"event": "part", "time": 1.0})
    own({"event": "working", "time": 2.0})
    own({"event": "pause", "time": 10.0})
    return own


def program(name, moment, *, node="napt_a", by="nat_node", **fields):
    told = {"node": node, "program": by, "name": name, "fields": fields}
    return {"event": "program", "time": moment} | told


def rule(name, moment, *, explicit=True, lease=None, **fields):
    endpoints = {"external": "24.9.3.7:8080", "internal": "10.0.0.7:80"}
    described = {"protocol": "tcp", "explicit": explicit, "lease": lease} | endpoints
    return program(name, moment, rule=described, **fields)


ADDED = "  rule add napt_a tcp 24.9.3.7:8080 10.0.0.7:80"


def test_what_changed_at_a_pause_is_told(own):
    own(rule("rule-added", 11.0))
    own(program("typed", 12.0, node="bob", by="prompt", command="ip link set eth0 down"))
    own(program("shell", 12.0, node="bob", by="prompt"))
    own(program("happened", 13.0, node="alice", by="event", what="unplug alice"))
    own({"event": "command", "time": 14.0, "node": "alice", "command": "nc -l 8080"})
    own({"event": "working", "time": 15.0})
    own({"event": "command", "time": 16.0, "node": "alice", "command": "curl"})
    own(program("happened", 17.0, node="alice", by="event", what="plug alice"))
    told = ["bob ip link set eth0 down", "shell bob", "event unplug alice", "alice nc -l 8080"]
    assert own.lines() == [HEAD, ADDED, *(f"  {line}" for line in told), FOOT]


def test_a_rule_is_told_by_the_time_at_which_it_was_added(own):
    own({"event": "working", "time": 15.0})
    own(rule("rule-added", 14.9))
    assert own.lines() == [HEAD, ADDED, FOOT]
    own(rule("rule-ended", 16.0, why="removed"))
    assert own.lines() == []
    own(rule("rule-added", 17.0))
    assert own.lines() == [HEAD, ADDED, FOOT], "a step has put it back"


@pytest.mark.parametrize(
    "event",
    [
        rule("rule-added", 9.0),
        rule("rule-added", 11.0, explicit=False),
        rule("rule-added", 11.0, lease={"protocol": "pcp"}),
        rule("rule-ended", 11.0, why="expired"),
    ],
)
def test_other_rules_are_not_the_students(own, event):
    own(event)
    assert own.lines() == []


def test_a_rule_that_a_step_made_and_the_student_removed_is_told(own):
    own(rule("rule-ended", 11.0, why="removed"))
    assert own.lines() == [HEAD, "  rule del napt_a tcp 24.9.3.7:8080", FOOT]
    own(rule("rule-added", 12.0))
    assert own.lines() == []


def test_a_fresh_network_has_none_of_it(own):
    own(rule("rule-added", 11.0))
    own({"event": "part", "time": 20.0})
    assert own.lines() == []


def test_of_many_lines_the_last_are_told(own):
    for number in range(8):
        own({"event": "command", "time": 11.0, "node": "bob", "command": f"ping {number}"})
    assert own.lines()[1:3] == ["  … and 2 before", "  bob ping 2"]
