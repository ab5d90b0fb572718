"""The DNS server: what it answers, and what it makes of bytes that are no question."""

from __future__ import annotations

import random

import dns.name
import pytest
from scapy.layers.dns import DNS, DNSQR

from napt_lab.servers.name_server import answer

ZONE = {
    dns.name.from_text("files"): ["198.51.100.10"],
    dns.name.from_text("cgn"): ["24.9.3.7", "24.9.3.8"],
}
NO_ERROR, FORMERR, NXDOMAIN, NOTIMP, REFUSED = 0, 1, 3, 4, 5


def question(name="files", kind="A", qclass="IN", **fields):
    return bytes(DNS(id=77, rd=1, qd=DNSQR(qname=name, qtype=kind, qclass=qclass), **fields))


def asked(data):
    """The response as scapy reads it, and what is told of it."""
    response, told = answer(data, ZONE)
    read = DNS(response)
    assert (read.id, read.qr) == (77, 1)
    return read, told


@pytest.mark.parametrize(
    ("name", "kind", "code", "addresses"),
    [
        ("files", "A", NO_ERROR, ["198.51.100.10"]),
        ("FiLeS.", "A", NO_ERROR, ["198.51.100.10"]),
        ("cgn", "A", NO_ERROR, ["24.9.3.7", "24.9.3.8"]),
        ("cgn", "ALL", NO_ERROR, ["24.9.3.7", "24.9.3.8"]),
        ("files", "AAAA", NO_ERROR, []),  # the name is there, and has none
        ("files.example", "A", NXDOMAIN, []),
        ("nobody", "A", NXDOMAIN, []),
    ],
)
def test_names_have_their_addresses_and_no_others_exist(name, kind, code, addresses):
    read, told = asked(question(name, kind))
    assert (read.rcode, read.aa, read.ra) == (code, 1, 0)
    assert sorted(str(record.rdata) for record in read.an or []) == addresses  # in any order
    assert {record.ttl for record in read.an or []} <= {60}
    assert told["answer"] == (addresses or {NO_ERROR: "NOERROR", NXDOMAIN: "NXDOMAIN"}[code])
    assert told["name"] == name.rstrip(".")


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (question(qclass="CH"), REFUSED),
        (question(opcode=2), NOTIMP),
        (question(opcode=5), NOTIMP),
        (bytes(DNS(id=77, qd=[DNSQR(qname="a"), DNSQR(qname="b")])), FORMERR),
        (bytes(DNS(id=77, qd=[])), FORMERR),
        (question()[:-1], FORMERR),
        (question() + b"rest", FORMERR),
        (b"\0M\1\0\0\1\0\0\0\0\0\0\xc0\x0c\0\1\0\1", FORMERR),  # a name that points to itself
    ],
)
def test_what_is_no_question_for_an_address(data, code):
    read, told = asked(data)
    assert read.rcode == code
    assert not read.an
    assert told["answer"]


def test_nothing_is_said_to_what_is_no_request():
    assert answer(b"", ZONE) is None
    assert answer(question()[:11], ZONE) is None
    assert answer(question(qr=1), ZONE) is None  # else two servers could talk for ever


def test_no_bytes_at_all_raise_anything_or_get_a_long_answer():
    dice = random.Random(5)
    whole = question("cgn", "A")
    for _ in range(2000):
        data = bytearray(whole)
        for _ in range(dice.randrange(1, 5)):
            data[dice.randrange(len(data))] = dice.randrange(256)
        data += dice.randbytes(dice.choice([0, 0, 3]))
        found = answer(bytes(data[: dice.choice([len(data), dice.randrange(len(data) + 1)])]), ZONE)
        assert found is None or len(found[0]) <= 512
