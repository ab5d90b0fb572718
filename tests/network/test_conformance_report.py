"""The whole examination, on real packets, of the candidates that docs/conformance.md shows.

Each makes a sandbox of its own, so this is not marked `network`. Nearly all of its time is spent
waiting for time-outs.
"""

from __future__ import annotations

from napt_lab.labs.conformance import written
from napt_lab.labs.conformance.chapters import CHAPTERS, REQUIREMENTS
from napt_lab.labs.conformance.conformance_command import candidates, setups
from napt_lab.labs.conformance.requirement import WORDS
from napt_lab.labs.conformance.side_by_side import examine_all
from napt_lab.labs.verdict.verdicts import Verdict

PRESETS = ("rfc", "none")


def told(outcome):
    return f"{outcome.requirement.id}: {outcome.verdict.value}: {outcome.why}, {outcome.evidence}"


def test_the_table_in_docs_is_what_is_seen(tmp_path):
    examinations = examine_all(
        setups(candidates(["python", "nftables"], [], PRESETS, {})), REQUIREMENTS, tmp_path
    )
    errors = [
        f"{examination.name}: {told(outcome)}"
        for examination in examinations
        for outcome in examination.outcomes
        if outcome.verdict is Verdict.ERROR
    ]
    assert not errors, "\n".join(errors)
    headings = {chapter.rfc: f"RFC {chapter.rfc}: {chapter.title}" for chapter in CHAPTERS}
    table = written.verdicts(written.PATH.read_text(encoding="utf-8"))
    others = []
    for outcomes in zip(*(e.outcomes for e in examinations), strict=True):
        requirement = outcomes[0].requirement
        row = table.get((headings[requirement.rfc], requirement.name))
        assert row, (
            f"{requirement.id} is missing in docs/conformance.md: its head says how to renew it"
        )
        others += [
            f"{examination.name}: {told(outcome)}; the table has {word}"
            for examination, outcome, word in zip(examinations, outcomes, row, strict=True)
            if WORDS[outcome.verdict] != word
        ]
    assert not others, "\n".join([*others, "if these are right, make docs/conformance.md anew"])
