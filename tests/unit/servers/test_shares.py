"""Places shared by addresses: what is promised to a newcomer, and to those who hold places."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from napt_lab.servers.shared.shares import NoPlaceError, Shares


def ask(shares, address, holder):
    """Take a place as servers do; returns who lost one."""
    loser = next(iter(shares.who_may_yield(address)), None)
    if loser is not None:
        shares.release(loser)
    shares.take(address, holder)
    return loser


def test_one_address_may_have_all_places_until_another_asks():
    shares = Shares(3)
    assert [ask(shares, "a", n) for n in range(3)] == [None] * 3
    with pytest.raises(NoPlaceError, match="all 3 places are taken"):
        ask(shares, "a", 3)
    assert ask(shares, "b", 4) == 0
    with pytest.raises(NoPlaceError):  # two and one: to swap would only turn it round
        ask(shares, "b", 5)
    assert ask(shares, "c", 6) == 1
    with pytest.raises(NoPlaceError):
        ask(shares, "d", 7)
    shares.release(2)
    shares.release(2)
    assert ask(shares, "d", 7) is None
    assert len(shares) == 3


@given(st.lists(st.tuples(st.sampled_from("aaaaabc"), st.booleans())))
def test_an_address_that_holds_less_than_its_share_always_gets_a_place(story):
    places, asking = 6, 3
    shares, held = Shares(places), {}
    for number, (address, leaves) in enumerate(story):
        if leaves and held:
            shares.release(oldest := next(iter(held)))
            del held[oldest]
            continue
        mine = list(held.values()).count(address)
        try:
            loser = ask(shares, address, number)
        except NoPlaceError:
            assert mine >= places // asking
            continue
        if loser is not None:
            assert list(held.values()).count(held.pop(loser)) > mine + 1
        held[number] = address
        assert len(shares) == len(held) <= places
        assert all(shares.held_by(a) == list(held.values()).count(a) for a in "abc")
