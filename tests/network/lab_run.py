"""A lab played in silence, and what it left behind."""

from __future__ import annotations

import json

from napt_lab.labs.records.stream import Stream
from napt_lab.labs.stage.play import Play
from napt_lab.labs.verdict.results import Results


def play(lab, folder, pause=None):
    """results.json as it was written to `folder`, and all records of the stream."""
    stream, results, records = Stream(), Results(folder), []
    stream.listen(results)
    stream.listen(records.append)
    try:
        Play(lab, lab.parts, stream, folder, pause).run()
    finally:
        stream.silence()
        results.write()
    return json.loads((folder / "results.json").read_text()), records


def checks(results):
    return [check for step in results["steps"] for check in step["checks"]]


def evidence(results, claim):
    """All that was given as evidence for a claim."""
    return "; ".join(check["evidence"] for check in checks(results) if check["claim"] == claim)


def assert_all_hold(results, claims):
    """No check fails, and each step finds what the course calls the right prediction."""
    failed = [check for check in checks(results) if not check["passed"]]
    assert not failed, json.dumps(failed, indent=2)
    assert results["passed"]
    unforeseen = [each for each in results["predictions"] if each["seen"] != each["expected"]]
    assert not unforeseen, json.dumps(unforeseen, indent=2)
    assert {check["claim"] for check in checks(results)} == set(claims)
