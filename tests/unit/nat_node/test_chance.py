"""The numbers with which a NAPT chooses ports."""

from __future__ import annotations

from napt_lab.nat_node.engines.python_engine import Chance


def test_numbers_are_below_the_limit_and_differ():
    below = Chance().below
    numbers = [below(64_512) for _ in range(2000)]  # more than one draught
    assert all(0 <= number < 64_512 for number in numbers)
    assert len(set(numbers)) > 1800  # 30 of 2,000 meet by chance
    assert below(1) == 0
