"""`check` as a user or a CI system runs it: exit status, reports, and what ends it early.

Each run makes its own sandbox, as it does for a user, so this is not marked `network`.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DEADLINE = 120.0  # seconds

PROMISES = """
title: Promises
internet: {a: {address: 198.51.100.2, runs: [web]}, b: 198.51.100.3}
expect:
  - b reaches a:80 by http as b
  - a cannot reach b:80 because refused at b
"""
BROKEN = """
  - check: b cannot reach a
    message: look at a's firewall
    points: 2
"""
SLOW = """
  - {check: b cannot reach a by ping, wait: 5m}
"""


def start(*arguments, **options):
    return subprocess.Popen(
        [sys.executable, "-m", "napt_lab.labs", "check", *map(str, arguments)],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


def finish(process):
    try:
        said, complained = process.communicate(timeout=DEADLINE)
    finally:
        process.kill()
    return process.returncode, said, complained


def write(folder, text):
    path = folder / "promises.yaml"
    path.write_text(text)
    return path


def test_all_shipped_topologies_do_what_they_say(tmp_path):
    shipped = sorted((ROOT / "topologies").glob("*.yaml"))
    report = tmp_path / "report.json"
    status, said, complained = finish(start(*shipped, "--json", report))
    assert (status, complained) == (0, ""), said
    files = {Path(f["file"]).stem: f for f in json.loads(report.read_text())["files"]}
    assert set(files) == {path.stem for path in shipped}
    for stem in ("one-site", "two-sites", "two-sites-relay"):
        assert len(files[stem]["checks"]) >= 4
    assert {check["verdict"] for f in files.values() for check in f["checks"]} == {"passed"}


def test_what_does_not_hold_is_told_to_people_ci_systems_and_github(tmp_path, monkeypatch):
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_WORKSPACE", str(tmp_path))
    junit, path = tmp_path / "junit.xml", write(tmp_path, PROMISES + BROKEN)
    # Two at once: they share nothing.
    other = start(path, "--json", "-")
    status, said, complained = finish(start(path, "--junit", junit))
    assert (status, complained) == (1, "")
    assert "✗ b cannot reach a" in said
    assert "look at a's firewall" in said
    assert "2 hold, 1 does not hold." in said
    annotation = said.splitlines()[-1]
    assert annotation == (
        "::error file=promises.yaml,line=8,title=does not hold::b cannot reach a%0A"
        "b reaches it: b → a%0Alook at a's firewall"
    )
    assert [case.find("failure") is None for case in ET.parse(junit).iter("testcase")] == [
        True, True, False,
    ]  # fmt: skip
    status, as_json, told = finish(other)
    whole = json.loads(as_json[as_json.index("{") : as_json.rindex("}") + 1])
    assert status == 1
    assert (whole["files"][0]["points"], whole["files"][0]["of_points"]) == (2, 4)
    assert "✗ b cannot reach a" in told


def test_whoever_stops_it_finds_what_was_known_and_what_was_not(tmp_path):
    junit = tmp_path / "junit.xml"
    process = start(write(tmp_path, PROMISES + SLOW), "--junit", junit, start_new_session=True)
    for line in process.stdout:  # from here on, only the slow one is awaited
        if line.startswith("✓ a cannot reach b:80"):
            break
    process.send_signal(signal.SIGINT)
    status, said, complained = finish(process)
    assert status == 130
    assert "Traceback" not in complained
    assert "You stopped the check: 2 hold, 1 not checked." in said
    cases = list(ET.parse(junit).iter("testcase"))
    assert [case.find("error") is None for case in cases] == [True, True, False]
    assert "stopped before" in cases[2].find("error").get("message")
