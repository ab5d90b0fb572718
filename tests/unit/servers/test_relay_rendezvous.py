"""The relay's table of tokens, and its count of failures; no sockets, no clock."""

import pytest

from napt_lab.servers.relay.rendezvous import (
    Failures,
    Limits,
    RefusedError,
    Rendezvous,
    WrongTokenError,
    parse_token,
)

TOKEN, OTHER = bytes(16), bytes([0] * 15 + [1])
ALICE, BOB, EVE = "24.9.3.7", "24.9.3.8", "203.0.113.66"


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_a_token_is_hexadecimal_in_either_case(end):
    assert parse_token(b"00112233445566778899aabbccddeeFF" + end)[-1] == 0xFF
    assert len(parse_token(b"00" * 64 + end)) == 64


@pytest.mark.parametrize(
    "line", [b"", b"00" * 15, b"00" * 16 + b"0", b"00" * 65, b"0x" + b"00" * 16, b"00 " * 16,
             b"\xff" * 32, b" " + b"00" * 16, "\u0660".encode() * 16]
)  # fmt: skip
def test_what_is_no_token(line):
    with pytest.raises(WrongTokenError):
        parse_token(line + b"\n")


def test_two_meet_a_third_is_turned_away_and_the_token_is_free_afterwards():
    table = Rendezvous(Limits())
    meeting = table.arrive(TOKEN, "alice", ALICE)[0]
    assert (meeting.first, meeting.second) == ("alice", None)
    assert table.arrive(TOKEN, "bob", BOB) == (meeting, None)
    assert (meeting.first, meeting.second) == ("alice", "bob")
    with pytest.raises(WrongTokenError, match="two parties have met"):
        table.arrive(TOKEN, "eve", EVE)
    table.end(meeting)
    assert len(table) == 0
    assert table.arrive(TOKEN, "carol", ALICE)[0].second is None


def test_those_with_different_tokens_do_not_meet():
    table = Rendezvous(Limits())
    assert table.arrive(TOKEN, "alice", ALICE)[0] is not table.arrive(OTHER, "bob", BOB)[0]


def test_the_table_holds_no_token_and_its_keys_differ_between_processes():
    tables: list[Rendezvous[str]] = [Rendezvous(Limits()) for _ in range(2)]
    one, two = (table.arrive(TOKEN, "alice", ALICE)[0] for table in tables)
    assert TOKEN not in one.digest
    assert one.digest != two.digest
    assert one.name != two.name


@pytest.mark.parametrize(
    ("limits", "addresses", "words"),
    [
        (Limits(waiting=2), [ALICE, BOB, EVE], "2 parties wait"),
        (Limits(waiting_per_address=2), [ALICE, ALICE, ALICE], "2 parties from 24.9.3.7"),
    ],
)
def test_waiting_is_bounded(limits, addresses, words):
    table = Rendezvous(limits)
    *kept, refused = enumerate(addresses)
    meetings = [table.arrive(bytes([n] * 16), n, address)[0] for n, address in kept]
    with pytest.raises(RefusedError, match=words) as error:
        table.arrive(bytes([refused[0]] * 16), *refused)
    assert not isinstance(error.value, WrongTokenError)  # being one too many is no guess
    table.end(meetings[0])
    table.arrive(bytes([refused[0]] * 16), *refused)


@pytest.mark.parametrize(
    ("limits", "words"),
    [
        (Limits(pairs=1), "1 pairs are joined"),
        (Limits(pairs_per_address=1), "1 pairs of 24.9.3.7"),
    ],
)
def test_pairs_are_bounded_and_who_waits_goes_on_waiting(limits, words):
    table = Rendezvous(limits)
    first, _ = table.arrive(TOKEN, "alice", ALICE)
    table.arrive(TOKEN, "bob", BOB)
    waiting, _ = table.arrive(OTHER, "alice again", ALICE)
    with pytest.raises(RefusedError, match=words):
        table.arrive(OTHER, "bob again", EVE)
    table.end(first)
    assert table.arrive(OTHER, "bob again", EVE)[0] is waiting


def test_a_pair_behind_one_address_counts_once_for_it():
    table = Rendezvous(Limits(pairs_per_address=2))
    for token in (TOKEN, OTHER):
        table.arrive(token, "alice", ALICE)
        table.arrive(token, "bob", ALICE)
    table.arrive(bytes([7] * 16), "alice", ALICE)
    with pytest.raises(RefusedError, match="2 pairs"):
        table.arrive(bytes([7] * 16), "bob", ALICE)


def test_a_newcomer_takes_the_oldest_place_of_the_address_that_holds_the_most():
    table = Rendezvous(Limits(waiting=4))
    hoarded = [table.arrive(bytes([n] * 16), n, EVE)[0] for n in range(3)]
    one, _ = table.arrive(TOKEN[::-1] + b"1", "alice", ALICE)
    _, displaced = table.arrive(OTHER, "bob", BOB)
    assert displaced is hoarded[0]
    table.end(displaced)  # as its own task does, later
    assert len(table) == 4
    # A token of a displaced party is free again, and its place is not given back twice.
    with pytest.raises(RefusedError, match="4 parties wait"):
        table.arrive(bytes([0] * 16), "eve again", EVE)
    assert table.arrive(TOKEN[::-1] + b"1", "carol", BOB) == (one, None)


def test_a_newcomers_pair_takes_the_oldest_place_of_the_address_that_holds_the_most():
    table = Rendezvous(Limits(pairs=2))
    hoarded = []
    for n in range(2):
        table.arrive(bytes([n] * 16), n, EVE)
        hoarded.append(table.arrive(bytes([n] * 16), -n, EVE)[0])
    waiting, _ = table.arrive(OTHER + b"1", "alice", ALICE)
    assert table.arrive(OTHER + b"1", "bob", BOB) == (waiting, hoarded[0])


def test_failures_are_counted_for_a_minute():
    failures = Failures(per_minute=2)
    failures.add(EVE, now=0)
    assert not failures.too_many(EVE, now=1)
    failures.add(EVE, now=59)
    assert failures.too_many(EVE, now=59.9)
    assert not failures.too_many(ALICE, now=59.9)
    assert not failures.too_many(EVE, now=60)
    failures.add(EVE, now=61)
    assert not failures.too_many(EVE, now=61)


def test_the_memory_of_failures_is_bounded():
    failures = Failures(per_minute=1, addresses=3)
    for n in range(10):
        failures.add(f"198.51.100.{n}", now=0)
    assert [n for n in range(10) if failures.too_many(f"198.51.100.{n}", now=0)] == [7, 8, 9]
