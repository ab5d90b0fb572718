"""Lab 8, played in silence: each part alone, as `make lab-8 PART=…` plays it."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from scapy.utils import PcapNgReader

from napt_lab.labs.level_8.lab import LAB
from napt_lab.labs.records.stream import Stream
from napt_lab.labs.stage.play import Play
from napt_lab.labs.verdict.results import Results

pytestmark = pytest.mark.network(timeout=60)

CLAIMS = {  # part: what it proves
    "proxy": {"8.proxy"},
    "transparent-proxy": {"8.transparent-proxy"},
    "napt": {"8.napt"},
    "rules": {"8.rule-per-connection", "8.gc-close"},
    "idle": {"8.gc-idle"},
    "65536": {"8.65536"},
    "inbound": {"8.inbound"},
    "upload": {"8.upload"},
}


def play(name, folder):
    part = next(part for part in LAB.parts if part.name == name)
    stream, results, records = Stream(), Results(folder), []
    stream.listen(results)
    stream.listen(records.append)
    try:
        Play(replace(LAB, parts=(part,)), (part,), stream, folder, None).run()
    finally:
        stream.silence()
        results.write()
    return json.loads((folder / "results.json").read_text()), records


def check(name, folder):
    results, records = play(name, folder)
    checks = [check for step in results["steps"] for check in step["checks"]]
    assert [check for check in checks if not check["passed"]] == []
    assert results["passed"]
    assert {check["claim"] for check in checks} == CLAIMS[name]
    return checks, records


def test_the_parts_are_in_the_order_of_the_course():
    assert [part.name for part in LAB.parts] == list(CLAIMS)


@pytest.mark.parametrize("name", [name for name in CLAIMS if name != "65536"])
def test_all_claims_of_a_part_hold(name, tmp_path):
    check(name, tmp_path)
    with PcapNgReader(str(tmp_path / "capture.pcapng")) as reader:
        assert {"pc:eth0", "internet:isp1"} <= {packet.sniffed_on for packet in reader}


@pytest.mark.network(timeout=180)  # a machine that has nothing else to do takes twenty seconds
def test_65536(tmp_path):
    _, records = check("65536", tmp_path)
    progress = [record["done"] for record in records if record["event"] == "progress"]
    assert progress == sorted(progress)
    assert len(progress) > 5
    assert progress[-1] == 65_536
