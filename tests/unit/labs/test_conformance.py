"""The conformance report without a network: packets, verdicts, and which requirements there are."""

from __future__ import annotations

import itertools
import json
import re
from types import SimpleNamespace
from typing import Any

import pytest

from napt_lab.labs.capture.packets import SYN, UDP, Sum, checksum, decode_ipv4
from napt_lab.labs.conformance import headers, tcp_checks, written
from napt_lab.labs.conformance.chapters import CHAPTERS, REQUIREMENTS, named
from napt_lab.labs.conformance.conformance_command import Unusable, candidates, setups
from napt_lab.labs.conformance.exam import Exam
from napt_lab.labs.conformance.requirement import Chapter, Deviation, Outcome, judge
from napt_lab.labs.conformance.result_files import results
from napt_lab.labs.conformance.side_by_side import Examination, as_json, from_json
from napt_lab.labs.conformance.topology import Candidate, read_setup
from napt_lab.labs.conformance.violation import (
    Coincidence,
    NotApplicable,
    NotProbed,
    Violation,
)
from napt_lab.labs.verdict.verdicts import Verdict

INSIDE, OUTSIDE = ("10.0.0.7", 4711), ("151.101.1.69", 80)


class Notes:
    """What a test is given, as far as a verdict needs it."""

    def __init__(self, fault=""):
        self.observations = 0
        self.evidence: tuple[str, ...] = ()
        self.fault = fault

    def machine_fault(self):
        return self.fault

    def note(self, text):
        self.evidence += (text,)

    def observe(self, text):
        self.observations += 1
        self.note(text)


@pytest.fixture(scope="session")
def setup():
    return read_setup(Candidate("python", {"preset": "rfc"}))


def verdict_of(check, setup, *deviations, fault=""):
    chapter = Chapter(1, "one")
    chapter.test("REQ-1", "MUST", "words", *deviations)(check)
    notes: Any = Notes(fault)
    return judge(chapter.requirements[0], notes, setup, lambda: 0.0)


def meets(exam):
    exam.observe("a packet")


def violates(_exam):
    raise Violation("it was let in")


def deviation(when):
    return Deviation(lambda _: when, "a reason", "a-setting: true")


@pytest.mark.parametrize(
    ("check", "declared", "verdict", "why"),
    [
        (meets, None, Verdict.PASSED, ""),
        (violates, None, Verdict.FAILED, "it was let in"),
        (violates, True, Verdict.DEVIATION, "a reason"),
        (violates, False, Verdict.FAILED, "it was let in"),  # declared for other settings
        (meets, True, Verdict.FAILED, "declared as a deviation, but not observed: a reason"),
        (meets, False, Verdict.PASSED, ""),
        (lambda exam: None, None, Verdict.ERROR, "ended without an observation"),
        (lambda exam: exam.note("looked"), None, Verdict.ERROR, "ended without an observation"),
        (lambda exam: 1 / 0, None, Verdict.ERROR, "ZeroDivisionError"),
        (lambda exam: 1 / 0, True, Verdict.ERROR, "ZeroDivisionError"),
    ],
)
def test_verdicts(check, declared, verdict, why, setup):
    deviations = () if declared is None else (deviation(declared),)
    outcome = verdict_of(check, setup, *deviations)
    assert outcome.verdict is verdict
    assert why in outcome.why


@pytest.mark.parametrize(
    ("error", "verdict"),
    [(NotApplicable("no pool"), Verdict.NOT_APPLICABLE), (NotProbed("no way"), Verdict.ERROR)],
)
def test_what_cannot_be_tried_is_no_pass(error, verdict, setup):
    def check(_exam):
        raise error

    outcome = verdict_of(check, setup)
    assert (outcome.verdict, outcome.why) == (verdict, str(error))


def test_a_port_that_another_test_has_by_chance_costs_another_try(setup):
    def unlucky(times):
        left = iter(range(times))

        def check(exam):
            if next(left, None) is not None:
                raise Coincidence("it was let in")
            exam.observe("a packet")

        return check

    assert verdict_of(unlucky(2), setup).verdict is Verdict.PASSED
    thrice = verdict_of(unlucky(3), setup)
    assert (thrice.verdict, thrice.why) == (Verdict.FAILED, "it was let in")


@pytest.mark.parametrize(("port", "raised"), [(10_000, Violation), (10_001, Coincidence)])
@pytest.mark.parametrize("kind", ["udp", "echo"])
def test_whose_mapping_has_let_it_in(monkeypatch, kind, port, raised):
    marks = SimpleNamespace(mark=lambda: 0)
    testbed: Any = SimpleNamespace(port=lambda: 10_000, wire=marks, net=SimpleNamespace(log=marks))
    exam = Exam(testbed)
    probe = headers.udp(OUTSIDE, ("24.9.3.7", 7782))
    arrived = {
        "udp": headers.udp(OUTSIDE, ("10.0.0.7", port)),
        "echo": headers.echo(OUTSIDE[0], "10.0.0.7", port, reply=True),
    }
    came = decode_ipv4(arrived[kind].data)
    monkeypatch.setattr(Exam, "let_in", lambda *_: came)
    exam.port()
    host: Any = SimpleNamespace(name="x1", site="main")
    with pytest.raises(raised):
        exam.refused(host, probe, host, probe)


def test_what_the_machine_may_have_lost_is_no_failure(setup):
    fault = "queue of packets: 40 packets dropped during the run"
    outcome = verdict_of(violates, setup, fault=fault)
    assert outcome.verdict is Verdict.ERROR
    assert outcome.why == f"it was let in; error of this machine: {fault}"
    assert verdict_of(violates, setup, deviation(True), fault=fault).verdict is Verdict.DEVIATION
    assert verdict_of(meets, setup, fault=fault).verdict is Verdict.PASSED
    unobserved = verdict_of(meets, setup, deviation(True), fault=fault)
    assert unobserved.verdict is Verdict.ERROR


def test_a_deviation_is_of_the_python_translator_unless_the_kernel_has_the_setting_too():
    kernel = read_setup(Candidate("nftables", {"engine": "nftables"}))
    assert verdict_of(violates, kernel, deviation(True)).verdict is Verdict.FAILED
    both = Deviation(lambda _: True, "a reason", "a-setting: true", any_engine=True)
    assert verdict_of(violates, kernel, both).verdict is Verdict.DEVIATION


class Napt:
    """An exam in which segments pass a NAPT; the one of number `wrong` with another endpoint."""

    def __init__(self, wrong=0, end=""):
        self.passed, self._wrong, self._end = 0, wrong, end
        self._ports = itertools.count(1024)

    def port(self):
        return next(self._ports)

    def host(self, name):
        return SimpleNamespace(name=name, address={"x1": "10.0.0.7", "y1": "151.101.1.69"}[name])

    def passes(self, sender, probe, _receiver):
        self.passed += 1
        packet = decode_ipv4(probe.data)
        if sender.name == "x1":
            self.internal = packet.sender
            packet.source, packet.source_port = "24.9.3.7", 40_000
        else:
            packet.destination, packet.destination_port = self.internal
        if self.passed == self._wrong:
            setattr(packet, self._end, 9)
        return packet


@pytest.mark.parametrize("check", [tcp_checks.everything_twice, tcp_checks.restarted])
def test_every_segment_must_arrive_with_the_right_source_and_destination(check):
    good: Any = Napt()
    check(good)  # control
    assert good.passed >= 10
    for number, end in itertools.product(
        range(2, good.passed + 1), ("source_port", "destination_port")
    ):
        with pytest.raises(Violation, match=r"came from .*:9, not|was delivered to .*:9, not"):
            check(Napt(number, end))


DEVIATIONS = [(r.id, each) for r in REQUIREMENTS for each in r.deviations]


@pytest.mark.parametrize(("name", "declared"), DEVIATIONS, ids=[name for name, _ in DEVIATIONS])
def test_what_is_said_to_remove_a_deviation_does(name, declared):
    if declared.removed_by.startswith("none: "):
        return
    key, value = declared.removed_by.split(": ")
    # Some deviate only where another setting, or this one, is not the usual one.
    for other in (
        {}, {"filtering": "endpoint-independent"}, {"refuse-syn": "false"}, {"refuse-after": "0s"},
    ):  # fmt: skip
        if declared.when(read_setup(Candidate("with it", other))):
            assert not declared.when(read_setup(Candidate("without", {**other, key: value})))
            return
    pytest.fail("there are no settings for which it is declared")


@pytest.mark.parametrize(("rfc", "last"), [(4787, 14), (5382, 10), (5508, 11), (6888, 15)])
def test_every_requirement_of_the_rfc_has_a_row(rfc, last):
    chapter = next(chapter for chapter in CHAPTERS if chapter.rfc == rfc)
    found = {re.match(r"REQ-(\d+)", r.name)[1] for r in chapter.requirements}
    assert {int(number) for number in found} == set(range(1, last + 1))


def test_every_section_of_rfc_7857_has_a_row():
    chapter = next(chapter for chapter in CHAPTERS if chapter.rfc == 7857)
    assert {int(r.name.split(".")[0].split()[0]) for r in chapter.requirements} == set(range(2, 13))


def test_each_row_has_an_id_of_its_own_and_is_tried_or_says_why_not():
    ids = [requirement.id for requirement in REQUIREMENTS]
    assert len(set(ids)) == len(ids)
    assert all(r.check is not None or r.why_not for r in REQUIREMENTS)
    # A table that could hardly fail would be no table.
    assert sum(r.check is not None for r in REQUIREMENTS) > 100
    assert all("\n" not in r.words and "|" not in r.words for r in REQUIREMENTS)


def test_requirements_are_chosen_by_a_part_of_their_id():
    assert {r.rfc for r in named(("5382.",))} == {5382}
    assert {r.id for r in named(("RFC 4787, REQ-1", "rfc 5382: req-2 Inbound"))} == {
        "4787.REQ-1", "5382.REQ-2-inbound"
    }  # fmt: skip
    assert {r.id for r in named(("7857.2.1",))} == {"7857.2.1"}
    assert named(("no such",)) == named(("",)) == ()


# -- packets ------------------------------------------------------------------------------------


@pytest.mark.parametrize("length", [8, 9, 24, 301])
def test_scapy_agrees_with_every_checksum(length):
    from scapy.layers.inet import IP

    data = headers.fresh(length)
    fields = headers.IpFields(tos=0xB8, options=b"\x01\x01\x94\x04\0\0\0")
    for probe in (
        headers.udp(INSIDE, OUTSIDE, data, fields),
        headers.tcp(INSIDE, OUTSIDE, SYN, 7, 0, data, b"\x02\x04\x05\xb4", fields),
        headers.echo(INSIDE[0], OUTSIDE[0], 9, fields, data=data),
    ):
        again = IP(probe.data)
        for layer in (again, again.payload):
            del layer.chksum
        assert bytes(again) == probe.data
        packet = decode_ipv4(probe.data)
        assert (packet.header_sum, packet.sum) == (Sum.HOLDS, Sum.HOLDS)
        assert (packet.source, packet.destination) == (INSIDE[0], OUTSIDE[0])
        assert (packet.tos, packet.options) == (fields.tos, fields.options + b"\0")
        assert probe.mark in probe.data


def test_reading_finds_what_is_wrong():
    probe = headers.udp(INSIDE, OUTSIDE)
    for at, part in ((10, "header_sum"), (26, "sum"), (30, "sum")):
        damaged = bytearray(probe.data)
        damaged[at] ^= 1
        assert getattr(decode_ipv4(bytes(damaged)), part) is Sum.WRONG
    assert decode_ipv4(probe.data[:40]).sum is Sum.UNKNOWN
    assert decode_ipv4(headers.udp(INSIDE, OUTSIDE, summed=False).data).sum is Sum.ABSENT
    assert not decode_ipv4(probe.data[:19]).raw


def test_an_error_quotes_and_may_have_an_extension():
    about = headers.tcp(INSIDE, OUTSIDE, SYN, 7)
    extension = headers.extension_object(b"interface 7!")
    error = headers.icmp_error(
        OUTSIDE[0], INSIDE[0], about.data, about.mark, code=4, rest=1300, extension=extension
    )
    packet = decode_ipv4(error.data)
    assert (packet.icmp, packet.sum, packet.rest) == ((3, 4), Sum.HOLDS, 32 << 16 | 1300)
    assert (packet.quoted.sender, packet.quoted.sequence) == (INSIDE, 7)
    assert packet.data[128:] == extension
    assert checksum(extension) == 0


def test_fragments_make_up_the_packet():
    data = headers.fresh(24) + headers.fresh(24) + headers.fresh(32)
    segment = headers.udp_segment(INSIDE, OUTSIDE, data)
    whole = headers.ipv4(INSIDE[0], OUTSIDE[0], UDP, segment, headers.MAY_BE_CUT)
    pieces = headers.fragments(whole, 32, 24)
    read = [decode_ipv4(piece.data) for piece in pieces]
    assert b"".join(piece.body for piece in read) == segment
    assert [(p.offset, p.more_fragments) for p in read] == [(0, True), (32, True), (56, False)]
    assert len({piece.identification for piece in read}) == 1
    assert len({piece.mark for piece in pieces}) == 3


# -- candidates and what is written ---------------------------------------------------------------


def test_candidates_are_named_by_what_they_are(tmp_path):
    mine = tmp_path / "mine.py"
    mine.touch()
    found = candidates(["python", "nftables"], [mine], ["rfc", "none"], {"hairpinning": "false"})
    assert [candidate.name for candidate in found] == [
        "python, preset rfc, hairpinning: false",
        "mine.py, preset rfc, hairpinning: false",
        "python, no preset, hairpinning: false",
        "mine.py, no preset, hairpinning: false",
        "nftables, hairpinning: false",
    ]
    assert not read_setup(found[0]).settings.hairpinning


def test_a_setting_that_cannot_be_is_told_once():
    wrong = candidates(["nftables"], [], ["rfc"], {"mapping": "endpoint-independent"})
    with pytest.raises(Unusable) as told:
        setups(wrong)
    assert str(told.value).count("\n") == 0
    assert "is not possible with engine nftables" in str(told.value)


def every_verdict(setup):
    rows = tuple(
        Outcome(requirement, verdict, f"because {verdict}", ("seen",), 0.5, "a-setting: true")
        for requirement, verdict in zip(REQUIREMENTS, list(Verdict), strict=False)
    )
    return Examination(setup, rows, 1.0, 0)


def test_an_outcome_survives_its_way_through_json(setup):
    for outcome in every_verdict(setup).outcomes:
        row = json.loads(json.dumps(as_json(outcome)))
        assert from_json(outcome.requirement, row) == outcome


def test_results_count_every_verdict(setup):
    examination = every_verdict(setup)
    assert not examination.passed
    found = results([examination])
    assert not found["passed"]
    assert set(found["candidates"][0]["counts"].values()) == {1}


def test_the_page_escapes_what_came_from_the_wire(setup):
    from napt_lab.labs.conformance.table_page import render

    requirement = REQUIREMENTS[0]
    bad = Outcome(requirement, Verdict.FAILED, "<script>\u202e", ("<img src=x>",), 0.0)
    page = render([Examination(setup, (bad,), 1.0, 0)])
    assert "<script>" not in page.replace("<script>\n", "")
    assert "&lt;img src=x&gt;" in page
    assert "⟨202E⟩" in page
    assert "✗ Not all requirements are met." in page


def test_the_table_in_docs_has_the_words_of_today():
    text = written.PATH.read_text(encoding="utf-8")
    for chapter in CHAPTERS:
        assert f"## RFC {chapter.rfc}: {chapter.title}\n" in text
        for requirement in chapter.requirements:
            row = f"| {requirement.name} | {requirement.level} | {requirement.words} |"
            assert row in text, "make docs/conformance.md anew: its head says how"
    assert len(written.verdicts(text)) == len(REQUIREMENTS)
