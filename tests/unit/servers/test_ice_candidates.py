"""What one ICE peer tells the other, as a line; and lines that are refused."""

from __future__ import annotations

import json

import pytest
from aioice import Candidate

from napt_lab.servers.ice.candidates import (
    MOST_CANDIDATES,
    Description,
    NotADescriptionError,
    by_kind,
    kind_and_endpoint,
)

HOST = "1 1 udp 2130706431 10.0.0.7 40001 typ host"
OUTSIDE = "2 1 udp 1694498815 24.9.3.7 50001 typ srflx raddr 10.0.0.7 rport 40001"


def line(**changes):
    told = {"ufrag": "Xy1+", "pwd": "p" * 22, "candidates": [HOST, OUTSIDE]}
    return json.dumps(told | changes).encode() + b"\n"


def test_a_description_is_read_as_it_was_written():
    read = Description.read(line())
    assert read.line() == line()
    assert kind_and_endpoint(read.candidates[1]) == "server-reflexive 24.9.3.7:50001"
    assert by_kind(read.candidates) == {
        "host": ["10.0.0.7:40001"], "server-reflexive": ["24.9.3.7:50001"], "relayed": []
    }  # fmt: skip
    assert isinstance(read.candidates[0], Candidate)


@pytest.mark.parametrize(
    "wrong",
    [
        b"GET / HTTP/1.1\r\n",
        b"[" * 9000,
        b"\xff\n",
        b"[]\n",
        b"{}\n",
        line(ufrag="a:b c"),
        line(pwd=""),
        line(candidates=None),
        line(candidates=["nothing"]),
        line(candidates=[HOST.replace("40001", "0")]),
        line(candidates=[HOST.replace("40001", "65536")]),
        line(candidates=[HOST.replace("10.0.0.7", "somebody.local")]),
        line(candidates=[HOST] * (MOST_CANDIDATES + 1)),
    ],
)
def test_what_is_no_description(wrong):
    with pytest.raises(NotADescriptionError):
        Description.read(wrong)
