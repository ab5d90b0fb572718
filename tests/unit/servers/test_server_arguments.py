"""The servers' command lines: what is wrong with a word is said in words."""

from __future__ import annotations

import argparse

import pytest

from napt_lab.servers.shared.arguments import account, address_and_port, port_number
from napt_lab.servers.turn.client.options import converse


def test_what_is_right():
    assert [port_number(text) for text in ("0", "80", "65535")] == [0, 80, 65535]
    assert address_and_port("198.51.100.11:9000") == ("198.51.100.11", 9000)
    assert account("alice:sec:ret") == ("alice", "sec:ret")


@pytest.mark.parametrize("text", ["", "-1", "65536", "000000080", "8o", "٨٠", "²", " 80"])
def test_what_is_no_port(text):
    with pytest.raises(argparse.ArgumentTypeError, match="is not a port, 0 to 65535"):
        port_number(text)


@pytest.mark.parametrize("text", ["9000", ":9000"])
def test_what_is_no_server(text):
    with pytest.raises(argparse.ArgumentTypeError, match="is not ADDRESS:PORT"):
        address_and_port(text)


@pytest.mark.parametrize("text", ["alice", "alice:", ":secret"])
def test_what_is_no_account(text):
    with pytest.raises(argparse.ArgumentTypeError, match="NAME:PASSWORD"):
        account(text)


def test_a_turn_client_that_times_out_says_so():
    async def time_out() -> None:
        raise TimeoutError

    with pytest.raises(SystemExit, match="turn client: timed out waiting for the peer"):
        converse(time_out())
