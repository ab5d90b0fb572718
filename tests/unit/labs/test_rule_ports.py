"""No connection can get, by chance, the external port of a rule that a level or an answer adds."""

from __future__ import annotations

import pytest

from napt_lab.labs.exercises.answers import parse_line
from napt_lab.labs.exercises.exercise import LEVELS, cases, load, series
from napt_lab.labs.exercises.variant import Student
from napt_lab.labs.level_9d.lab import KEPT_PORT
from napt_lab.labs.shared_steps.commands import PORT
from napt_lab.topologies.spec.checkout import TOPOLOGIES
from napt_lab.topologies.spec.loader import load as load_topology

#: Where steps of a level add rules, by hand or by a program that asks.
OF_LEVELS = {
    "two-sites.yaml": {"napt_a": [PORT], "napt_b": [PORT]},
    "two-sites-pcp.yaml": {"napt_a": [PORT, KEPT_PORT]},
    "level-9h.yaml": {"napt_a": [PORT], "cgn": [PORT]},
}
STUDENTS = [None, *(Student.of(f"student-{n}", b"only for this test") for n in range(20))]


def pools(topology):
    sites = topology.by_gateway().items()
    return {name: site.gateway.napt.ports for name, site in sites if site.gateway.napt}


@pytest.mark.parametrize("file", OF_LEVELS)
def test_the_rules_of_a_level_have_ports_of_their_own(file):
    pool = pools(load_topology(TOPOLOGIES / file))
    for napt, ports in OF_LEVELS[file].items():
        assert not [port for port in ports if port in pool[napt]], napt
        assert 40000 in pool[napt] or 40001 in pool[napt], "control: others are in the pool"


@pytest.mark.parametrize("student", STUDENTS, ids=lambda student: student and student.id)
def test_the_rules_of_an_answer_have_ports_of_their_own(student):
    looked_at = set()
    for path in (exercise.path for level in LEVELS for exercise in series(level)):
        for exercise in cases(load(path, student)) if student is None else [load(path, student)]:
            pool = pools(exercise.topology())
            for answer in (exercise.solution, *(each.answer for each in exercise.mistakes)):
                for line in map(parse_line, answer):
                    match line.words:
                        case ("rule", "add", napt, _, external, _) if napt in pool:
                            port = int(external.rpartition(":")[2])
                        case (_, "pcp", "map", _, _, "--external", asked):
                            napt, port = "napt_a", int(asked)
                        case _:
                            continue
                    assert port not in pool[napt], (exercise.known_as, line.text)
                    looked_at.add(exercise.level)
    assert looked_at == {"8", "9c", "9d", "9h"}
