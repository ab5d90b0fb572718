"""Saboteurs of the conformance report: each fault turns its rows red, and no other row."""

from __future__ import annotations

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

from napt_lab.labs.conformance.chapters import REQUIREMENTS
from napt_lab.labs.conformance.requirement import WORDS
from napt_lab.labs.conformance.side_by_side import examine_all
from napt_lab.labs.conformance.topology import Candidate, read_setup
from tests import installed
from tests.saboteurs.conformance_faults import IMPATIENT, PLANTED, PLANTED_FOR_FEW, SETTINGS
from tests.saboteurs.planted import anything
from tests.saboteurs.saboteur import Patch, copy

DEADLINE = 150.0  # seconds
AT_A_TIME = 2  # examinations: more would be too slow for their time-outs


def assert_red(faults, rows):
    """Exactly the rows of these faults are red, each for the expected reason."""
    failed = {row["id"]: row for row in rows if row["verdict"] == "fail"}
    errors = [row for row in rows if row["verdict"] == "error"]
    assert not errors, errors
    expected = {row: words for fault in faults for row, words in fault.red.items()}
    assert len(expected) == sum(len(fault.red) for fault in faults), "two faults have one row"
    story = "\n".join(f"{row['id']}: {row['why']} {row['evidence']}" for row in failed.values())
    assert set(failed) == set(expected), f"expected {sorted(expected)}:\n{story}"
    for row, words in expected.items():
        assert words in failed[row]["why"], f"{row} not for the expected reason:\n{story}"


def test_settings_that_violate_a_requirement(tmp_path):
    setups = [
        read_setup(
            Candidate(
                faults[0].name,
                {"preset": "rfc"} | {k: v for fault in faults for k, v in fault.keys.items()},
            )
        )
        for faults in SETTINGS
    ]
    for faults, examination in zip(
        SETTINGS, examine_all(setups, REQUIREMENTS, tmp_path), strict=True
    ):
        rows = [
            {
                "id": outcome.requirement.id,
                "verdict": WORDS[outcome.verdict],
                "why": outcome.why,
                "evidence": outcome.evidence,
            }
            for outcome in examination.outcomes
        ]
        assert len(rows) == len(REQUIREMENTS)
        assert_red(faults, rows)


def examine(root, *arguments):
    """The rows of an examination that runs in a copy of the source, and must not pass."""
    done = subprocess.run(
        [sys.executable, "-m", "napt_lab.labs", "conformance", *arguments],
        cwd=root, env=installed.environment(root), stdin=subprocess.DEVNULL,
        capture_output=True, text=True, timeout=DEADLINE, check=False,
    )  # fmt: skip
    assert done.returncode == 1, done.stdout + done.stderr
    text = (root / "runs" / "conformance" / "results.json").read_text(encoding="utf-8")
    (candidate,) = json.loads(text)["candidates"]
    return candidate["requirements"]


def options(name, values):
    return [word for value in values for word in (name, value)]


def sabotaged(source, root, patches):
    copy(source, root)
    for patch in patches:
        patch.apply(root)
    return root


def test_faults_in_the_translator(pristine, tmp_path):
    def work(run):
        faults, only = run
        patches = [patch for fault in faults for patch in fault.patches]
        keys = [f"{k}={v}" for fault in faults for k, v in (fault.keys or {}).items()]
        root = sabotaged(pristine, tmp_path / faults[0].name, [*IMPATIENT, *patches])
        return examine(root, *options("--set", keys), *options("--only", only))

    few = [row for fault in PLANTED_FOR_FEW for row in fault.red]
    runs = [*((faults, []) for faults in PLANTED), (PLANTED_FOR_FEW, few)]
    with ThreadPoolExecutor(AT_A_TIME) as pool:
        examined = list(pool.map(work, runs))
    for (faults, only), rows in zip(runs, examined, strict=True):
        assert len(rows) == len(only or REQUIREMENTS)
        assert_red(faults, rows)


def test_a_report_on_packets_that_were_never_sent_is_all_errors(pristine, tmp_path):
    nothing_is_sent = Patch("napt_lab.labs.conformance.testbed:Host.send", anything.nothing)
    root = sabotaged(pristine, tmp_path / "copy", [nothing_is_sent])
    # What must pass, what must not, and both; as many as are tried at the same time.
    wanted = {"3022.TTL", "3022.other-protocols", "3022.spoofed"}
    wanted |= {"4787.REQ-12", "4787.REQ-12a", "4787.REQ-12b"}
    rows = examine(root, *options("--only", wanted))
    assert {row["id"] for row in rows} == wanted
    assert {row["verdict"] for row in rows} == {"error"}
    assert all("never reached" in row["why"] for row in rows), rows
