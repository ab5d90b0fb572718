"""A check that cannot fail proves nothing: every claim and every row of a table has a saboteur."""

from __future__ import annotations

import importlib

import pytest

from napt_lab.labs.conformance.chapters import REQUIREMENTS
from napt_lab.labs.course.registry import LABS
from tests.saboteurs.conformance_faults import RED


@pytest.mark.parametrize("lab_id", LABS)
def test_every_claim_of_the_lab_has_a_saboteur(lab_id):
    claims = {
        claim for part in LABS[lab_id].lab().parts for step in part.steps for claim in step.proves
    }
    saboteurs = importlib.import_module(f"tests.saboteurs.test_level_{lab_id}").SABOTEURS
    assert claims - {claim for saboteur in saboteurs for claim in saboteur.red} == set()


def test_every_row_of_the_conformance_table_that_is_tried_has_a_fault():
    assert {row.id for row in REQUIREMENTS if row.check is not None} == RED
