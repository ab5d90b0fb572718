"""How a check ended: one order, one set of signs and words, one writer of JUnit's XML."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from napt_lab.labs.verdict import verdicts
from napt_lab.labs.verdict.junit import Case, Suite, junit
from napt_lab.labs.verdict.verdicts import Verdict, counted, verdict_of, worst

EVIL = "\x1b[31m\x00]]> <&\udc80\nsecond line"


@pytest.mark.parametrize(
    ("passed", "broken", "verdict"),
    [
        (True, False, Verdict.PASSED),
        (False, False, Verdict.FAILED),
        (False, True, Verdict.ERROR),
    ],
)
def test_a_check_that_could_not_be_made_has_neither_passed_nor_failed(passed, broken, verdict):
    assert verdict_of(passed=passed, broken=broken) is verdict


def test_the_worst_of_several():
    assert worst([]) is Verdict.PASSED
    assert worst([Verdict.PASSED, Verdict.ERROR]) is Verdict.ERROR
    assert worst([Verdict.FAILED, Verdict.ERROR, Verdict.PASSED]) is Verdict.FAILED


def test_only_a_failure_and_an_error_are_bad():
    assert {verdict for verdict in Verdict if verdict.is_bad} == {Verdict.FAILED, Verdict.ERROR}


def test_every_verdict_has_a_sign_of_its_own():
    assert len({verdict.sign for verdict in Verdict}) == len(Verdict)


def test_counts_say_one_and_several():
    several = [Verdict.PASSED, Verdict.FAILED, Verdict.PASSED, Verdict.ERROR]
    assert counted(several) == "2 hold, 1 was not checked, 1 does not hold"
    assert counted([]) == ""


@pytest.fixture
def suite():
    cases = [Case("group", EVIL, verdict, EVIL, EVIL, 0.5, 7) for verdict in Verdict]
    (element,) = ET.fromstring(junit([Suite("all", 1.25, cases, "a.yaml", EVIL)]))
    return element


def test_junit_counts_what_it_holds(suite):
    for name, child in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
        assert int(suite.get(name)) == len(suite.findall(f"testcase/{child}")) == 1
    assert int(suite.get("tests")) == len(suite.findall("testcase")) == len(Verdict)


def test_junit_keeps_what_xml_can_say_and_marks_the_rest(suite):
    shown = "�[31m�]]> <&�\nsecond line"
    case = suite.find("testcase[failure]")
    assert case.get("name") == case.find("failure").get("message") == shown
    assert case.find("failure").text == suite.find("system-err").text == shown
    assert (case.get("file"), case.get("line"), case.get("time")) == ("a.yaml", "7", "0.500")


def test_junit_leaves_out_what_is_not_known():
    (case,) = ET.fromstring(junit([Suite("all", 0, [Case("g", "n", Verdict.PASSED)])])).iter(
        "testcase"
    )
    assert set(case.attrib) == {"classname", "name"}


def test_no_other_file_of_labs_writes_junit_or_has_signs_of_its_own():
    labs = Path(verdicts.__file__).parents[1].resolve()
    sources = [path for path in labs.rglob("*") if path.suffix in {".py", ".html"}]
    assert {p.name for p in sources if "ElementTree" in p.read_text("utf-8")} == {"junit.py"}
    assert {p.name for p in sources if "✓" in p.read_text("utf-8")} == {
        "verdicts.py",
        "standard_streams.py",  # about terminals that lack it
    }
