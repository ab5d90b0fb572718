"""One deadline per key, and a heap that does not grow with refreshing."""

from napt_lab.servers.turn.deadlines import Deadlines


def test_the_last_deadline_set_counts():
    deadlines = Deadlines()
    deadlines.set("a", 10)
    deadlines.set("b", 5)
    deadlines.set("a", 20)
    assert deadlines.next() == 5
    assert list(deadlines.due(10)) == ["b"]
    assert deadlines.next() == 20
    deadlines.discard("a")
    assert deadlines.next() is None
    assert list(deadlines.due(100)) == []


def test_refreshing_for_ever_needs_bounded_memory():
    deadlines = Deadlines()
    for second in range(100_000):
        deadlines.set("a", second)
        deadlines.set(second, second)
        deadlines.discard(second)
    assert len(deadlines) == 1
    assert len(deadlines._heap) < 200
