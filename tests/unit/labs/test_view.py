"""The records of the moving picture: journeys, changed bytes, rules, bounds; the joined script."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from itertools import pairwise
from types import SimpleNamespace

import pytest

from napt_lab.labs.records.stream import Stream
from napt_lab.labs.report.journey import Follower
from napt_lab.labs.report.page import render
from napt_lab.labs.stage.prediction import NotAnAnswer
from napt_lab.labs.view import page
from napt_lab.labs.view.layout import picture_of
from napt_lab.labs.view.live import Live
from napt_lab.labs.view.recording import RULES_KEPT, WORDS_KEPT, Recording
from napt_lab.topologies.network.plan import node_plans
from napt_lab.topologies.spec.checkout import TOPOLOGIES
from napt_lab.topologies.spec.loader import load
from tests.unit.labs.report_run import BEGAN, PORTS, TOPOLOGY, connection, rule
from tests.unit.labs.view_run import record_run, records

# ── packets ────────────────────────────────────────────────────────────────────────────────


def test_a_packet_is_followed_and_its_rewritten_bytes_are_told(tmp_path):
    syn, *others = records(tmp_path, kind="packet", frames=connection())
    assert (syn["name"], syn["protocol"]) == ("SYN", "tcp")
    assert [hop[0] for hop in syn["hops"]][::7] == ["bob:eth0", "alice:eth0"]
    named = [hop[3:] for hop in syn["hops"] if len(hop) > 3]
    assert named == [
        ["10.0.0.9:4711", "24.9.3.7:8080"],
        ["203.0.113.77:40001", "24.9.3.7:8080"],
        ["203.0.113.77:40001", "10.0.0.7:8080"],
    ]
    assert "unseen" not in syn
    # At napt_b's outer side: the source address (12 to 15) and port (20, 21) are others.
    (edits,) = [changed for hop, changed in syn["edits"] if hop == 2]
    new = {at + i: byte for at, run in edits for i, byte in enumerate(bytes.fromhex(run))}
    assert [new.get(at) for at in range(12, 16)] == [203, None, 113, 77]  # 0 in both
    assert bytes([new[20], new[21]]) == (40001).to_bytes(2)
    assert not {0, 1, 16, 17, 18, 19, 22, 23} & set(new)
    assert {packet["flow"] for packet in others} == {syn["flow"]}


def test_of_a_transfer_one_packet_stands_for_the_others(tmp_path):
    found = records(tmp_path, kind="packet", frames=connection())
    data = [packet for packet in found if packet["name"].endswith("bytes")]
    assert [packet.get("more") for packet in data] == [99]
    assert all("more" not in packet for packet in found if packet not in data)


def test_a_dropped_packet_has_its_reason_and_one_that_ends_is_said_to(tmp_path):
    *_, dropped = sorted(records(tmp_path, kind="packet"), key=lambda p: "drop" in p)
    assert dropped["drop"] == ["no-rule", "plain"]
    assert dropped["hops"][-1][0] == "napt_a:wan0"
    frames = [f for f in connection(segments=0) if f.where != "alice:eth0"]
    syn = records(tmp_path, kind="packet", frames=frames)[0]
    assert syn["unseen"]


def test_packets_that_come_live_are_those_of_the_report(tmp_path):
    frames = sorted(connection(segments=0), key=lambda frame: frame.nanoseconds)
    whole, live = Follower(PORTS), Follower(PORTS)
    taken = []
    for frame in frames:
        whole.see(frame)
        live.see(frame)
        taken += live.take(frame.nanoseconds - 2_000_000)
    taken += live.take(frames[-1].nanoseconds + 1)
    assert [j.sightings for j in taken] == [j.sightings for j in whole.journeys]
    assert live.journeys == []


# ── the run ────────────────────────────────────────────────────────────────────────────────


def test_all_records_are_in_the_order_of_time_and_packets_are_among_them(tmp_path):
    found = records(tmp_path)
    assert all(a["t"] <= b["t"] for a, b in pairwise(found))
    kinds = [record["kind"] for record in found]
    assert kinds[:2] == ["lab", "part"]
    assert kinds[-1] == "end"
    assert {"packet", "step", "command", "output", "check", "tables", "drop"} <= set(kinds)
    assert kinds.index("step") < kinds.index("packet") < kinds.index("check")


def test_a_rules_life_is_told(tmp_path):
    recording = Recording()
    stream = Stream()
    stream.listen(recording)
    for name, fields in (("rule-added", {}), ("rule-ended", {"why": "idle"})):
        stream.emit("program", time=BEGAN, node="napt_a", program="nat_node", name=name,
                    fields={"rule": rule(3), **fields})  # fmt: skip
    made, ended = recording.records
    assert made["rule"]["external"] == "24.9.3.7:8080"
    assert "ended" not in made
    assert (ended["ended"], ended["rule"]["id"]) == ("idle", 3)


def test_a_step_of_thousands_of_rules_and_words_is_bounded():
    recording, stream = Recording(), Stream()
    stream.listen(recording)
    for number in range(2000):
        stream.emit("program", node="napt_a", program="nat_node", name="rule-added",
                    fields={"rule": rule(number)})  # fmt: skip
        stream.emit(
            "program", node="files", program="web", name="request", fields={"path": "x" * 9999}
        )
    kinds = [record["kind"] for record in recording.records]
    assert (kinds.count("rule"), kinds.count("report")) == (RULES_KEPT, WORDS_KEPT)
    assert len(json.dumps(recording.records)) < 500_000


@pytest.mark.parametrize("path", sorted(TOPOLOGIES.glob("*.yaml")), ids=lambda path: path.stem)
def test_the_picture_has_every_interface_and_no_two_boxes_overlap(path):
    topology = load(path)
    picture = picture_of(topology)
    wanted = {f"{plan.name}:{p.interface}" for plan in node_plans(topology) for p in plan.ports}
    assert set(picture["ports"]) == wanted
    boxes = picture["nodes"]
    for number, a in enumerate(boxes):
        assert a["x"] >= 0
        assert a["x"] + a["w"] <= picture["width"]
        assert a["y"] + a["h"] <= picture["height"]
        for b in boxes[number + 1 :]:
            apart = a["x"] + a["w"] <= b["x"] or b["x"] + b["w"] <= a["x"]
            assert apart or a["y"] + a["h"] <= b["y"] or b["y"] + b["h"] <= a["y"]


# ── the page ───────────────────────────────────────────────────────────────────────────────


def test_the_script_is_all_modules_each_after_those_that_it_imports():
    script = page.script()
    names = re.findall(r"^const (\w+)_js = ", script, re.MULTILINE)
    files = {path.stem for path in (page.HERE / "js").glob("*.js")} - {"types"}
    assert set(names) == files
    for name in names:
        body = script.partition(f"const {name}_js = ")[2].partition("\n})();\n")[0]
        used = re.findall(r"^const \{[^}]*\} = (\w+)_js;$", body, re.MULTILINE)
        assert all(names.index(other) < names.index(name) for other in used)
    assert not re.search(r"^(import|export) ", script, re.MULTILINE)


def test_the_script_stays_small():
    lines = sum(len(path.read_text().splitlines()) for path in (page.HERE / "js").glob("*.js"))
    assert lines < 2500


def test_the_exercise_that_fits_is_told_as_it_is_typed():
    recording = Recording()
    for exercise in ("9c/door", ""):
        recording(
            {"event": "prediction", "time": 1.0, "exercise": exercise}
            | dict.fromkeys(("step", "ask", "said", "seen", "evidence", "choices", "beliefs"), "x")
        )
    told = [record["exercise"] for record in recording.records]
    assert told == ["make exercise-9c PART=door", ""]


def test_only_what_cannot_be_an_answer_is_told_as_that(monkeypatch):
    """A fault of the program must not look like a mistake of the student."""
    live = object.__new__(Live)

    def refuse(error):
        def raise_it(_typed):
            raise error

        return raise_it

    for error in (NotAnAnswer("type a letter, a to b"), ValueError("a fault")):
        for name, value in {
            "_watched": SimpleNamespace(do=refuse(error)),
            "_here": SimpleNamespace(step=2, predict=refuse(error)),
            "_open": True,
        }.items():
            monkeypatch.setattr(live, name, value, raising=False)
        for what in ("predict", "do"):
            if isinstance(error, NotAnAnswer):
                assert live._act(what, "x", 2) == (False, "type a letter, a to b")
            else:
                with pytest.raises(ValueError, match="a fault"):
                    live._act(what, "x", 2)


def test_what_was_clicked_at_an_earlier_step_is_refused(monkeypatch):
    live = object.__new__(Live)
    predicted: list[str] = []
    ended: list[str] = []

    def end(wish):
        ended.append(wish)
        return True

    for name, value in {
        "_watched": SimpleNamespace(),
        "_here": SimpleNamespace(step=2, predict=predicted.append),
        "_open": True,
        "_prompt": None,
        "prompt_ending": SimpleNamespace(end=end),
    }.items():
        monkeypatch.setattr(live, name, value, raising=False)
    for what in ("predict", "next"):
        assert live._act(what, "a", 1) == (False, "The lab has gone on: that was for step 1.")
    assert (predicted, ended) == ([], [])
    assert live._act("predict", "a", 2) == (True, "")
    assert live._act("next", "", 2) == (True, "")
    assert (predicted, ended) == (["a"], [""])


def test_the_live_page_needs_no_web_framework():
    """To import one costs a short run more than all that the page does."""
    script = "import sys, napt_lab.labs.view.live; print(*sys.modules)"
    imported = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    ).stdout.split()
    assert "h11" in imported
    assert "aiohttp" not in imported


def test_hostile_text_cannot_end_the_data(tmp_path):
    evil = "</script><script>document.title='owned'</script><!--"
    story, recording = record_run(tmp_path, evil)
    text = render(story, tmp_path, page.report_inset(recording, tmp_path))
    assert evil not in text
    (data,) = re.findall(
        r'<script type="application/json" id="run">(.*?)</script>', text, re.DOTALL
    )
    said = [record["command"] for record in json.loads(data) if record["kind"] == "command"]
    assert said == [f"curl {evil}"]


def test_the_policy_allows_this_script_and_nothing_from_elsewhere(tmp_path):
    story, recording = record_run(tmp_path)
    text = render(story, tmp_path, page.report_inset(recording, tmp_path))
    (policy,) = re.findall(r'http-equiv="Content-Security-Policy" content="([^"]*)"', text)
    assert policy.startswith(("default-src 'none';", "default-src &#39;none&#39;;"))
    assert "unsafe" not in policy
    assert "http" not in policy
    assert TOPOLOGY.stem in text


@pytest.mark.skipif(not shutil.which("node"), reason="node is missing")
@pytest.mark.parametrize(
    "path", sorted((page.HERE / "js").glob("*.js")), ids=lambda path: path.stem
)
def test_each_module_can_be_read_alone(path):
    done = subprocess.run(
        ["node", "--input-type=module", "--check"], input=path.read_bytes(), capture_output=True
    )
    assert done.returncode == 0, done.stderr.decode()
