"""One time per key, and a heap that does not grow with refreshing."""

from napt_lab.servers.turn.expirations import Expirations


def test_the_last_time_set_counts():
    expirations = Expirations()
    expirations.set("a", 10)
    expirations.set("b", 5)
    expirations.set("a", 20)
    assert expirations.next() == 5
    assert list(expirations.due(10)) == ["b"]
    assert expirations.next() == 20
    expirations.discard("a")
    assert expirations.next() is None
    assert list(expirations.due(100)) == []


def test_refreshing_again_and_again_needs_bounded_memory():
    expirations = Expirations()
    for second in range(100_000):
        expirations.set("a", second)
        expirations.set(second, second)
        expirations.discard(second)
    assert len(expirations) == 1
    assert len(expirations._heap) < 200
