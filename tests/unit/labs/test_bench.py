"""The bench's own arithmetic and its table. What it measures is not tested: it would be timing."""

from __future__ import annotations

import io
import json

import pytest
from rich.console import Console

from napt_lab.labs.bench.figure_table import bar, number, table
from napt_lab.labs.bench.figures import KERNEL, OURS, Bound, Figure, Row, Target
from napt_lab.labs.bench.starting import many_hosts_topology, sentences_topology
from napt_lab.labs.bench.traffic_load import PAYLOAD
from napt_lab.topologies.spec.loader import load


def row(*targets: Target, **samples: list[float]) -> Row:
    made = Row("key", "a title", "µs", targets=targets)
    for engine, values in samples.items():
        for value in values:
            made.add(engine, value)
    return made


def test_median_and_spread():
    figure = Figure([10.0, 30.0, 20.0])
    assert figure.median == 20.0
    assert figure.spread == 1.0
    assert Figure([0.0, 0.0]).spread == 0.0
    with pytest.raises(ValueError, match="at least one"):
        Figure([])


def test_a_ratio_is_taken_round_by_round():
    # The machine became ten times slower between the rounds; the ratio was 0.5 all the time.
    ours, kernel = Figure([50.0, 5.0, 5.0]), Figure([100.0, 10.0, 10.0])
    assert ours.ratio_to(kernel) == 0.5
    # The ratio of the medians would be the same here, but not where only one was disturbed.
    assert Figure([8.0, 2.0, 8.0]).ratio_to(Figure([10.0, 10.0, 2.0])) == 0.8


def test_an_engine_that_was_asked_less_often_is_compared_as_far_as_it_went():
    assert Figure([4.0, 6.0, 100.0]).ratio_to(Figure([2.0, 2.0])) == 2.5


@pytest.mark.parametrize(
    ("bound", "value", "ours", "kernel", "met"),
    [
        (Bound.RATIO_AT_LEAST, 0.7, 7.0, 10.0, True),
        (Bound.RATIO_AT_LEAST, 0.7, 6.9, 10.0, False),
        (Bound.RATIO_AT_MOST, 1.1, 11.0, 10.0, True),
        (Bound.RATIO_AT_MOST, 1.1, 11.2, 10.0, False),
        (Bound.ADDED_AT_MOST, 60, 90.0, 30.0, True),
        (Bound.ADDED_AT_MOST, 60, 91.0, 30.0, False),
        (Bound.VALUE_AT_MOST, 0.15, 0.15, 1.0, True),
        (Bound.VALUE_AT_MOST, 0.15, 0.16, 1.0, False),
    ],
)
def test_a_target_is_met_or_missed(bound, value, ours, kernel, met):
    figures = {OURS: Figure([ours]), KERNEL: Figure([kernel])}
    assert Target(bound, value, KERNEL).met(figures) is met


def test_a_target_beside_nothing_is_neither_met_nor_missed():
    target = Target(Bound.RATIO_AT_LEAST, 0.7, KERNEL)
    assert target.met({OURS: Figure([1.0])}) is None
    assert target.met({KERNEL: Figure([1.0])}) is None


def test_json_has_every_value_ratio_and_target():
    made = row(Target(Bound.RATIO_AT_LEAST, 0.6, KERNEL), python=[6.0, 8.0], kernel=[10.0, 10.0])
    found = json.loads(json.dumps(made.as_json()))
    assert found["engines"]["python"]["values"] == [6.0, 8.0]
    assert found["engines"]["kernel"]["median"] == 10.0
    assert found["ratio_to"] == {"kernel": pytest.approx(0.7)}
    assert found["targets"] == [{"text": "at least 0.6 of kernel", "met": True}]


def test_nothing_is_divided_by_a_figure_of_zero():
    found = row(python=[6.0], kernel=[0.0]).as_json()
    assert found["ratio_to"] == {}


@pytest.mark.parametrize(
    ("value", "longest", "text"),
    [(10, 10, "█" * 20), (5, 10, "█" * 10), (0.1, 20, "▏"), (0, 10, ""), (0, 0, "")],
)
def test_bar(value, longest, text):
    assert bar(value, longest) == text


@pytest.mark.parametrize(
    ("value", "text"), [(123456.7, "123,457"), (12.345, "12.3"), (0.07421, "0.0742"), (0, "0")]
)
def test_number(value, text):
    assert number(value) == text


def test_the_table_shows_engines_ratios_and_targets():
    console = Console(file=io.StringIO(), width=160)
    target = Target(Bound.RATIO_AT_LEAST, 0.6, KERNEL)
    console.print(table([row(target, python=[7.0], kernel=[10.0])]))
    console.print(table([row(target, python=[5.0], kernel=[10.0])]))
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert "python 0.7×" in text
    assert "✓ at least 0.6 of kernel" in text
    assert "✗ at least 0.6 of kernel" in text


@pytest.mark.parametrize(("count", "napts"), [(1, 0), (500, 0), (500, 50)])
def test_a_topology_with_many_hosts_is_a_good_one(tmp_path, count, napts):
    file = tmp_path / "many.yaml"
    file.write_text(many_hosts_topology(count, napts))
    topology = load(file)
    assert (len(list(topology.hosts())), len(topology.sites)) == (count + 1, napts or 1)


def test_a_topology_with_many_sentences_is_a_good_one(tmp_path):
    file = tmp_path / "sentences.yaml"
    file.write_text(sentences_topology(10))
    assert len(load(file).expect) == 10


def test_a_small_datagram_is_a_frame_of_64_bytes():
    ethernet, ipv4, udp = 14, 20, 8
    assert ethernet + ipv4 + udp + len(PAYLOAD) == 64
