"""Places shared by addresses: what is promised to a newcomer, and to those who hold places."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from napt_lab.servers.shared.shares import NoPlaceError, Shares


def test_one_address_may_have_all_places_until_another_asks():
    shares = Shares(3)
    assert [shares.take("a", n) for n in range(3)] == [None] * 3
    with pytest.raises(NoPlaceError, match="all 3 places are taken"):
        shares.take("a", 3)
    assert shares.take("b", 4) == 0
    with pytest.raises(NoPlaceError):  # two and one: to swap would only turn it round
        shares.take("b", 5)
    assert shares.take("c", 6) == 1
    with pytest.raises(NoPlaceError):
        shares.take("d", 7)
    shares.release(2)
    shares.release(2)
    assert shares.take("d", 7) is None
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
            loser = shares.take(address, number)
        except NoPlaceError:
            assert mine >= places // asking
            continue
        if loser is not None:
            assert list(held.values()).count(held.pop(loser)) > mine + 1
        held[number] = address
        assert len(shares) == len(held) <= places
        assert all(shares.held_by(a) == list(held.values()).count(a) for a in "abc")
